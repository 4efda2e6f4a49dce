"""``run.py`` with a fault planted in it: what ``scripts/faults.py`` starts.

    python scripts/faulty_run.py candidate_crashes FOLDER model=random workload=tiny

The folder keeps which candidates were spoilt already, for those that are spoilt once.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dgtl.measure.protocol import MeasureOptions

EVERY = 4
"""One of so many candidates is spoilt: which ones, its configuration says."""

KERNELS = {
    "candidate_crashes": "*(volatile int *)0 = 1;",
    "candidate_allocates": (
        "for (;;) { char *p = malloc(64 << 20); if (!p) abort(); memset(p, 1, 64 << 20); }"
    ),
    "candidate_prints": 'for (;;) puts("a candidate that has much to say");',
    "candidate_hangs": "for (;;) pause();",
}
"""Bodies in C of kernels that never return."""

SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int __tvm_ffi_main(void *self, const void *arguments, int number, void *result) {
  BODY
  return 0;
}
"""


def spoilt(config: str) -> bool:
    """Whether a candidate is one of those."""
    return hashlib.sha256(config.encode()).digest()[0] % EVERY == 0


def first_time(folder: str, what: str) -> bool:
    """Whether this is done for the first time, in any process."""
    name = hashlib.sha256(what.encode()).hexdigest()[:16]
    try:
        (Path(folder) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def plant(fault: str, folder: str) -> None:
    """Changes what the workers do, or this process's clock."""
    from dgtl.tvm.measure import workers

    # Workers cannot import this file: what they call of it travels by value, and finds there the
    # functions that it stands for here.
    body = KERNELS.get(fault)

    def bad_build(mod_file: str, target: str, config: str, library: str):
        if fault == "builder_hangs" and spoilt(config):
            ctypes.PyDLL(None).sleep(10**6)  # and keeps the interpreter's lock
        if fault == "builder_stops" and spoilt(config):
            os.kill(os.getpid(), signal.SIGSTOP)
        if fault == "builder_killed" and spoilt(config) and first_time(folder, config):
            os.kill(os.getpid(), signal.SIGKILL)
        built = workers.build(mod_file, target, config, library)
        if body is not None and spoilt(config) and not isinstance(built, str):
            source = SOURCE.replace("BODY", body).encode()
            command = ["gcc", "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", library]
            subprocess.run(command, input=source, check=True)
        return built

    def bad_timing(library: str, tensors: workers.Tensors, options: MeasureOptions):
        if fault == "runner_killed" and spoilt(library) and first_time(folder, library):
            os.kill(os.getpid(), signal.SIGKILL)
        return workers.next_timing(library, tensors, options)

    workers.build, workers.next_timing = bad_build, bad_timing
    if fault == "clock_jumps":
        true, rng = time.time, random.Random(0)
        time.time = lambda: true() + rng.uniform(-1, 1) * 3.2e7  # up to a year


def main() -> None:
    fault, folder, *arguments = sys.argv[1:]
    plant(fault, folder)
    program = Path(__file__).parents[1] / "run.py"
    sys.argv = [str(program), *arguments]
    runpy.run_path(str(program), run_name="__main__")


if __name__ == "__main__":
    main()
