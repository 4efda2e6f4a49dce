"""Jobs per second on one server and on several, all on this machine.

    python scripts/rpc/bench.py

Twice: one server and two, each on a core of its own, time random schedules of a ResNet-18
convolution (56x56, 64 channels, 3x3) for one thread; one server and eight run a kernel that sleeps.
Everything is built before the clock runs, and each server has done a job before. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from start import start_servers
from tvm.rpc.tracker import Tracker

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import convolution

from dgtl.core.records import Trial
from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm.measure.builders import Builders
from dgtl.tvm.measure.machine_lock import machine_lock
from dgtl.tvm.rpc.farm import Farm, Job, RPCSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

SLEEP_MS = 250
SLEEPS = f"""
#include <unistd.h>
extern "C" int __tvm_ffi_main(void*, const void*, int, void*) {{
  usleep({SLEEP_MS} * 1000);
  return 0;
}}
"""
KEY = "bench"


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A library and the arguments of its kernel."""

    library: str
    tensors: list

    def job(self, options: MeasureOptions) -> Job:
        name = Path(self.library).name
        request = {
            "library": name,
            "tensors": self.tensors,
            "options": dataclasses.asdict(options),
            "quick_above_s": 1e9,
        }
        return Job("timings", lambda: request, {name: self.library}, 60.0)


def rate(n: int, kernels: Sequence[Kernel], options: MeasureOptions, port: int) -> float:
    """Jobs per second on ``n`` servers."""
    tracker = Tracker("127.0.0.1", port=port, port_end=port + 100, silent=True)
    servers = start_servers(f"127.0.0.1:{tracker.port}", KEY, "127.0.0.1", n)
    settings = RPCSettings(port=tracker.port, key=KEY)
    try:
        with contextlib.closing(Farm(settings, 1)) as farm:
            while farm.devices < n:  # until each has had a job
                farm.run(iter([k.job(options) for k in kernels[:n]]), lambda _: None)
            ended: list[Job] = []
            begin = time.perf_counter()
            farm.run(iter([kernel.job(options) for kernel in kernels]), ended.append)
            seconds = time.perf_counter() - begin
    finally:
        for server in servers:
            server.terminate()
            server.wait()
        tracker.terminate()
    failed = [job for job in ended if job.answer is None or "error" in job.answer]
    if failed:
        sys.exit(f"error: {failed[0].error or failed[0].answer}")
    print(f"{n} servers: {len(kernels)} jobs in {seconds:.2f} s", flush=True)
    return len(kernels) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--port", type=int, default=9390, help="of the tracker, or a later one")
    parser.add_argument("--only", choices=("computing", "sleeping"), help="both if left out")
    args = parser.parse_args()

    options = MeasureOptions(quick_factor=1e9, throttle_wait_s=0.0)
    task, space = convolution.load(1)
    builders = Builders(task.hardware, {task.key: space.mod}, options.build_timeout_s)
    with tempfile.TemporaryDirectory(prefix="dgtl-bench-") as folder, machine_lock():
        configs = space.space.sample_distinct(np.random.default_rng(0), args.candidates)
        built = builders.build(task, space.space.keys(configs))
        computing = [Kernel(b.library, b.tensors) for b in built if not isinstance(b, Trial)]
        library = Path(folder) / "sleeps.so"
        command = ["g++", "-shared", "-fPIC", "-x", "c++", "-o", str(library), "-"]
        subprocess.run(command, input=SLEEPS, text=True, check=True)
        sleeping = [Kernel(str(library), [((1,), "float32")] * 2)] * (4 * args.candidates)
        once = dataclasses.replace(options, repeats=1, min_repeat_ms=1e-3)
        plans = {"computing": (computing, options, (1, 2)), "sleeping": (sleeping, once, (1, 8))}
        found = {
            name: {n: rate(n, kernels, how, args.port) for n in counts}
            for name, (kernels, how, counts) in plans.items()
            if args.only in (None, name)
        }
    builders.close()
    figures = {
        name: {
            **{f"jobs_per_s_{n}": round(value, 2) for n, value in rates.items()},
            "ratio": round(rates[max(rates)] / rates[1], 2),
        }
        for name, rates in found.items()
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
