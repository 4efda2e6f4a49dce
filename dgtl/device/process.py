"""Both ends of the worker process: requests go in as JSON lines, each gets one as its answer."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import KernelError, RefusedError, last_line

if TYPE_CHECKING:
    from .folder import Visit
    from .worker import Worker

START_TIMEOUT_S, END_TIMEOUT_S = 120.0, 60.0

_ABOVE = Path(__file__).resolve().parents[1]
OWN_COMMAND = [sys.executable, *([str(_ABOVE)] if _ABOVE.is_file() else ["-m", str(__package__)])]
"""What starts this program: the archive that it is in, or the package."""


class Runner:
    """The worker process: asks it, ends it when it is no use any more, starts another."""

    def __init__(self, visit: Visit, runtime: Path):
        self._visit = visit
        self._command = [*OWN_COMMAND, "--worker", visit.kind, str(runtime)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts a worker unless there is one.

        Raises:
            RefusedError: it does not start.
        """
        if self._process is not None:
            return
        threads = self._visit.threads
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **({"TVM_NUM_THREADS": str(threads)} if threads else {})},
            start_new_session=True,  # Ctrl-C is for the parent
        )
        try:
            answer = self._answer(START_TIMEOUT_S)
        except KernelError as error:
            answer = {"error": str(error)}
        if "error" in answer:
            self.end()
            raise RefusedError(f"the {self._visit.kind} runtime does not start: {answer['error']}")

    def ask(self, do: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """The worker's answer to a request.

        Raises:
            KernelError: it has none.
        """
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        request = json.dumps({"do": do, **arguments}) + "\n"
        try:
            with contextlib.suppress(BrokenPipeError):  # then the answer tells
                self._process.stdin.write(request.encode())
                self._process.stdin.flush()
            answer = self._answer(timeout_s)
        except KernelError:
            self.end()
            raise
        if "error" in answer:
            if self._visit.kind == "cuda":
                self.end()  # after an error of CUDA its context runs nothing any more
            raise KernelError("run_error", answer["error"])
        return answer

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise KernelError("run_timeout", f"no answer within {timeout_s:g} s")
        line = self._process.stdout.readline()
        try:
            return json.loads(line)
        except ValueError:
            code = 0
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = code if line else self._process.wait(END_TIMEOUT_S)
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise KernelError("run_error", f"its process died: {name}") from None

    def end(self) -> None:
        """Kills the worker. If not even that helps, the next one tells by not starting."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError, AttributeError):
                    pipe.close()  # type: ignore[union-attr]
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_TIMEOUT_S)


def work(kind: str, runtime: Path) -> int:
    """What the worker process does until its requests end; the exit code."""
    # A parent that is killed takes the worker along, which may never read again: PR_SET_PDEATHSIG.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    # What kernels print must not look like an answer.
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    worker: Worker | None = None
    for request in itertools.chain(["{}"], requests):
        answer: dict[str, Any]
        try:
            if worker is None:
                from .worker import Worker  # a package that it lacks is an answer, too

                worker, answer = Worker(kind, runtime), {}
            else:
                answer = worker.answer(**json.loads(request))
        except Exception as error:
            answer = {"error": last_line(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if worker is None:
            break
    return 0
