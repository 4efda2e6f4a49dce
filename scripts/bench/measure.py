"""Candidates measured per second and by part, against TVM's builder and runner and the ideal.

    python scripts/bench/measure.py --candidates 64

The same random configurations of four layers on both sides, with the same repeats and least
duration of a timing. Our workers are started by a small batch before the clock runs, as they are in
all but the first batch of a run. TVM's `LocalRunner` is warm too; its `LocalBuilder` starts new
workers for every batch, which is what it does in a real run. Ours does not repeat a candidate that
is three times slower than the best (`quick`), TVM's repeats all: `--quick-factor inf` makes ours do
so too.

First the candidates are built one by one in this process, in our way and in TVM's by turns: CPU
milliseconds of a candidate by part. Other programs change these less than they change seconds.

The ideal is all builds spread evenly over the cores, then all runs one by one: (sum of build
seconds / cores + sum of run seconds) of the same trials. The last line is JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock
from tvm.support import cc

from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure import kernels
from dgtl.tvm.measure.local import LocalMeasurer
from dgtl.tvm.measure.machine_lock import machine_lock
from dgtl.tvm.workload.networks import conv, dense, depthwise
from dgtl.tvm.workload.sketches import ScheduleSpace
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dgtl.core.records import Hardware, Task
    from dgtl.core.space import Configurations

LAYERS = (conv(56, 64, 64), conv(56, 64, 128, 1, 2), depthwise(14, 512), dense(512, 1000))
"""Of ResNet-18 and of MobileNet-v1."""


class Parts:
    """CPU seconds by part, those of processes that were started for it included."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def take(self, part: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Calls a function; what it takes counts to a part."""
        begin = _cpu_s()
        result = function(*arguments, **options)
        self.seconds[part] = self.seconds.get(part, 0.0) + _cpu_s() - begin
        return result


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def by_part(
    space: ScheduleSpace, configs: Configurations, folder: Path
) -> tuple[dict[str, float], dict[str, float]]:
    """CPU seconds by part of building configurations, in our way and in TVM's."""
    ours, theirs = Parts(), Parts()
    generate = tvm.get_global_func("target.build.llvm")
    file, library = str(folder / "kernel.o"), str(folder / "kernel.so")
    builds = ((ours, kernels.compiled, kernels.link), (theirs, tvm.tirx.build, cc.create_shared))
    try:
        for config in configs:
            ours.take("sketch", space.replay, config)
            schedule = ours.take("schedule", space.schedule, config)
            mod = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(schedule.mod)
            for parts, build, link in builds:
                # TVM looks it up by its name, in the middle of a build.
                tvm.register_global_func(
                    "target.build.llvm",
                    functools.partial(parts.take, "IR", generate),
                    override=True,
                )
                module = parts.take("build", build, mod, target=space.target)
                parts.take("object", module.write_to_file, file)
                parts.take("link", link, library, [file])
                parts.take("load", tvm.runtime.load_module, library)
    finally:
        tvm.register_global_func("target.build.llvm", generate, override=True)
    for parts in (ours, theirs):
        parts.seconds["lowering"] = parts.seconds.pop("build") - parts.seconds["IR"]
    ours.seconds["post-processing"] = (
        ours.seconds.pop("schedule") - ours.seconds["sketch"]
    )  # does both
    theirs.seconds |= {part: ours.seconds[part] for part in ("sketch", "post-processing")}
    return ours.seconds, theirs.seconds


PARTS = ("sketch", "post-processing", "lowering", "IR", "object", "link", "load")


def print_parts(name: str, seconds: Mapping[str, float], candidates: int) -> None:
    """A line of CPU milliseconds of a candidate."""
    each = [1e3 * seconds[part] / candidates for part in PARTS]
    print(f"{name:42}", *(f"{ms:15.1f}" for ms in (*each, sum(each))), flush=True)


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
    hardware = machine.detect(args.cores)
    target = tvm.target.Target(hardware.target)
    rng = np.random.default_rng(args.seed)
    each = math.ceil(args.candidates / len(LAYERS))
    batches: list[tuple[Task, ScheduleSpace, Configurations]] = []
    for layer in LAYERS:
        for function in extract(lower(layer.model(0), target), hardware):
            if function.task is not None:
                space = ScheduleSpace(function.mod, target)
                configs = space.space.sample_distinct(rng, each + cores)
                batches.append((function.task, space, configs))
    n = each * len(batches)
    # Caches stay warm, as TVM's runner leaves them.
    options = MeasureOptions(quick_factor=args.quick_factor, cache_flush_mb=0.0)
    print(f"{n} random configurations, {cores} builders, {options}")

    print(f"\n{'CPU ms of a candidate':42}", *(f"{part:>15}" for part in (*PARTS, "sum")))
    sums: tuple[dict[str, float], dict[str, float]] = ({}, {})
    with tempfile.TemporaryDirectory(prefix="dgtl-bench-") as folder, machine_lock():
        for task, space, configs in batches:
            found = by_part(space, configs[cores:], Path(folder))
            for total, seconds, way in zip(sums, found, ("ours", "TVM's"), strict=True):
                print_parts(f"{task.title}, {way}", seconds, each)
                for part in PARTS:
                    total[part] = total.get(part, 0.0) + seconds[part]
    print_parts("all, ours", sums[0], n)
    print_parts("all, TVM's", sums[1], n)

    functions = {task.key: space.mod for task, space, _ in batches}
    trials, seconds_of_all = [], 0.0
    with LocalMeasurer(hardware, functions, options) as measurer:
        for task, space, configs in batches:
            keys = space.space.keys(configs)
            measurer.measure(task, keys[:cores], best_s=math.inf)  # starts or warms, not counted
            begin = time.perf_counter()
            trials += measurer.measure(task, keys[cores:], best_s=math.inf)
            seconds_of_all += time.perf_counter() - begin
    build_s = sum(trial.build_s for trial in trials)
    run_s = sum(trial.run_s for trial in trials)
    timed_s = sum(
        max(seconds, options.min_repeat_ms / 1e3) for t in trials for seconds in t.run_times_s
    )
    ideal_s = build_s / cores + run_s
    print(
        f"\ndgtl: {seconds_of_all:.2f} s, {sum(t.ok for t in trials)} ok, "
        f"{sum(t.quick for t in trials)} of them quick; "
        f"ideal {ideal_s:.2f} s: builds {build_s:.2f} s / {cores}, runs {run_s:.2f} s, of which "
        f"{timed_s:.2f} s timings and the rest loading, first runs and waiting for full speed"
    )

    with tempfile.TemporaryDirectory(prefix="dgtl-bench-") as folder:
        schedules = [s.schedule(c) for _, s, configs in batches for c in configs[cores:]]
        other = stock(Path(folder), schedules, hardware, cores)
    print(
        f"TVM's LocalBuilder and LocalRunner: {other['seconds']:.2f} s, {other['ok']} ok; "
        f"building {other['build_s']:.2f} s of that, with workers started for the batch"
    )
    rate, stock_rate = n / seconds_of_all, other["candidates"] / other["seconds"]
    figures = {
        "candidates_per_s": round(rate, 3),
        "stock_candidates_per_s": round(stock_rate, 3),
        "ratio": round(rate / stock_rate, 2),
        "ideal_fraction": round(ideal_s / seconds_of_all, 3),
        "build_cpu_ms": round(1e3 * sum(sums[0][part] for part in PARTS) / n, 1),
        "tvm_build_cpu_ms": round(1e3 * sum(sums[1][part] for part in PARTS) / n, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
