"""What 3x3 convolutions gain by minimal filtering, layer by layer: found, and expected.

    python scripts/bench/winograd.py --hardware amd-epyc-znver3

The convolutions and their matrix products are the best trials of the shipped histories of one
machine; the two transformations are timed here, which should be that machine. Ends with one line of
JSON {layer: {direct_us, products_us, transformations_us, speedup, expected}}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import tvm
from tvm.s_tir.meta_schedule.arg_info import ArgInfo

from dgtl.core.history import SHIPPED, History
from dgtl.core.records import best_trial
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure.kernels import compiled
from dgtl.tvm.workload import winograd, winograd_schedule
from dgtl.tvm.workload.networks import Layer, conv, products
from dgtl.tvm.workload.suites import SUITES
from dgtl.tvm.workload.tasks import extract, lower

REPEATS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hardware", default="amd-epyc-znver3", help="of the shipped histories")
    args = parser.parse_args()
    history = {
        source.task.shape_key: best_trial(source.trials)
        for source in History.read(SHIPPED)
        if source.task.hardware.name == args.hardware
    }
    if not history:
        raise SystemExit(f"error: there is no shipped history of {args.hardware}")
    lines = {}
    for layer in SUITES["default"]:
        if layer == conv(layer.size, layer.inputs, layer.outputs):
            line = compared(layer, history)
            if line is not None:
                name = f"{layer.inputs}->{layer.outputs} {layer.size}x{layer.size}"
                lines[name] = line
                print(f"{name:20}", *(f"{key} {value:8.2f}" for key, value in line.items()))
    print(json.dumps(lines))


def compared(layer: Layer, history: dict) -> dict[str, float] | None:
    """Latencies [us] of both ways; None where the history lacks one."""
    hardware = machine.detect()
    target = tvm.target.Target(hardware.target)
    as_product = products(winograd.M, layer.size, layer.inputs, layer.outputs)
    latencies = []
    for each in (layer, as_product):
        (task,) = (f.task for f in extract(lower(each.model(0), target), hardware) if f.task)
        best = history.get(task.shape_key)
        if best is None:
            return None
        latencies.append(best.latency_s)
    direct_s, products_s = latencies
    functions = extract(lower(layer.model(0), target, winograd=True), hardware)
    transformed = [f for f in functions if "winograd" in f.name]
    if not transformed:
        return None
    transformations_s = sum(_seconds(f.mod, target) for f in transformed)
    out = (layer.size, layer.size)
    return {
        "direct_us": round(direct_s * 1e6, 1),
        "products_us": round(products_s * 1e6, 1),
        "transformations_us": round(transformations_s * 1e6, 1),
        "speedup": round(direct_s / (products_s + transformations_s), 2),
        "expected": round(
            winograd.speedup(1, out, layer.inputs, layer.outputs, hardware.num_cores), 2
        ),
    }


def _seconds(mod: tvm.ir.IRModule, target: tvm.target.Target) -> float:
    schedule = winograd_schedule.schedule(mod, target)
    assert schedule is not None, "a function of a transformation"
    kernel = compiled(schedule.mod, target)["main"]
    rng = np.random.default_rng(0)
    arguments = [
        tvm.runtime.tensor(rng.standard_normal([int(n) for n in info.as_json()[2]], np.float32))
        for info in ArgInfo.from_entry_func(mod, remove_preproc=False)
    ]
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        kernel(*arguments)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


if __name__ == "__main__":
    main()
