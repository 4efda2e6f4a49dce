"""Summaries follow from tasks and trials alone, and survive JSON."""

import dataclasses
import json

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from dgtl.core.history import SourceTask
from dgtl.results.summary import SUMMARY_SCHEMA, Summary, summarise, summarise_task

TASK = toys.dense()
SPACE = toys.space_of(TASK)
FIELDS = [
    "schema",
    "workload",
    "model",
    "hardware",
    "seed",
    "search_s",
    "build_s",
    "run_s",
    "model_s",
    "pretrain_s",
    "trials",
    "failed_trials",
    "untuned_latency_ms",
    "latency_ms",
    "sum_of_tasks_ms",
    "source_tasks",
    "source_trials",
    "tasks",
]
TASK_FIELDS = [
    "name",
    "title",
    "kind",
    "weight",
    "flops",
    "space_size",
    "trials",
    "best_gflops",
    "best_latency_us",
    "best_key",
    "search_s",
]


def summary_of(*results, **changes) -> Summary:
    fields = {
        "workload": "toy",
        "model": "dgp",
        "hardware": toys.HARDWARE,
        "seed": 0,
        "pretrain_s": 1.5,
        "sources": [],
        "untuned_latency_ms": 30.0,
        "latency_ms": 10.0,
    }
    return summarise(results, **{**fields, **changes})


def failed(n: int = 3) -> SourceTask:
    return SourceTask(TASK, SPACE, tuple(toys.trial(TASK, f"{i}", None) for i in range(n)))


def test_fields_are_exactly_those_documented():
    record = summary_of(toys.tuned(TASK, SPACE, 20, seed=0)).to_json()
    assert list(record) == FIELDS
    assert list(record["tasks"][0]) == TASK_FIELDS


def test_best_is_the_fastest_trial():
    result = toys.tuned(TASK, SPACE, 50, seed=1)
    summary = summarise_task(TASK, SPACE, result.trials)
    fastest = min(result.trials, key=lambda trial: trial.latency_s)
    assert summary.best_key == fastest.config
    assert summary.best_latency_us == pytest.approx(fastest.latency_s * 1e6)
    assert summary.best_gflops == pytest.approx(TASK.flops / fastest.latency_s / 1e9)
    assert summary.trials == 50
    assert summary.space_size == SPACE.size


def test_task_whose_trials_all_failed_has_no_best_and_spells_it_null(tmp_path):
    summary = summary_of(failed())
    assert summary.tasks[0].best_gflops is None
    assert summary.tasks[0].best_key is None
    assert summary.sum_of_tasks_ms is None
    assert summary.network_over_tasks is None
    assert summary.failed_trials == 3
    summary.write(tmp_path / "summary.json")
    task = json.loads((tmp_path / "summary.json").read_text())["tasks"][0]
    assert task["best_gflops"] is None
    assert task["best_latency_us"] is None


def test_task_without_trials_has_no_best():
    summary = summary_of(SourceTask(TASK, SPACE, ()))
    assert summary.tasks[0].best_key is None
    assert summary.tasks[0].search_s == 0


def test_totals_are_sums_over_all_trials():
    other = dataclasses.replace(TASK, weight=3)
    a, b = toys.tuned(TASK, SPACE, 20, seed=0), toys.tuned(other, SPACE, 30, seed=1)
    summary = summary_of(a, b)
    trials = a.trials + b.trials
    assert summary.trials == 50
    assert summary.failed_trials == sum(not t.ok for t in trials) > 0
    for name in ("build_s", "run_s", "model_s", "search_s"):
        assert getattr(summary, name) == pytest.approx(sum(getattr(t, name) for t in trials))
    assert summary.search_s == pytest.approx(sum(task.search_s for task in summary.tasks))


def test_sum_of_tasks_weighs_each_task_by_how_often_it_runs():
    weighted = dataclasses.replace(TASK, weight=3)
    once = SourceTask(TASK, SPACE, (toys.trial(TASK, "a", 2e-3),))
    thrice = SourceTask(weighted, SPACE, (toys.trial(TASK, "b", 1e-3),))
    summary = summary_of(once, thrice, latency_ms=6.0)
    assert summary.sum_of_tasks_ms == pytest.approx(5.0)
    assert summary.network_over_tasks == pytest.approx(1.2)


def test_speedup_is_untuned_over_tuned_latency():
    assert summary_of().speedup == pytest.approx(3.0)
    assert summary_of(untuned_latency_ms=None).speedup is None
    assert summary_of(latency_ms=None).speedup is None


def test_sources_are_counted():
    source = toys.tuned(TASK, SPACE, 20, seed=0)
    summary = summary_of(sources=[source, source])
    assert (summary.source_tasks, summary.source_trials) == (2, 40)


@given(n=st.integers(0, 30), seed=st.integers(0, 99))
def test_json_round_trip(n, seed):
    summary = summary_of(toys.tuned(TASK, SPACE, n, seed), failed())
    assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary


def test_file_round_trip(tmp_path):
    summary = summary_of(toys.tuned(TASK, SPACE, 20, seed=0))
    summary.write(tmp_path / "summary.json")
    assert Summary.read(tmp_path / "summary.json") == summary


def test_newer_schema_is_refused():
    record = {**summary_of().to_json(), "schema": SUMMARY_SCHEMA + 1}
    with pytest.raises(ValueError, match="update dgtl"):
        Summary.from_json(record)
