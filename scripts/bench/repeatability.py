"""How well measurements of the same schedules agree, with and without waiting for full speed.

    python scripts/bench/repeatability.py
    python scripts/bench/repeatability.py --candidates 32 --batches 20

Good schedules of a few layers are measured as batches, over and over, by turns with
`throttle_wait_s` 0 and its default. Prints, per layer and patience, the root mean square of log2 of
a measurement over the schedule's fastest timings, its standard deviation among measurements of one
schedule, the share of measurements more than 1.5 times the fastest timings, and the seconds a batch
took. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time

import numpy as np
import tvm

from dgtl.measure.protocol import MeasureOptions
from dgtl.search.annealing import untried
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure.local import LocalMeasurer
from dgtl.tvm.workload.networks import conv, depthwise
from dgtl.tvm.workload.sketches import ScheduleSpace
from dgtl.tvm.workload.tasks import extract, lower

LAYERS = (conv(52, 56, 112, 1, 1, 0), conv(26, 112, 112), depthwise(26, 224), depthwise(104, 24))
KEPT_OF = 4
"""Of so many random schedules one is kept, the fastest: slow ones are not what is compared."""
FASTEST = 4
"""The mean of so many of a schedule's timings is what it takes undisturbed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--candidates", type=int, default=16, help="schedules of each layer")
    parser.add_argument("--batches", type=int, default=8, help="measurements of each schedule")
    args = parser.parse_args()
    hardware = machine.detect()
    target = tvm.target.Target(hardware.target)
    found = [f for layer in LAYERS for f in extract(lower(layer.model(0), target), hardware)]
    functions = {f.task: f.mod for f in found if f.task is not None}
    modules = {task.key: mod for task, mod in functions.items()}
    patience = (0.0, MeasureOptions.throttle_wait_s)
    # However slow, all timings of a schedule are taken.
    options = [MeasureOptions(throttle_wait_s=p, quick_factor=math.inf) for p in patience]
    measurers = [LocalMeasurer(hardware, modules, option) for option in options]
    lines = []
    try:
        for task, mod in functions.items():
            space = ScheduleSpace(mod, target).space
            keys = untried(space, np.random.default_rng(0), KEPT_OF * args.candidates, set())
            first = measurers[1].measure(task, keys, best_s=math.inf)
            ranked = sorted((t for t in first if t.ok), key=lambda trial: trial.latency_s)[
                : args.candidates
            ]
            times, seconds = _repeat(measurers, task, [t.config for t in ranked], args.batches)
            fastest = np.sort(np.moveaxis(times, 2, 0).reshape(len(ranked), -1), axis=1)
            error = np.log2(np.median(times, axis=3) / fastest[:, :FASTEST].mean(axis=1))
            spread = np.sqrt(error.var(axis=1).mean(axis=1))
            for index, waits in enumerate(patience):
                lines.append(
                    {
                        "task": task.key,
                        "throttle_wait_s": waits,
                        "rms_log2": round(float(np.sqrt((error[index] ** 2).mean())), 3),
                        "sd_log2": round(float(spread[index]), 3),
                        "above_1.5": round(float((error[index] > math.log2(1.5)).mean()), 3),
                        "batch_s": round(float(seconds[index].mean()), 2),
                    }
                )
                print(*lines[-1].values(), flush=True)
    finally:
        for measurer in measurers:
            measurer.close()
    print(json.dumps(lines))


def _repeat(measurers, task, keys, batches):
    """Timings [s], shape (measurer, batch, key, repeat), and seconds, shape (measurer, batch)."""
    times = np.empty((len(measurers), batches, len(keys), MeasureOptions.repeats))
    seconds = np.empty((len(measurers), batches))
    for batch in range(batches):
        for index, measurer in enumerate(measurers):
            begin = time.perf_counter()
            trials = measurer.measure(task, keys, best_s=math.inf)
            seconds[index, batch] = time.perf_counter() - begin
            times[index, batch] = [trial.run_times_s for trial in trials]
    return times, seconds


if __name__ == "__main__":
    main()
