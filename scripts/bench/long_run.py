"""What a long run holds and leaves: memory, open files, processes, temporary files.

    python scripts/bench/long_run.py --trials 2000

Measures random schedules of a small convolution on this machine, batch after batch. After each, the
memory of this process and of its workers is read, the open files and the processes are counted; at
the end, what is left. The last line is JSON; growth is from the batch at a quarter of the trials,
when all is warm, to the last. Exit code 1 if memory grew by more than a tenth, or anything is left.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import tvm

from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure.local import LocalMeasurer
from dgtl.tvm.workload.networks import Layer
from dgtl.tvm.workload.sketches import ScheduleSpace
from dgtl.tvm.workload.tasks import extract, lower

OPTIONS = MeasureOptions(repeats=2, min_repeat_ms=1.0, throttle_wait_s=0.0)
LAYER = Layer("conv2d", 14, 8, 16, 3, 2, 1)


@dataclasses.dataclass(frozen=True)
class Held:
    """What this process and its children hold."""

    parent_mb: float
    workers_mb: float
    open_files: int
    processes: int
    temporary: int

    @classmethod
    def now(cls) -> Held:
        process = psutil.Process()
        children = process.children(recursive=True)
        sizes = []
        for child in children:
            try:
                sizes.append(child.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        return cls(
            process.memory_info().rss / 2**20,
            sum(sizes) / 2**20,
            process.num_fds(),
            len(children),
            sum(1 for _ in Path(tempfile.gettempdir()).rglob("*")),
        )


def held_over(trials: int, batch: int) -> tuple[list[Held], Held, Held]:
    """What is held after each batch, before the first, and after everything is closed."""
    hardware = machine.detect(1)
    target = tvm.target.Target(hardware.target)
    functions = extract(lower(LAYER.model(0), target), hardware)
    function = next(f for f in functions if f.task is not None)
    assert function.task is not None
    space = ScheduleSpace(function.mod, target).space
    keys = space.keys(space.sample_distinct(np.random.default_rng(0), trials))
    before = Held.now()
    held = []
    with LocalMeasurer(hardware, {function.task.key: function.mod}, OPTIONS) as measurer:
        for begin in range(0, trials, batch):
            measurer.measure(function.task, keys[begin : begin + batch], best_s=math.inf)
            held.append(Held.now())
            print(f"{begin + batch} trials: {held[-1]}", flush=True)
    return held, before, Held.now()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dgtl-long-") as folder:
        tempfile.tempdir = folder
        held, before, after = held_over(args.trials, args.batch)
    warm, last = held[len(held) // 4], held[-1]
    left = {
        name: getattr(after, name) - getattr(before, name)
        for name in ("open_files", "processes", "temporary")
    }
    growth = {
        name: round(getattr(last, name) / getattr(warm, name) - 1, 3)
        for name in ("parent_mb", "workers_mb")
    }
    held_more = last.open_files - warm.open_files
    print(json.dumps({"growth": growth, "open_files_more": held_more, "left": left}))
    sys.exit(int(max(growth.values()) > 0.1 or held_more > 0 or any(n > 0 for n in left.values())))


if __name__ == "__main__":
    main()
