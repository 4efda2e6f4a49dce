"""What ends a run, or a kernel."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class RefusedError(ValueError):
    """What the user has to mend, in one line."""


class Stopped(BaseException):
    """A signal asks to end."""


class KernelError(Exception):
    """What a kernel did instead of running: a status and one line."""

    def __init__(self, status: str, error: str):
        super().__init__(error)
        self.status = status


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A signal that asks to end waits until this is over.

    By handlers, for a mask holds back the signals of one thread only, and numpy has others.
    """
    noted: list[int] = []

    def note(number: int, _: object) -> None:
        noted.append(number)

    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
        if noted:
            signal.raise_signal(noted[0])


def last_line(error: BaseException) -> str:
    """An error in one line: TVM's begin with where they come from."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return lines[-1].strip()[:300]
