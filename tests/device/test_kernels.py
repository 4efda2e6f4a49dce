"""Whatever a kernel does, each has its result."""

from __future__ import annotations

import os

import numpy as np
import pytest
from visit_folders import OPTIONS, by_id, expected, make, pack, results, run


def test_every_kernel_is_timed_as_often_as_asked(tmp_path, deeds):
    first = pack({"a": deeds("double"), "b": deeds("nap")})
    folder = make(tmp_path / "visit", first, pack({"c": deeds("nap")}))
    lines = run(folder)
    assert [line.split(":")[0] for line in lines] == ["pack 1/2", "pack 2/2", "all done"]
    assert "2 kernels, 0 failed, best" in lines[0]
    records = by_id(folder)
    assert all(r["status"] == "ok" and len(r["times_s"]) == 3 for r in records.values())
    assert 2e-3 < min(records["b"]["times_s"]) < 20e-3
    assert max(records["a"]["times_s"]) < 2e-3
    assert records["b"]["run_s"] > sum(records["b"]["times_s"])
    facts = results(folder)[0]
    assert facts["type"] == "device"
    assert facts["name"]
    assert facts["processors"] == len(os.sched_getaffinity(0))
    assert results(folder)[-1]["type"] == "done"
    assert {r["visit"] for r in results(folder)} == {"0123abcd"}
    before = results(folder)
    assert "all done" in run(folder)[0]
    assert results(folder) == before


def test_what_a_kernel_does_is_only_its_own_loss(tmp_path, deeds, scratch):
    order = ["double", "crash", "nap", "hang", "print", "refuse", "late", "sleep"]
    options = {**OPTIONS, "run_timeout_s": 0.5}
    folder = make(tmp_path / "visit", pack({d: deeds(d) for d in order}), options=options)
    lines = run(folder)
    assert "8 kernels, 4 failed, best" in lines[0]
    records = by_id(folder)
    assert list(records) == order
    status = {name: record["status"] for name, record in records.items()}
    bad = {"crash": "run_error", "hang": "run_timeout", "refuse": "run_error", "late": "run_error"}
    assert status == {**dict.fromkeys(order, "ok"), **bad}
    assert records["crash"]["error"] == "its process died: SIGSEGV"
    assert records["refuse"]["error"] == "last line"
    assert all((r["times_s"] == []) == (name in bad) for name, r in records.items())
    assert min(records["print"]["times_s"]) > 1e-4
    assert not list(scratch.iterdir())


def test_a_first_run_far_above_the_best_is_not_repeated(tmp_path, deeds):
    kernels = {"slow": deeds("sleep"), "fast": deeds("nap")}
    options = {**OPTIONS, "quick_factor": 5.0}
    folder = make(tmp_path / "visit", pack(kernels, best_s=2e-3), options=options)
    run(folder)
    records = by_id(folder)
    assert [records["slow"]["quick"], len(records["slow"]["times_s"])] == [True, 1]
    assert [records["fast"]["quick"], len(records["fast"]["times_s"])] == [False, 3]


def test_a_check_compares_the_elements_that_it_names(tmp_path, deeds):
    right = deeds("double")
    checks = {"right": expected(2), "wrong": expected(2.01), "nan": expected(2)}
    content = pack({"right": right, "wrong": right, "nan": deeds("nap")}, checks=checks)
    folder = make(tmp_path / "visit", content)
    assert "3 kernels, 2 failed, none timed" in run(folder)[0]
    records = by_id(folder)
    assert [r["type"] for r in records.values()] == ["check"] * 3
    assert records["right"]["status"] == "ok"
    assert records["right"]["relative_error"] < 1e-6
    assert records["wrong"]["status"] == records["nan"]["status"] == "wrong_result"
    index = checks["wrong"]["index"]
    values = np.random.default_rng(3).standard_normal([64], dtype=np.float32)
    error = 0.01 * np.abs(values[index]).max() / (2.01 * np.abs(values).max())
    assert records["wrong"]["relative_error"] == pytest.approx(error, rel=1e-3)
    assert records["nan"]["relative_error"] == np.inf
