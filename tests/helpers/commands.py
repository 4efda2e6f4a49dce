"""The command line in processes of its own, forked from one that has imported TVM already.

Importing takes seconds of processor time, and as long for each of many short commands.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[2] / "run.py"

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["dgtl.run.live"])


def run(arguments: list[str], folder: Path, said: Path) -> subprocess.CompletedProcess:
    """What ``python run.py`` with these arguments does and says.

    Handlers of `atexit` are not called, so this is for what ends before anything is measured.

    Args:
        arguments: of the command.
        folder: where it is run.
        said: a folder of its own for what it prints.
    """
    said.mkdir()
    process = _PROCESSES.Process(target=_begin, args=(arguments, folder, said))
    process.start()
    process.join()
    out, err = ((said / name).read_text() for name in ("1", "2"))
    return subprocess.CompletedProcess(arguments, process.exitcode or 0, out, err)


def _begin(arguments: list[str], folder: Path, said: Path) -> None:
    for stream in (1, 2):
        os.dup2(os.open(said / str(stream), os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    sys.argv = [str(RUN), *arguments]
    runpy.run_path(str(RUN), run_name="__main__")
