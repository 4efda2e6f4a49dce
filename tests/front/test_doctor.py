"""The doctor names what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(quota=st.integers(1000, 10**7), period=st.integers(1000, 10**6))
def test_the_quota_of_a_control_group_is_read_in_both_versions(tmp_path_factory, quota, period):
    second, first = tmp_path_factory.mktemp("v2"), tmp_path_factory.mktemp("v1")
    (second / "cpu.max").write_text(f"{quota} {period}\n")
    (first / "cpu").mkdir()
    (first / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (first / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")
    for root in (first, second):
        assert doctor.cgroup_cores(root) == pytest.approx(quota / period)


@pytest.mark.parametrize("content", ["max 100000\n", "", "odd"])
def test_no_quota_is_no_limit(tmp_path, content):
    (tmp_path / "cpu.max").write_text(content)
    assert doctor.cgroup_cores(tmp_path) is None


def test_fewer_cores_than_are_seen_is_a_note(monkeypatch):
    monkeypatch.setattr(doctor, "cgroup_cores", lambda: 0.5)
    found = doctor.cores()
    assert found.cure == "dgtl tune --cores 1"
    assert not found.needed
