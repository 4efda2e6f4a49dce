"""Worker processes: TVM's pools, made and ended in one place."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

from tvm.support.popen_pool import PopenPoolExecutor, kill_child_processes

from dgtl.tvm.measure import workers

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Pool(PopenPoolExecutor):
    """TVM's, which may be ended while its processes end by themselves.

    Ctrl-C reaches these too. TVM's own shutdown then fails where a thread clears away a process
    that it is about to kill, and keeps its lock, on which the program hangs when it exits.
    """

    def shutdown(self, wait: bool = True) -> None:
        with self._lock:
            processes = list(self._worker_map.values())
        for process in processes:
            # Its pipe cannot be closed while a thread waits for what it says: it has to end first.
            with contextlib.suppress(AttributeError):  # cleared away meanwhile
                kill_child_processes(process._proc.pid)
                process._proc.kill()
            with contextlib.suppress(AttributeError, ImportError):  # the same; at exit
                process.kill()
        self._threadpool.shutdown(wait=wait, cancel_futures=True)
        self._shutdown = True


def start(
    count: int, timeout_s: float | None, num_threads: int, scratch: str | None = None
) -> PopenPoolExecutor:
    """A pool of ``count`` processes, each of which starts with its first call.

    Args:
        count: of processes.
        timeout_s: after which a call is ended, and its process with it; None: never.
        num_threads, scratch: see `workers.start`.
    """
    return _Pool(
        max_workers=count,
        timeout=timeout_s,
        initializer=workers.start,
        initargs=(num_threads, scratch),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def end(*pools: PopenPoolExecutor) -> None:
    """Ends the processes, in the middle of a call if need be.

    A second Ctrl-C has to wait for it, so that no process is left.
    """
    with _uninterrupted():
        for pool in pools:
            pool.shutdown(wait=True)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
