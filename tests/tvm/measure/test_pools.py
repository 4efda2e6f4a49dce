"""Worker processes end, whatever they do."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import cloudpickle
import psutil
import rpc_farms

from dgtl.tvm.measure import pools

# Workers cannot import this module: what they are to call of it travels by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PARENT = """
import os
from dgtl.tvm.measure import pools
pool = pools.start(1, None, 1)
print(pool.submit(os.getpid).result(), flush=True)
from hanging import deadlock
pool.submit(deadlock).result()
"""


def deadlock() -> None:
    """Keeps the interpreter's lock, so that nothing in its process runs any more."""
    ctypes.PyDLL(None).sleep(60)


def test_a_pool_ends_while_a_call_hangs_in_native_code():
    pool = pools.start(1, None, 1)
    process = psutil.Process(pool.submit(os.getpid).result())
    future = pool.submit(deadlock)
    pools.end(pool)
    assert future.exception() is not None
    assert not process.is_running()


def test_a_killed_parent_takes_its_workers_along(tmp_path):
    """Also one that hangs, and never learns that nobody waits for it."""
    (tmp_path / "hanging.py").write_text(
        "import ctypes\ndef deadlock(): ctypes.PyDLL(None).sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    rpc_farms.eventually(lambda: not worker.is_running())
