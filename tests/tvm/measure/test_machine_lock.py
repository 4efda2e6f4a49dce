"""One program at a time measures: users share the lock, and a killed one leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dgtl.tvm.measure.machine_lock import MachineLock, machine_lock

PROGRAM = """
import os, sys
from dgtl.tvm.measure.machine_lock import machine_lock
if len(sys.argv) > 1:
    os.environ["LOGNAME"] = "other"
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
lock = machine_lock()
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A file for a lock of its own, in a folder like /tmp."""
    tmp_path.chmod(0o1777)
    for folder in tmp_path.parents[:3]:  # one more where tests run side by side
        folder.chmod(0o755)
    monkeypatch.setenv("DGTL_LOCK", str(tmp_path / "lock"))
    return tmp_path / "lock"


def holder(*arguments: str) -> subprocess.Popen:
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def refused(lock: MachineLock) -> str:
    with pytest.raises(TimeoutError) as caught:
        lock.acquire(timeout_s=0)
    return str(caught.value)


def test_who_holds_it_is_named(path):
    with holder() as other:
        assert f"process {other.pid} of " in refused(machine_lock())
        other.communicate("")
    with machine_lock():
        pass


def test_a_killed_process_leaves_nothing_that_blocks(path):
    with holder() as other:
        other.kill()
    machine_lock().acquire(timeout_s=5)
    machine_lock().release()


@pytest.mark.skipif(os.getuid() != 0, reason="to be another user, one has to be root")
def test_users_share_it(path):
    """Whoever made the file: each may hold it, and each is told of the other."""
    nobody = "65534"
    with holder(nobody) as other:
        assert path.stat().st_uid == int(nobody)
        assert f"process {other.pid} of " in refused(machine_lock())
        other.communicate("")
    path.unlink()
    with machine_lock():
        assert path.stat().st_uid == 0
    with holder(nobody) as other:
        assert f"process {other.pid} of " in refused(machine_lock())
        other.communicate("")


def test_a_file_that_only_its_owner_may_write_is_locked_all_the_same(path):
    path.touch(mode=0o444)
    with holder() as other:
        assert "measures on this machine" in refused(machine_lock())
        other.communicate("")


def test_within_a_process_it_is_held_as_often_as_wanted(path):
    with machine_lock(), machine_lock():
        pass
    with holder() as other:
        refused(machine_lock())
        other.communicate("")


def test_who_waits_says_so_once(path, capfd):
    with holder() as other:
        program = PROGRAM.replace('print("held"', 'print("after"')
        command = [sys.executable, "-c", program]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as waiting:
            said = waiting.stderr.readline()
            assert said.startswith(f"waiting: process {other.pid} of ")
            other.communicate("")
            assert waiting.stdout.readline() == "after\n"
            assert waiting.communicate("")[1] == ""
