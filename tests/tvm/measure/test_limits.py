"""A worker may take its share of the memory and no more, and does not outlive its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil

from dgtl.core import cgroups
from dgtl.tvm.measure import limits

ALLOCATE = """
from dgtl.tvm.measure import limits
limits.MEMORY_SHARE = 256 * 2**20 / limits.memory_bytes()
limits.limit_memory()
try:
    bytearray(400 * 2**20)
except MemoryError:
    print("refused")
print(open("/proc/self/oom_score_adj").read())
"""

PARENT = """
import subprocess, sys
child = "from dgtl.tvm.measure import limits; limits.die_with_parent(); print(1, flush=True); "
child += "import time; time.sleep(60)"
process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
process.wait()
"""


def test_what_is_beyond_the_share_is_refused_and_it_is_killed_first():
    done = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True)
    assert done.stdout.split() == ["refused", "1000"]


def test_memory_is_no_more_than_a_container_grants(monkeypatch):
    total = psutil.virtual_memory().total
    for granted, memory in ((None, total), (1_000_000, 1_000_000), (2 * total, total)):
        monkeypatch.setattr(cgroups, "memory_bytes", lambda granted=granted: granted)
        assert limits.memory_bytes() == memory


def test_a_worker_ends_with_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    for _ in range(500):
        if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.02)
    child.kill()
    raise AssertionError("it lives on")
