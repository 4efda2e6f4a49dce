"""Every network of the operator zoo, with schedules that were tried, against ONNX Runtime.

    python scripts/check_operators.py                # all, a quarter of an hour on two cores
    python scripts/check_operators.py relu gelu      # these

Of every layer some random configurations are built, checked and run, and the fastest is deployed;
functions that are not tuned run by their default schedules. What differs from ONNX Runtime by more
than a thousandth (two hundredths where a network computes in float16) is printed. Ends with one
line of JSON, and with exit code 1 if anything was.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import tvm

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))

from zoo import ZOO, inputs

from dgtl.device.values import differences, error_of, random_values, unwritten, wrong_above
from dgtl.tvm import hardware as machine
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.deploy.library import Library
from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.sketches import (
    InvalidConfigurationError,
    NoSpaceError,
    ScheduleSpace,
    default_schedule,
)
from dgtl.tvm.workload.tasks import FusedFunction, extract, lower


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", help="names of cases; default: all")
    parser.add_argument("--trials", type=int, default=4, help="configurations of each layer")
    args = parser.parse_args()
    if unknown := sorted(set(args.cases) - set(ZOO)):
        raise SystemExit(f"error: no such case: {', '.join(unknown)}")
    begin, wrong, layers, untuned = time.time(), [], 0, 0
    for name in args.cases or ZOO:
        try:
            faults, tuned, left = try_case(name, args.trials)
        except Exception as error:  # whatever goes wrong with one, the others are tried
            faults, tuned, left = [f"{type(error).__name__}: {error}".splitlines()[0]], 0, 0
        layers, untuned = layers + tuned, untuned + left
        if faults:
            wrong.append(name)
            print(f"{name}: {'; '.join(faults)}", flush=True)
    result = {"cases": len(args.cases or ZOO), "wrong": wrong, "layers": layers}
    print(json.dumps({**result, "untuned": untuned, "seconds": round(time.time() - begin)}))
    raise SystemExit(1 if wrong else 0)


def try_case(name: str, trials: int) -> tuple[list[str], int, int]:
    """What is wrong with a case, the layers that were tuned, and those without a design space."""
    hardware = machine.detect(1)
    target = tvm.target.Target(hardware.target)
    model = ZOO[name].model()
    workload = import_model(model)
    network = lower(workload.model, target)
    faults: list[str] = []
    scheduled, tuned, left = [], 0, 0
    for function in extract(network, hardware):
        best = None
        if function.task is not None:
            try:
                best = fastest(function, target, trials, faults)
                tuned += 1
            except NoSpaceError:
                left += 1
        schedule = default_schedule(function.mod, target) if best is None else best
        scheduled.append((function, schedule, 1.0))
    with tempfile.TemporaryDirectory(prefix="dgtl-zoo-") as folder:
        database = deploy.write_database(Path(folder) / "best", hardware, scheduled)
        library = Path(folder) / "model.so"
        deploy.build(network, hardware, library, database)
        values = inputs(model)
        fed = [v.name for v in workload.model.graph.input if v.name in values]
        outputs = Library(library, hardware.num_cores)([values[n] for n in fed])
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        allowed = 2e-2 if "float16" in name else 1e-3
        for expected, actual in zip(session.run(None, values), outputs, strict=True):
            if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
                faults.append(f"{actual.dtype} {actual.shape} instead of {expected.shape}")
            elif max(differences(expected, actual)) > allowed:
                faults.append(f"relative error {max(differences(expected, actual)):.2g}")
    return faults, tuned, left


def fastest(
    function: FusedFunction, target: tvm.target.Target, trials: int, faults: list[str]
) -> tvm.s_tir.Schedule | None:
    """The fastest of some random schedules of a layer; those that compute it wrong are faults."""
    space = ScheduleSpace(function.mod, target)
    rng = np.random.default_rng(0)
    infos = tvm.s_tir.meta_schedule.arg_info.ArgInfo.from_entry_func(function.mod, False)
    tensors = [
        (tuple(int(n) for n in shape), str(dtype))
        for _, dtype, shape in (info.as_json() for info in infos)
    ]
    arguments = [tvm.runtime.tensor(random_values(rng, *tensor)) for tensor in tensors[:-1]]

    def run(mod: tvm.ir.IRModule) -> tuple[np.ndarray, float]:
        output = tvm.runtime.tensor(unwritten(*tensors[-1]))
        kernel = tvm.compile(mod, target)["main"]
        kernel(*arguments, output)
        begin = time.perf_counter()
        kernel(*arguments, output)
        return output.numpy(), time.perf_counter() - begin

    expected, _ = run(function.mod)
    best, least_s = None, np.inf
    for config in space.space.sample_distinct(rng, trials):
        try:
            schedule = space.schedule(config)
        except InvalidConfigurationError:
            continue
        actual, seconds = run(schedule.mod)
        if (error := error_of(expected, actual)) > wrong_above(tensors):
            faults.append(f"{function.name} {space.space.key(config)}: relative error {error:.2g}")
        elif seconds < least_s:
            best, least_s = schedule, seconds
    return best


if __name__ == "__main__":
    main()
