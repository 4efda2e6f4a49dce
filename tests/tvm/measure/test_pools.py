"""Worker processes end, whatever they do."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import cloudpickle
import psutil
import pytest
import rpc_farms
from tvm.support.popen_pool import PopenWorker

from dgtl.tvm.measure import pools
from dgtl.tvm.measure.local import LocalMeasurer

# Workers cannot import this module: what they are to call of it travels by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PARENT = """
import os
from tvm.support.popen_pool import PopenWorker

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


def test_a_worker_that_is_killed_while_it_starts_is_started_again(monkeypatch):
    started = PopenWorker._start
    killed = []

    def start(worker) -> None:
        started(worker)
        if len(killed) < 3:
            killed.append(worker._proc)
            worker._proc.kill()

    monkeypatch.setattr(PopenWorker, "_start", start)
    pool = pools.start(1, None, 1)
    try:
        assert pool.submit(os.getpid).result() not in [process.pid for process in killed]
    finally:
        pools.end(pool)
    assert len(killed) == 3


def test_where_no_worker_can_start_it_is_said(monkeypatch, hardware):
    started = PopenWorker._start

    def start(worker) -> None:
        started(worker)
        worker._proc.kill()

    monkeypatch.setattr(PopenWorker, "_start", start)
    monkeypatch.setattr(pools, "STARTS", 3)
    with pytest.raises(ValueError, match="3 processes died while they started; is memory short"):
        LocalMeasurer(hardware, {})


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
