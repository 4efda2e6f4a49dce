"""What a worker process may take of the machine, so that a candidate fails before the run does."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
from pathlib import Path

import psutil

from dgtl.core import cgroups

MEMORY_SHARE = 0.5
"""Of the machine's memory, what one worker may allocate: candidates take a hundredth of that."""


def limit_memory() -> None:
    """Allocations of this process beyond its share fail, and it is the first that Linux kills.

    The limit is on private memory that can be written: libraries and what CUDA reserves do not
    count (`setrlimit(2)`, RLIMIT_DATA).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = int(MEMORY_SHARE * memory_bytes())
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    with contextlib.suppress(OSError):  # no /proc
        Path("/proc/self/oom_score_adj").write_text("1000")


def die_with_parent() -> None:
    """A parent that is killed takes this process along, which may never look again: prctl(2)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


def memory_bytes() -> int:
    """Memory of this machine, or of the container that this is in."""
    total = int(psutil.virtual_memory().total)
    granted = cgroups.memory_bytes()
    return total if granted is None else min(total, granted)
