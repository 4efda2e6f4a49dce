"""Which of several runs of one workload found the better schedules, their winners timed in turns.

    python scripts/bench/winners.py outputs/a outputs/b --at 32,64

Two runs differ by what the machine did meanwhile (some percent from run to run), which hides what
their settings are worth. So the best schedules of all runs are measured again, task by task, in one
batch whose timings go round. Prints each run's throughput relative to the first one's, geometric
mean over tasks with its 95 % interval, and the search time it took. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tvm

from dgtl.core.records import best_trial
from dgtl.measure.protocol import MeasureOptions
from dgtl.results.metrics import bootstrap
from dgtl.results.run_folder import Run
from dgtl.tvm.measure.local import LocalMeasurer
from dgtl.tvm.workload import networks
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONS = MeasureOptions(repeats=9, min_repeat_ms=20.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs of one workload")
    parser.add_argument("--at", default="", help="after so many trials a task; default: all")
    args = parser.parse_args()
    try:
        compare(
            [Run.read(folder) for folder in args.runs],
            [int(text) for text in args.at.split(",") if text] or [None],
        )
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


def compare(runs: Sequence[Run], counts: Sequence[int | None]) -> None:
    """Measures the winners of the runs after so many trials a task (None: all), and prints them.

    Raises:
        ValueError: runs that do not say their network, or that lack one of its layers.
    """
    first = runs[0]
    if first.origin is None:
        raise ValueError(f"{first.folder} does not say of which network it is")
    workload = networks.of_config(first.origin.config["workload"])
    target = tvm.target.Target(first.hardware.target)
    network = lower(workload.model, target, winograd=workload.winograd)
    modules = {f.task.key: f.mod for f in extract(network, first.hardware) if f.task}
    contenders = [(run, count) for count in counts for run in runs]
    times = []
    with LocalMeasurer(first.hardware, modules, OPTIONS) as measurer:
        for result in first.results:
            keys = [_winner(run, result.task.key, count) for run, count in contenders]
            distinct = list(dict.fromkeys(keys))
            trials = measurer.measure(result.task, distinct, best_s=math.inf)
            latency = {trial.config: trial.latency_s for trial in trials}
            times.append([latency[key] for key in keys])
            print(result.task.key, *(f"{t * 1e6:.1f}" for t in times[-1]), "us", flush=True)
    gain = np.log(np.array(times)[:, :1] / np.array(times))
    lines = []
    for (run, count), column in zip(contenders, gain.T, strict=True):
        relative = bootstrap(column, [run.summary.workload] * len(column), np.random.default_rng(0))
        lines.append(
            {
                "run": str(run.folder),
                "trials": count or run.summary.trials // len(run.results),
                "throughput": round(float(np.exp(relative.mean)), 4),
                "interval": [round(float(np.exp(x)), 4) for x in (relative.low, relative.high)],
                "search_s": round(_seconds(run, count), 1),
            }
        )
        print(*lines[-1].values())
    print(json.dumps(lines))


def _winner(run: Run, key: str, count: int | None) -> str:
    trials = next((r.trials for r in run.results if r.task.key == key), ())
    best = best_trial(trials[:count])
    if best is None:
        raise ValueError(f"{run.folder} has no schedule of {key}")
    return best.config


def _seconds(run: Run, count: int | None) -> float:
    return sum(trial.search_s for result in run.results for trial in result.trials[:count])


if __name__ == "__main__":
    main()
