"""The command line without what starting Python and importing TVM costs, seconds for each command.

`here` runs it in the process of the tests. `run` forks a process that has imported TVM already, so
that whatever is printed is seen, by libraries too.
"""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import multiprocessing.util
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dgtl.results.run_folder import REPORT

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerProcess

ROOT = Path(__file__).parents[2]
RUN = ROOT / "run.py"

PROCESSES = multiprocessing.get_context("forkserver")
"""Forked from one that has imported TVM and all else of a run."""
# The default method brings XGBoost and scikit-learn, which take as long to import as TVM.
PROCESSES.set_forkserver_preload(["dgtl.run.live", "dgtl.methods.dgp"])


def here(
    folder: Path, *arguments: str, program: Path = RUN, report: bool = True
) -> subprocess.CompletedProcess:
    """What a program of the checkout does and prints, on lines of 120 letters.

    Args:
        folder: where it is run.
        arguments: of the command.
        program: its file.
        report: whether reports of runs are drawn, seconds for each, or empty files.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.chdir(folder)
        if not report:
            draw_no_reports(patch)
        patch.setattr(sys, "argv", [str(program), *arguments])
        # Hydra would close the handlers of others, and TensorFlow's closes what it writes to.
        patch.setattr(logging, "shutdown", lambda *_: None)
        patch.setenv("COLUMNS", "120")
        patch.setenv("HYDRA_FULL_ERROR", "0")
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            runpy.run_path(str(program), run_name="__main__")
            code = None
        except SystemExit as ended:
            code = ended.code
        finally:
            signal.signal(signal.SIGTERM, terminate)
    said = f"{code}\n" if isinstance(code, str) else ""
    status = 1 if said else int(code or 0)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue() + said)


def draw_no_reports(patch: pytest.MonkeyPatch) -> None:
    """Reports of runs are empty files: a run without one counts as unfinished."""
    for kind in ("live", "replay"):
        patch.setattr(f"dgtl.run.{kind}.write_report", lambda run: (run.folder / REPORT).touch())


def run(arguments: list[str], folder: Path, said: Path) -> subprocess.CompletedProcess:
    """What ``python run.py`` with these arguments does and says.

    Handlers of `atexit` are not called, so this is for what ends before anything is measured.

    Args:
        arguments: of the command.
        folder: where it is run.
        said: a folder of its own for what it prints.
    """
    said.mkdir()
    process = forked(_begin, arguments, folder, said, dict(os.environ))
    process.join()
    out, err = ((said / name).read_text() for name in ("1", "2"))
    return subprocess.CompletedProcess(arguments, process.exitcode or 0, out, err)


def forked(target: Callable, *arguments: object, daemon: bool = False) -> ForkServerProcess:
    """A started process that calls a function.

    The socket to it is in a folder of this process that a test's TMPDIR, whose name may be too long
    for one, has no part in.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TMPDIR", raising=False)
        patch.setattr("tempfile.tempdir", None)
        multiprocessing.util.get_temp_dir()
    process = PROCESSES.Process(target=target, args=arguments, daemon=daemon)
    process.start()
    return process


def _begin(arguments: list[str], folder: Path, said: Path, environment: dict[str, str]) -> None:
    # The process that this one is forked from has that of whoever needed it first.
    os.environ.clear()
    os.environ.update(environment)
    for stream in (1, 2):
        os.dup2(os.open(said / str(stream), os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    os.environ["DGTL_LOCK"] = str(said / "lock")  # none waits for another
    sys.argv = [str(RUN), *arguments]
    runpy.run_path(str(RUN), run_name="__main__")
