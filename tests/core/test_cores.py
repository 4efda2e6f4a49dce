"""Cores are those that this process may run on, and no more than it is granted."""

from __future__ import annotations

import os

import pytest

from dgtl.core import cgroups
from dgtl.core.cores import available_cores


@pytest.mark.parametrize(
    ("quota", "wanted"), [(None, 4), (0.5, 1), (1.0, 1), (1.5, 1), (3.9, 3), (64.0, 4)]
)
def test_whole_cores_of_the_quota_count_and_at_least_one(monkeypatch, quota, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(cgroups, "quota_cores", lambda: quota)
    assert available_cores() == wanted
