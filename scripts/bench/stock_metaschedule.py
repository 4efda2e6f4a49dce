"""TVM's MetaSchedule as a user would call it, beside a finished run of dgtl on the same tasks.

    python scripts/bench/stock_metaschedule.py outputs/resnet18/dgp --tasks 'conv2d6' --trials 80

`tune_tir` on each fused function with everything by default: space, search, cost model, builder and
runner, and the half minute that each of its workers takes to start. Its candidates lie outside of
our design spaces and it measures by itself, so that it is no `model=`: `model=metaschedule` is its
search on our spaces, builder, runner and clock; this is the whole of it. Kernels may use as many
cores as in the run. Each side reports the latency by its own measurement (TVM's: one mean over
100 ms; ours: the median of three timings) and its wall clock, for TVM from the call on. TVM leaves
caches warm: its latencies compare with those of a run with ``measure.cache_flush_mb=0``.

Where the machine is busy, workers take longer to start than TVM's 30 s limit on a build and all
candidates fail: ``--build-timeout`` raises it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tvm
from omegaconf import OmegaConf
from tvm.s_tir import meta_schedule as ms

from dgtl.results.summary import Summary, TaskSummary
from dgtl.tvm import allow_intrinsics
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure.machine_lock import machine_lock
from dgtl.tvm.workload import networks
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    from dgtl.core.records import Hardware
    from dgtl.tvm.workload.tasks import FusedFunction

FAILED_S = 1e9
"""TVM records a failure as a latency of 1e10 s."""


def tune(
    function: FusedFunction, hardware: Hardware, trials: int, build_timeout_s: float, seed: int
) -> dict[str, Any]:
    """What TVM's own tuning of one function comes to."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="dgtl-stock-") as folder:
        builder = ms.builder.LocalBuilder(
            max_workers=ms.utils.cpu_count(logical=False), timeout_sec=build_timeout_s
        )
        database = ms.tir_integration.tune_tir(
            function.mod,
            tvm.target.Target(hardware.target),
            folder,
            max_trials_global=trials,
            builder=builder,
            seed=seed,
        )
        total_s = time.perf_counter() - begin
        records = [list(map(float, r.run_secs)) for r in database.get_all_tuning_records()]
    means = [sum(times) / len(times) for times in records if times]
    ran = [mean for mean in means if mean < FAILED_S]
    return {
        "stock_trials": len(records),
        "stock_ok": len(ran),
        "stock_us": round(min(ran) * 1e6, 3) if ran else None,
        "stock_s": round(total_s, 1),
    }


def beside(ours: TaskSummary, stock: dict[str, Any]) -> dict[str, Any]:
    """One row of the comparison; ``latency_ratio`` is ours over TVM's, below 1 where ours wins."""
    latency_us, stock_us = ours.best_latency_us, stock["stock_us"]
    compared = latency_us is not None and stock_us is not None
    return {
        "task": ours.name,
        "trials": ours.trials,
        "best_us": latency_us if latency_us is None else round(latency_us, 3),
        "search_s": round(ours.search_s, 1),
        **stock,
        "latency_ratio": round(latency_us / stock_us, 4) if compared else None,
        "time_ratio": round(ours.search_s / stock["stock_s"], 4),
    }


def read(run: Path) -> tuple[Any, Summary]:
    """Configuration and summary of a finished run."""
    try:
        config = OmegaConf.load(run / "config" / "config.yaml")
        return config, Summary.from_json(json.loads((run / "summary.json").read_text()))
    except OSError as error:
        sys.exit(f"error: {error.filename} is missing: name the folder of a finished run")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a finished run of dgtl, not of a replay")
    parser.add_argument("--tasks", default="", help="regular expression found in their names")
    parser.add_argument("--trials", type=int, help="per task; as many as the run took if left out")
    parser.add_argument("--build-timeout", type=float, default=30.0, help="seconds; 30 is TVM's")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    config, summary = read(args.run)
    if config.hardware.kind == "replay":
        sys.exit(
            "error: MetaSchedule builds and runs what it finds, which recorded tables cannot "
            "answer: name the folder of a run with hardware=local"
        )
    hardware = machine.detect(config.hardware.num_cores)
    model = networks.of_config(config.workload).model
    functions = extract(lower(model, tvm.target.Target(hardware.target)), hardware)
    tasks = {task.name: task for task in summary.tasks if re.search(args.tasks, task.name)}
    chosen = [f for f in functions if f.task is not None and f.task.name in tasks]
    if not chosen:
        names = ", ".join(task.name for task in summary.tasks)
        sys.exit(f"error: no task of the run is called {args.tasks!r}: choose of {names}")

    # By default TVM takes half of the cores; workers inherit this.
    os.environ["TVM_NUM_THREADS"] = str(hardware.num_cores)
    allow_intrinsics()
    rows = []
    for function in chosen:
        ours = tasks[function.name]
        with machine_lock():
            stock = tune(
                function, hardware, args.trials or ours.trials, args.build_timeout, args.seed
            )
        rows.append(beside(ours, stock))
        print(json.dumps(rows[-1]), flush=True)
    print(
        json.dumps(
            {
                "tasks": len(rows),
                "search_s": round(sum(row["search_s"] for row in rows), 1),
                "stock_s": round(sum(row["stock_s"] for row in rows), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
