"""Who measures on this machine: one program at a time, whoever started it.

The lock is on a file that everybody can open, and belongs to an open file: it ends with the process
that holds it, however that ends. `filelock` opens its file for writing, which only the user who
made it first may do.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import getpass
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

PATH = Path("/tmp/dgtl-measure.lock")
"""Not where TMPDIR says: that differs from user to user."""

RETRY_S = 0.05


class MachineLock:
    """Held by at most one process; within it, as often as wanted.

    Args:
        path: of the file, made if absent; it stays.
    """

    def __init__(self, path: Path):
        self._path = path
        self._depth = 0
        self._descriptor = -1

    def acquire(self, timeout_s: float | None = None) -> None:
        """Takes the lock; says once who has it if it has to wait.

        Args:
            timeout_s: longest wait; None: none is too long.

        Raises:
            TimeoutError: it was not free in time; says who has it.
        """
        if not self._depth:
            descriptor = _opened(self._path)
            try:
                self._wait(descriptor, timeout_s)
            except BaseException:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
        self._depth += 1

    def release(self) -> None:
        """Gives it back once it was released as often as it was taken."""
        self._depth -= 1
        if not self._depth:
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _wait(self, descriptor: int, timeout_s: float | None) -> None:
        begin, said = time.monotonic(), False
        while not _locked(descriptor):
            if timeout_s is not None and time.monotonic() - begin >= timeout_s:
                raise TimeoutError(f"{self._holder()} measures on this machine")
            if timeout_s is None and not said:
                said = True
                print(f"waiting: {self._holder()} measures on this machine", file=sys.stderr)
            time.sleep(RETRY_S)
        with contextlib.suppress(OSError):  # of another user, of a version that kept it for itself
            writer = os.open(self._path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
            os.write(writer, f"process {os.getpid()} of {_user()}".encode())
            os.close(writer)

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            text = self._path.read_bytes()[:200].decode(errors="replace")
            if text and text.isprintable():
                return text
        return "another program"


def _locked(descriptor: int) -> bool:
    """Locks it, if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _opened(path: Path) -> int:
    """The file, open for reading, which is enough to lock it; made for all users if absent."""
    # Not made and opened in one: Linux refuses that for the file of another user in /tmp.
    with contextlib.suppress(FileExistsError):
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.fchmod(made, 0o666)
        os.close(made)
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        return f"user {os.getuid()}"


def machine_lock() -> MachineLock:
    """The lock of this machine, the same for all of this process.

    ``DGTL_LOCK`` names another file: for programs that share a machine and no core.
    """
    return _lock(Path(os.environ.get("DGTL_LOCK") or PATH))


@functools.cache
def _lock(path: Path) -> MachineLock:
    return MachineLock(path)
