"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings

if TYPE_CHECKING:
    from pathlib import Path


# Machines are shared: how long an example takes says nothing of the code.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

# For `make mutants`: whether a test fails, not on what least example; and always the same ones.
settings.register_profile(
    "mutants",
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    database=None,
    deadline=None,
)


@pytest.fixture(scope="session")
def hardware():
    """This machine, with as many cores as `tvm_layers` uses."""
    from tvm_layers import CORES

    from dgtl.tvm import hardware as machine

    return machine.detect(CORES)


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    """An empty folder in the place of the system's one for temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder
