"""Worker processes: TVM's pools, made and ended in one place."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from tvm.support.popen_pool import PopenPoolExecutor, kill_child_processes

from dgtl.tvm.measure import workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUNG_AFTER_S = 10.0
"""A process that has not answered so long after its timeout never will."""

STARTS = 32
"""So many processes may die one after the other before they have started."""


class _Pool(PopenPoolExecutor):
    """TVM's, which ends what hangs, and may itself be ended while its processes end.

    Ctrl-C reaches these too. TVM's own shutdown then fails where a thread clears away a process
    that it is about to kill, and keeps its lock, on which the program hangs when it exits.
    """

    def _worker_run(self, fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """Calls a function in the process of this thread.

        That a process was killed says nothing of what it was doing, whoever killed it (one who
        wanted memory, most often): the call is made once more. A crash is the function's own.
        """
        try:
            return self._call(fn, args, kwargs)
        except _KilledError:
            return self._call(fn, args, kwargs)

    def _call(self, fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """As TVM's, in a process that has started, and that is ended where it hangs.

        A worker watches its own clock; one that hangs in native code never looks at it.
        """
        process = self._started()
        seconds = threading.TIMEOUT_MAX if self._timeout is None else self._timeout + HUNG_AFTER_S
        hung = threading.Timer(seconds, process.kill)
        hung.daemon = True
        hung.start()
        try:
            return super()._worker_run(fn, args, kwargs)
        except TimeoutError:
            raise
        except Exception:  # its own, or half an answer of one that died
            if hung.finished.is_set():
                raise TimeoutError from None
            if process.poll() == -signal.SIGKILL and not self._shutdown:
                raise _KilledError("its process was killed") from None
            raise
        finally:
            hung.cancel()

    def _started(self) -> subprocess.Popen:
        """The process of this thread; another in its place where it has died since its last call.

        One that dies while it starts was ended by others: a start takes seconds and much memory.
        """
        for _ in range(STARTS):
            with contextlib.suppress(ChildProcessError):
                super()._worker_run(os.getpid, (), {})
            process = self._worker_map[threading.get_ident()]._proc
            if process is not None or self._shutdown:
                break
        if process is None:
            dead = f"{STARTS} processes died while they started"
            raise ChildProcessError("the pool is being ended" if self._shutdown else dead)
        return process

    def shutdown(self, wait: bool = True) -> None:
        self._shutdown = True
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


class _KilledError(ChildProcessError):
    """A process that somebody killed, in the middle of a call."""


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
