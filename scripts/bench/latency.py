"""Latency of a tuned network against the untuned one and against ONNX Runtime.

    python scripts/bench/latency.py --networks resnet18,mobilenet_v1
    python scripts/bench/latency.py --run outputs/resnet18/dgp

All on the same ONNX model, the same input and the same cores, in turns: each keeps a warm process
of its own, which sleeps while another has its turn, so that what else the machine does hits all of
them alike. Latencies are medians over all turns; ``ratio`` is dgtl_ms over onnxruntime_ms, below 1
where dgtl is the faster. The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm
from omegaconf import OmegaConf

from dgtl.device.values import error_of
from dgtl.tvm import hardware as machine
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.deploy import race
from dgtl.tvm.deploy.race import Contender
from dgtl.tvm.workload import networks
from dgtl.tvm.workload.tasks import lower

UNTUNED_TURNS = 3
"""The untuned network takes a hundred times as long and is no close race."""


def start_onnxruntime(model: str, inputs: dict[str, np.ndarray], cores: int) -> None:
    """Makes this process run a network by ONNX Runtime, as it comes but for the threads."""
    import onnxruntime

    race.pin(cores)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    race.enter(lambda: session.run(None, inputs)[0])


def find_run(network: str) -> Path:
    """The newest run of dgtl on a network under ``outputs``."""
    folder = Path("outputs") / network / "dgp"
    found = sorted(folder.rglob("model.so"), key=lambda path: path.stat().st_mtime)
    if not found:
        sys.exit(
            f"error: no model.so under {folder}: first python run.py model=dgp workload={network}, "
            "or name a run's folder with --run"
        )
    return found[-1].parent


def compare(run: Path, rounds: int) -> tuple[str, dict[str, float | None]]:
    """Name of the workload that ``run`` tuned, and its latencies [ms]."""
    if not (run / "model.so").exists():
        sys.exit(f"error: {run} holds no model.so: name the folder of a finished run")
    config = OmegaConf.load(run / "config" / "config.yaml")
    workload = config.workload
    network = networks.of_config(workload)
    hardware = machine.detect(config.hardware.num_cores)
    cores = hardware.num_cores
    inputs = network.inputs
    with tempfile.TemporaryDirectory(prefix="dgtl-latency-") as scratch:
        untuned = Path(scratch) / "untuned.so"
        deploy.build(lower(network.model, tvm.target.Target(hardware.target)), hardware, untuned)
        contenders = [
            Contender.of_library("dgtl", rounds, run / "model.so", inputs, cores),
            Contender.of_library("untuned", UNTUNED_TURNS, untuned, inputs, cores),
        ]
        if importlib.util.find_spec("onnxruntime") is None:
            print("without ONNX Runtime, which is not installed: pip install onnxruntime")
        else:
            file = Path(scratch) / "model.onnx"
            onnx.save(network.model, file)
            contenders.append(
                Contender.start("onnxruntime", rounds, start_onnxruntime, str(file), inputs, cores)
            )
        try:
            run_race(contenders, rounds)
        finally:
            for contender in contenders:
                contender.close()
    ms: dict[str, Any] = {c.name: round(c.latency_ms, 4) for c in contenders}
    other = ms.get("onnxruntime")
    return workload.name, {
        "dgtl_ms": ms["dgtl"],
        "untuned_ms": ms["untuned"],
        "onnxruntime_ms": other,
        "ratio": None if other is None else round(ms["dgtl"] / other, 4),
    }


def run_race(contenders: list[Contender], rounds: int) -> None:
    """Checks that all compute the same, then lets them run in turns."""
    outputs = {contender.name: contender.output() for contender in contenders}
    for name, value in outputs.items():
        if name != "dgtl":
            error = error_of(value, outputs["dgtl"])
            print(f"  dgtl against {name}: relative error {error:.1e}")
    race.race(contenders, rounds)
    for contender in contenders:
        low, high = np.quantile(contender.times_s, [0.1, 0.9]) * 1e3
        print(
            f"  {contender.name:12s} {contender.latency_ms:9.3f} ms, "
            f"{low:.3f} to {high:.3f} in eight of ten runs, {len(contender.times_s)} runs"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", default="resnet18", help="names, separated by commas")
    parser.add_argument("--run", type=Path, help="folder of a run, instead of --networks")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds: at least 1")
    runs = [args.run] if args.run else [find_run(name) for name in args.networks.split(",")]
    figures = {}
    for run in runs:
        print(f"{run}:")
        name, figures[name] = compare(run, args.rounds)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
