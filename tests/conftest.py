"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression
from hypothesis import Phase, settings

# Machines are shared: how long an example takes says nothing of the code.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

# What other programs measure does not keep tests from running.
LOCK = Path(tempfile.gettempdir()) / f"dgtl-tests-{os.getpid()}.lock"
os.environ["DGTL_LOCK"] = str(LOCK)


def pytest_unconfigure() -> None:
    LOCK.unlink(missing_ok=True)


# Files that take longest come first, so that no worker has one to itself at the end.
LONGEST = (
    "front/test_tuned.py",
    "run/test_live.py",
    "tvm/measure/test_local.py",
    "conf/test_settings.py",
    "baselines/test_methods.py",
    "tvm/workload/test_zoo.py",
    "tvm/rpc/test_farm.py",
    "conf/test_presets.py",
    "experiments/test_table1.py",
)


# Rooms whose tests build kernels or start processes of a device: no unit tests.
OF_MACHINES = ("tvm/", "device/")


def room(path: Path) -> str:
    return path.relative_to(Path(__file__).parent).as_posix()


def marks_of(path: Path) -> set[str]:
    """Marks that every test of a file has, read without importing it."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("pytestmark")]
    own = set(re.findall(r"mark\.(\w+)", " ".join(lines)))
    return own | ({"tvm"} if room(path).startswith(OF_MACHINES) else set())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What ``-m`` leaves out whole is not imported: TensorFlow and TVM take seconds."""
    chosen = config.getoption("markexpr")
    if not chosen or not collection_path.name.startswith("test_"):
        return None
    marks = marks_of(collection_path)
    more = [marks | {"slow"} | {"tvm"}, marks | {"slow"}, marks | {"tvm"}, marks]
    takes = Expression.compile(chosen).evaluate
    return None if any(takes(lambda name, has=has: name in has) for has in more) else True


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if room(item.path).startswith(OF_MACHINES):
            item.add_marker("tvm")

    def place(item: pytest.Item) -> int:
        file = room(item.path)
        return LONGEST.index(file) if file in LONGEST else len(LONGEST)

    items.sort(key=place)


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
