"""A tracker and RPC servers to be killed: what ``scripts/faults.py`` lets runs measure on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
KEY = "faults"


class Farm:
    """Servers of one core each, on loopback; a context manager that ends what still runs.

    Args:
        servers: how many there are at first.
        log: what they say is added to this file.
    """

    def __init__(self, servers: int, log: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._log = log
        self._servers: list[psutil.Popen] = []
        self.start_tracker()
        for _ in range(servers):
            self.start_server()

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, *exception: object) -> None:
        while self._servers:
            self.kill_server()
        self.kill_tracker()

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of a run that measures here."""
        where = (f"measure.rpc.port={self._port}", f"measure.rpc.key={KEY}")
        return ("measure=rpc", *where, "hardware.num_cores=1")

    def start_tracker(self) -> None:
        """Starts one, on the port where the last one was."""
        address = ("--host", "127.0.0.1", "--port", str(self._port))
        last = ("--port-end", str(self._port + 1))
        self._tracker = self._started("tvm.exec.rpc_tracker", *address, *last)

    def start_server(self) -> None:
        """One more, on a core of its own as far as they go."""
        cores = sorted(os.sched_getaffinity(0))
        core = cores[len(self._servers) % len(cores)]
        tracker = ("--tracker", f"127.0.0.1:{self._port}", "--key", KEY)
        self._servers.append(self._started("dgtl.tvm.rpc.server", *tracker, "--cores", str(core)))

    def kill_server(self) -> None:
        """``kill -9`` of the last server, with the session that it may have."""
        kill(self._servers.pop())

    def kill_tracker(self) -> None:
        """``kill -9`` of the tracker."""
        kill(self._tracker)

    def _started(self, module: str, *arguments: str) -> psutil.Popen:
        command: Sequence[str] = [sys.executable, "-m", module, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self._log.open("ab") as said:
            return psutil.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)


def kill(process: psutil.Popen) -> None:
    """``kill -9`` of a process and of all that it has started."""
    family = [*process.children(recursive=True), process]
    for one in family:
        one.kill()
    psutil.wait_procs(family)
