"""Candidates measured per second, against TVM's own builder and runner and against the ideal.

    python scripts/bench/measure.py --candidates 64

The same random configurations of a ResNet-18 convolution (56x56, 64 channels, 3x3) on both sides,
with the same repeats and least duration of a timing. Our workers are started by a small batch
before the clock runs, as they are in all but the first batch of a run. TVM's `LocalRunner` is warm
too; its `LocalBuilder` starts new workers for every batch, which is what it does in a real run.
Ours does not repeat a candidate that is three times slower than the best (`quick`), TVM's repeats
all: `--quick-factor inf` makes ours do so too.

The ideal is all builds spread evenly over the cores, then all runs one by one: (sum of build
seconds / cores + sum of run seconds) of the same trials. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import convolution
import numpy as np
import tvm

from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm.measure.local import LocalMeasurer
from dgtl.tvm.measure.machine_lock import machine_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgtl.core.records import Hardware


def stock(
    folder: Path, schedules: Sequence[tvm.s_tir.Schedule], hardware: Hardware, cores: int
) -> dict[str, Any]:
    """Measures schedules by TVM's own means, in a process that never imports dgtl."""
    for number, schedule in enumerate(schedules):
        (folder / f"{number:04}.json").write_text(tvm.ir.save_json(schedule.mod))
    options = MeasureOptions()
    command = [sys.executable, str(Path(__file__).with_name("stock_measure.py")), str(folder)]
    command += ["--target", hardware.target, "--workers", str(cores)]
    command += ["--repeats", str(options.repeats)]
    command += ["--min-repeat-ms", str(math.ceil(options.min_repeat_ms))]
    environment = {**os.environ, "TVM_NUM_THREADS": str(hardware.num_cores)}
    with machine_lock():
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("error: TVM's own builder and runner failed, see above")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--cores", type=int, help="that a kernel may use; all if left out")
    parser.add_argument("--quick-factor", type=float, default=MeasureOptions.quick_factor)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    cores = len(os.sched_getaffinity(0))
    task, space = convolution.load(args.cores)
    hardware = task.hardware
    rng = np.random.default_rng(args.seed)
    configs = space.space.sample_distinct(rng, args.candidates + cores)
    first, configs = configs[:cores], configs[cores:]
    # Caches stay warm, as TVM's runner leaves them.
    options = MeasureOptions(quick_factor=args.quick_factor, cache_flush_mb=0.0)
    print(
        f"{convolution.LAYER.name}, {len(configs)} random configurations, {cores} builders, "
        f"{options}"
    )

    with LocalMeasurer(hardware, {task.key: space.mod}, options) as measurer:
        measurer.measure(task, space.space.keys(first), best_s=math.inf)
        print(f"workers started by a batch of {len(first)}, which is not counted")
        begin = time.perf_counter()
        trials = measurer.measure(task, space.space.keys(configs), best_s=math.inf)
        seconds = time.perf_counter() - begin
    build_s = sum(trial.build_s for trial in trials)
    run_s = sum(trial.run_s for trial in trials)
    ideal_s = build_s / cores + run_s
    print(
        f"dgtl: {seconds:.2f} s, {sum(t.ok for t in trials)} ok, "
        f"{sum(t.quick for t in trials)} of them quick; "
        f"ideal {ideal_s:.2f} s: builds {build_s:.2f} s / {cores}, runs {run_s:.2f} s"
    )

    with tempfile.TemporaryDirectory(prefix="dgtl-bench-") as folder:
        other = stock(Path(folder), [space.schedule(c) for c in configs], hardware, cores)
    print(
        f"TVM's LocalBuilder and LocalRunner: {other['seconds']:.2f} s, {other['ok']} ok; "
        f"building {other['build_s']:.2f} s of that, with workers started for the batch"
    )
    rate, stock_rate = len(trials) / seconds, other["candidates"] / other["seconds"]
    figures = {
        "candidates_per_s": round(rate, 3),
        "stock_candidates_per_s": round(stock_rate, 3),
        "ratio": round(rate / stock_rate, 2),
        "ideal_fraction": round(ideal_s / seconds, 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
