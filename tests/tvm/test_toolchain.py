"""What this machine lacks is one line before anything is computed, or worked around."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from dgtl.tvm import toolchain
from dgtl.tvm.toolchain import require_toolchain

if TYPE_CHECKING:
    from pathlib import Path

GCC = shutil.which("g++")


@pytest.fixture(autouse=True)
def no_name(monkeypatch):
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def refused() -> str:
    with pytest.raises(ValueError, match=r".+") as caught:
        require_toolchain()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_this_machine_has_all(scratch):
    assert require_toolchain()
    assert list(scratch.iterdir()) == []


def test_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install g++" in refused()


@pytest.mark.parametrize(
    "text", ["echo 'fatal error: no cc1plus' >&2; exit 1", "exit 0", f'exec "{GCC}" -nothing "$@"']
)
def test_a_compiler_that_is_broken(tmp_path, monkeypatch, text):
    monkeypatch.setenv("CXX", str(program(tmp_path / "broken", text)))
    assert "does not work" in refused()


def test_a_compiler_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/g++")
    assert refused().startswith("CXX=/nowhere/g++: no such program")


@pytest.mark.parametrize("named", ["ccache g++", "ccache distcc g++", "/usr/bin/ccache g++"])
def test_a_cache_before_the_compiler_is_left_out(monkeypatch, named):
    monkeypatch.setenv("CXX", named)
    assert require_toolchain() == "g++"
    assert os.environ["CXX"] == "g++"


def test_a_compiler_with_options_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "g++ -m64")
    assert "one program" in refused()


def test_a_program_whose_path_has_a_space(tmp_path, monkeypatch):
    path = program(tmp_path / "my compiler", f'exec "{GCC}" "$@"')
    monkeypatch.setenv("CXX", str(path))
    assert require_toolchain() == str(path)


def test_no_room_for_temporary_files(monkeypatch, scratch):
    monkeypatch.setattr(toolchain, "LEAST_FREE_MB", 1 << 40)
    said = refused()
    assert str(scratch) in said
    assert "TMPDIR=FOLDER" in said


def test_a_compiler_that_runs_out_of_room(tmp_path, monkeypatch):
    text = "echo 'cannot write: No space left on device' >&2; exit 1"
    monkeypatch.setenv("CXX", str(program(tmp_path / "full", text)))
    assert "TMPDIR=FOLDER" in refused()


def test_no_folder_for_temporary_files(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert "TMPDIR=FOLDER" in refused()


def test_a_folder_from_which_nothing_may_be_loaded(monkeypatch):
    def no_map(path):
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(toolchain.ctypes, "CDLL", no_map)
    said = refused()
    assert "noexec" in said
    assert "TMPDIR=FOLDER" in said


@pytest.mark.skipif(os.getuid() != 0, reason="to mount, one has to be root")
def test_a_folder_that_is_mounted_noexec(tmp_path, monkeypatch):
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", str(tmp_path)])
    if done.returncode:
        pytest.skip("no mounts here")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        assert "noexec" in refused()
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_few_open_files_are_made_more_where_that_is_allowed():
    program = "import resource, sys; from dgtl.tvm.toolchain import require_toolchain\n"
    program += "limit = int(sys.argv[1]); _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
    program += "resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit or hard))\n"
    program += "require_toolchain(); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    command = [sys.executable, "-c", program]
    done = subprocess.run([*command, "0"], capture_output=True, text=True)
    assert int(done.stdout) >= 256, done.stderr
    done = subprocess.run([*command, "128"], capture_output=True, text=True)
    assert "ValueError: only 128 files may be open" in done.stderr.splitlines()[-1]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0
