"""Folders for temporary files that a killed process leaves behind, and whoever comes next removes.

Whether a folder is in use is told by a lock on a file in it, which ends with the process that holds
it. The number of a process would not tell: where containers share a folder for temporary files,
each counts its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

PREFIX = "dgtl-run-"
LOCK = "in-use"


class Scratch:
    """A folder for temporary files, gone with `close`, or with the next one if the process dies.

    Attributes:
        folder: the folder.
    """

    def __init__(self) -> None:
        _sweep()
        # It gets its name once it is locked: until then nobody may take it for a dead one.
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
        self._lock = (made / LOCK).open("w")
        with contextlib.suppress(OSError):  # no locks there: then nothing there is swept
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.folder = made.rename(made.with_name(made.name[1:]))

    def close(self) -> None:
        """Removes the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _sweep() -> None:
    """Removes folders that nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # What belongs to other users cannot be opened.
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
