"""What ends a run, or a kernel."""

from __future__ import annotations


class RefusedError(ValueError):
    """What the user has to mend, in one line."""


class Stopped(BaseException):
    """A signal asks to end."""


class KernelError(Exception):
    """What a kernel did instead of running: a status and one line."""

    def __init__(self, status: str, error: str):
        super().__init__(error)
        self.status = status


def last_line(error: BaseException) -> str:
    """An error in one line: TVM's begin with where they come from."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return lines[-1].strip()[:300]
