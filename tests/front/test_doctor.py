"""The doctor names what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import tempfile

import pytest

from dgtl.front import doctor
from dgtl.front.doctor import Finding


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DGTL_HISTORY", str(tmp_path / "history"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.slow
def test_this_installation_is_well(capsys):
    assert doctor.examine() == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("ok ", "note ")) for line in lines) == len(doctor.CHECKS)


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([Finding("a", "fine")], 0),
        ([Finding("a", "odd", "do this", needed=False)], 0),
        ([Finding("a", "fine"), Finding("b", "none", "do that")], 1),
    ],
)
def test_only_what_is_needed_fails(monkeypatch, capsys, findings, code):
    monkeypatch.setattr(doctor, "CHECKS", [lambda f=f: f for f in findings])
    assert doctor.examine() == code
    out = capsys.readouterr().out
    for finding in findings:
        assert finding.state in out
        assert finding.cure in out


@pytest.mark.slow
def test_without_a_compiler_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install g++" in doctor.compiler().cure


def test_a_package_of_another_version_is_named_with_the_command(monkeypatch):
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "9.9" if name == "numpy" else real(name)
    )
    found = doctor.packages()
    assert "numpy 9.9 instead of" in found.state
    assert found.cure.startswith("pip install 'numpy==")


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert doctor.folders().cure == "export XDG_CACHE_HOME=FOLDER"


def test_a_temporary_folder_without_programs_is_named(monkeypatch, tmp_path):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(doctor.subprocess, "run", refused)
    assert "noexec" in doctor.folders().cure


def test_a_history_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DGTL_HISTORY", str(tmp_path / "file" / "history"))
    assert doctor.history().cure == "export DGTL_HISTORY=FOLDER"


def test_fewer_cores_than_are_seen_are_said(monkeypatch):
    monkeypatch.setattr(doctor, "available_cores", lambda: 0)
    found = doctor.cores()
    assert "no more are granted" in found.state
    assert not found.cure
