"""Whatever lies in a file of others, reading it ends in a result or in a ValueError."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from fuzz import changed
from fuzz_targets import TARGETS, attempt
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

FEW = {"run": 2, "onnx_import": 3, "model": 3, "results": 10}
"""Examples of what is slow; `scripts/fuzz.py` tries thousands."""


@pytest.mark.parametrize("name", TARGETS)
def test_good_files_are_taken(name, tmp_path):
    for data in TARGETS[name].seeds():
        assert attempt(TARGETS[name], tmp_path / "folder", data)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_read_or_refused(name):
    """What is taken is used, so that it need not be right, but must not break what uses it."""
    target = TARGETS[name]
    good = target.seeds()[0]

    @settings(max_examples=FEW.get(name, 25), derandomize=True)
    @given(seed=st.integers(0, 2**32))
    def check(seed):
        with tempfile.TemporaryDirectory() as where:
            canary = Path(where) / "canary"
            canary.write_text("beside the folder")
            rng = random.Random(seed)
            attempt(target, Path(where) / "folder", changed(target, good, rng))
            assert [path.name for path in Path(where).iterdir()] == ["canary"]
            assert canary.read_text() == "beside the folder"

    check()


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=300))
@settings(max_examples=20, derandomize=True)
def test_any_bytes_are_read_or_refused(name, data):
    with tempfile.TemporaryDirectory() as where:
        attempt(TARGETS[name], Path(where) / "folder", data)
