"""A run holds no more after many batches than after few, and leaves nothing."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench" / "long_run.py"


@pytest.mark.tvm
def test_nothing_is_left_and_no_file_is_held_longer_than_its_batch(scratch):
    held_over = runpy.run_path(str(SCRIPT))["held_over"]
    held, before, after = held_over(trials=12, batch=3)
    assert len({one.open_files for one in held}) == 1
    assert len({one.processes for one in held}) == 1
    assert len({one.temporary for one in held}) == 1
    for name in ("open_files", "processes", "temporary"):
        assert getattr(after, name) <= getattr(before, name)
