"""Cores and memory that control groups grant, as a container of either version shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgtl.core.cgroups import memory_bytes, quota_cores

NOWHERE = Path("/nonexistent")


def limit(folder: Path, version: int, quota: object, period: int = 100_000) -> None:
    """Sets the quota of a group, as the kernel shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (folder / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@given(quota=st.integers(1000, 10**7), period=st.integers(1000, 10**6))
def test_the_quota_is_read_in_both_versions(tmp_path_factory, quota, period):
    second, first = tmp_path_factory.mktemp("v2"), tmp_path_factory.mktemp("v1")
    limit(second, 2, quota, period)
    limit(first / "cpu", 1, quota, period)
    for root in (first, second):
        assert quota_cores(root, NOWHERE) == pytest.approx(quota / period)


@pytest.mark.parametrize("content", ["max 100000\n", "", "odd", "100000 0\n"])
def test_no_quota_is_no_limit(tmp_path, content):
    (tmp_path / "cpu.max").write_text(content)
    assert quota_cores(tmp_path, NOWHERE) is None


def test_no_quota_in_version_one_is_no_limit(tmp_path):
    limit(tmp_path / "cpu", 1, -1)
    assert quota_cores(tmp_path, NOWHERE) is None


def test_the_narrowest_group_above_this_process_counts(tmp_path):
    """As under systemd, where the quota is that of a slice, and nothing is said at the root."""
    groups = tmp_path / "groups"
    groups.write_text("0::/user.slice/job.slice/run.scope\n")
    limit(tmp_path / "user.slice", 2, 400_000)
    limit(tmp_path / "user.slice" / "job.slice", 2, 150_000)
    limit(tmp_path / "user.slice" / "job.slice" / "run.scope", 2, "max")
    limit(tmp_path / "other.slice", 2, 1000)
    assert quota_cores(tmp_path, groups) == 1.5


def test_a_group_of_version_one_is_found_under_both_its_names(tmp_path):
    groups = tmp_path / "groups"
    groups.write_text("5:memory:/a\n4:cpu,cpuacct:/docker/0123\n0::/\n")
    limit(tmp_path / "cpu,cpuacct" / "docker" / "0123", 1, 200_000)
    assert quota_cores(tmp_path, groups) == 2.0


@pytest.mark.parametrize("place", ["memory.max", "memory/memory.limit_in_bytes"])
def test_memory_is_read_in_both_versions(tmp_path, place):
    assert memory_bytes(tmp_path, NOWHERE) is None
    limit = tmp_path / place
    limit.parent.mkdir(exist_ok=True)
    limit.write_text("max\n")
    assert memory_bytes(tmp_path, NOWHERE) is None
    limit.write_text("1000000\n")
    assert memory_bytes(tmp_path, NOWHERE) == 1_000_000


def test_memory_is_that_of_the_narrowest_group_above_this_process(tmp_path):
    groups = tmp_path / "groups"
    groups.write_text("0::/job.slice/run.scope\n")
    (tmp_path / "job.slice" / "run.scope").mkdir(parents=True)
    (tmp_path / "memory.max").write_text("9000000\n")
    (tmp_path / "job.slice" / "memory.max").write_text("5000000\n")
    (tmp_path / "job.slice" / "run.scope" / "memory.max").write_text("max\n")
    assert memory_bytes(tmp_path, groups) == 5_000_000
