"""The kernels that every device times, to tell whether it is like the others.

One is all arithmetic, the other all memory: two boards that do both at the same speed are taken for
the same hardware.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import tvm
from tvm.script import tirx as T

from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm.measure import pace
from dgtl.tvm.rpc.session import Kernel

if TYPE_CHECKING:
    from pathlib import Path

    from dgtl.core.records import Hardware

OPTIONS = MeasureOptions(
    repeats=10, min_repeat_ms=5.0, quick_factor=1.0, cache_flush_mb=0.0, throttle_wait_s=0.0
)
"""The fastest of these timings counts: nothing makes a device faster than it is."""

NUMBERS = 1 << 22
"""Float32 that the memory kernel reads, and as many that it writes: 32 MB, mostly not in caches."""


def kernels(hardware: Hardware, folder: Path) -> list[Kernel]:
    """Builds the kernels for a device, into a folder."""
    threads = hardware.num_cores
    arithmetic, n_values = pace.multiplications(threads)
    numbers = NUMBERS // threads * threads
    modules = {
        "arithmetic": (arithmetic, [((n_values,), "float32")]),
        "memory": (_copy(threads, numbers), [((numbers,), "float32")] * 2),
    }
    found = []
    for name, (module, tensors) in modules.items():
        library = f"calibration-{name}.so"
        built = tvm.compile(module, target=tvm.target.Target(hardware.target))
        built.export_library(str(folder / library))
        request = {
            "library": library,
            "tensors": tensors,
            "options": dataclasses.asdict(OPTIONS),
            "quick_above_s": OPTIONS.run_timeout_s,
        }
        found.append(Kernel(name, str(folder / library), request))
    return found


def _copy(num_threads: int, numbers: int) -> tvm.ir.IRModule:
    """Copies so many numbers, an equal part in every thread."""
    part = numbers // num_threads

    @T.prim_func(s_tir=True)
    def main(source: T.handle, target: T.handle):
        a = T.match_buffer(source, (numbers,), "float32")
        b = T.match_buffer(target, (numbers,), "float32")
        for thread in T.parallel(num_threads):
            for i in T.serial(part):
                b[thread * part + i] = a[thread * part + i]

    return tvm.IRModule({"main": main.with_attr("global_symbol", "main")})
