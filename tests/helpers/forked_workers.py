"""Worker processes that need not import TVM, seconds for each: forked from one that has.

For tests of whole runs, each of which starts a handful. What becomes of processes that die, hang or
are left behind is tested with those that users have.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

from commands import forked
from tvm.exec import popen_worker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    import pytest

_ONE_AT_A_TIME = threading.Lock()
"""Starts a process or asks how one ended: pools have threads, and `multiprocessing` no lock."""


def fork_workers(patch: pytest.MonkeyPatch) -> None:
    """Workers of TVM's pools are forked."""
    instead = SimpleNamespace(Popen=_Forked, TimeoutExpired=subprocess.TimeoutExpired)
    patch.setattr("tvm.support.popen_pool.subprocess", instead)


class _Forked:
    """What TVM's pools use of `subprocess.Popen`; it says nothing."""

    def __init__(self, command: list[str], *, pass_fds: tuple[int, int], **_: object) -> None:
        ends = [multiprocessing.connection.Connection(os.dup(end)) for end in pass_fds]
        with _ONE_AT_A_TIME:
            self._process = forked(_work, *ends, dict(os.environ), daemon=True)
        for end in ends:
            end.close()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        with _ONE_AT_A_TIME:
            return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> None:
        multiprocessing.connection.wait([self._process.sentinel], timeout)


def _work(reader: Connection, writer: Connection, environment: dict[str, str]) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["popen_worker", str(reader.fileno()), str(writer.fileno())]
    popen_worker.main()
