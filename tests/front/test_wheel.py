"""The wheel holds what a user without a checkout needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the checkout, with settings of one's own; unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "dgtl", source / "dgtl", symlinks=True, ignore=ignored)
    shutil.copytree(ROOT / "conf", source / "conf")
    (source / "conf" / "local").mkdir(exist_ok=True)
    (source / "conf" / "local" / "default.yaml").write_text("seed: 7\n")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked" / "dgtl"


def test_settings_histories_tables_and_the_model_are_in_it(wheel):
    here = {p.relative_to(ROOT) for p in (ROOT / "conf").rglob("*.yaml")}
    here = {path for path in here if path.parts[1] != "local"}
    data = ROOT / "dgtl"
    here |= {p.relative_to(data) for p in (data / "data").rglob("*") if p.suffix in (".xz", ".zip")}
    there = {p.relative_to(wheel) for p in wheel.rglob("*") if p.suffix in (".yaml", ".xz", ".zip")}
    assert there == here


def test_nobodys_own_settings_are_in_it(wheel):
    assert not (wheel / "conf" / "local").exists()


def test_its_settings_are_read_without_the_checkout(wheel, tmp_path):
    (tmp_path / "model.onnx").write_text("")
    code = "import sys, dgtl.front.cli as c; print(c.__file__); sys.exit(c.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "tune", "model.onnx", "--set", "budget.foo=1"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(wheel.parent), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(str(wheel))
    assert done.returncode == 1
    assert "error: budget.foo: no such setting" in done.stderr
