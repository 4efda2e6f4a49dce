"""Temporary files of a killed process are removed; those of a live one never."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dgtl.tvm.measure.scratch import Scratch

PROGRAM = """
import sys
from dgtl.tvm.measure.scratch import Scratch
scratch = Scratch()
print(scratch.folder.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(scratch):
    """Another process with a folder, and its name."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_folder_is_gone_once_it_is_closed(scratch):
    with Scratch() as ours:
        (ours.folder / "file").touch()
        assert ours.folder.parent == scratch
    assert list(scratch.iterdir()) == []


def test_that_of_a_live_process_stays(scratch, other):
    """Whatever its number, which another container counts anew: no number is asked for."""
    _, name = other
    with Scratch():
        assert (scratch / name).is_dir()


def test_that_of_a_killed_process_is_swept(scratch, other):
    process, name = other
    process.kill()
    process.wait()
    assert (scratch / name).is_dir()
    with Scratch() as ours:
        assert [path.name for path in scratch.iterdir()] == [ours.folder.name]


def test_what_is_no_folder_of_ours_stays(scratch):
    for name in ("dgtl-run-notes", "dgtl-notes", "other"):
        (scratch / name).mkdir()
    with Scratch():
        pass
    assert len(list(scratch.iterdir())) == 3
