"""The tuning of all layers in limited time: fair shares, nothing lost to an interruption."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dgtl.core.history import History, TrialLog
from dgtl.core.records import KNOWN
from dgtl.features.problem import Problem
from dgtl.measure.replay import ReplayMeasurer
from dgtl.methods.loop import Budget
from dgtl.report.progress import Progress
from dgtl.run.tuning import Clock, Tuning

SMALL, LARGE = toys.dense(rows=2, columns=4, depth=2), toys.dense(rows=2, columns=8, depth=4)
PROBLEMS = [Problem(task, toys.space_of(task)) for task in (SMALL, LARGE)]
TABLE = [trial for problem in PROBLEMS for trial in toys.recorded(problem.task, problem.space)]


class Time:
    """A clock that moves when something is measured."""

    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


class Machine(ReplayMeasurer):
    """Answers from a table; each batch takes some seconds, and one is interrupted."""

    def __init__(self, time: Time, batch_s: float, interrupted: int | None = None):
        super().__init__({(t.task, t.config): t for t in TABLE})
        self.time, self.batch_s, self.left = time, batch_s, interrupted
        self.batches: list[tuple[str, tuple[str, ...]]] = []

    def measure(self, task, configs, *, best_s, on_trial=None):
        if self.left is not None and len(self.batches) == self.left:
            raise KeyboardInterrupt
        self.batches.append((task.key, tuple(configs)))
        self.time.now_s += self.batch_s
        return super().measure(task, configs, best_s=best_s, on_trial=on_trial)


class AtRandom:
    """A tuner that knows what it was told."""

    stage = "random"

    def __init__(self, problem: Problem):
        self.space = problem.space
        self.tried: set[str] = set()
        self.rng = np.random.default_rng(0)

    def know(self, trials):
        self.tell(trials)

    def ask(self, n):
        drawn = self.space.sample_distinct(self.rng, n + len(self.tried))
        new = [c for c in drawn if self.space.key(c) not in self.tried][:n]
        return np.array(new, dtype=np.int32).reshape(-1, len(self.space.knobs))

    def tell(self, trials):
        self.tried |= {trial.config for trial in trials}


def tuned(tmp_path, monkeypatch, machine, seconds, *, known=None, earlier=None, trials=64):
    """Results of a tuning, and what it printed."""
    monkeypatch.setattr("dgtl.run.tuning.Clock.__init__", _with_clock(machine.time))
    context = SimpleNamespace(
        method=SimpleNamespace(tuner=lambda problem, seed: AtRandom(problem)),
        budget=Budget(trials, 8, seconds),
        earlier=earlier or History(),
        tracker=SimpleNamespace(trial=lambda *_: None),
    )
    out = io.StringIO()
    progress = Progress(Console(file=out, width=200), machine.time)
    with TrialLog(tmp_path / "trials.jsonl") as log:
        tuning = Tuning(context, log, "p", progress, machine, known or {})
        results = tuning.all(list(enumerate(PROBLEMS, 1)), seed=0)
    return results, out.getvalue()


def _with_clock(now):
    init = Clock.__init__

    def with_clock(self, seconds, _=None):
        init(self, seconds, now)

    return with_clock


@given(
    seconds=st.floats(1.0, 1e4),
    took=st.lists(st.floats(0.0, 100.0), min_size=1, max_size=20),
)
def test_shares_are_equal_parts_of_what_is_left_and_never_more(seconds, took):
    time = Time()
    clock = Clock(seconds, time)
    end = time.now_s + seconds
    for i, task_s in enumerate(took):
        left = max(end - time.now_s, 0.0)
        share = clock.share(len(took) - i)
        assert share == pytest.approx(left / (len(took) - i))
        assert clock.over() == (share == 0.0)
        time.now_s += min(task_s, share)
        assert time.now_s <= end * (1 + 1e-9)


def test_without_a_limit_nothing_is_over():
    clock = Clock(None)
    assert clock.share(3) is None
    assert not clock.over()
    assert not clock.limited


def test_time_is_shared_and_ends_after_a_full_batch(tmp_path, monkeypatch):
    machine = Machine(Time(), batch_s=4.0)
    results, _ = tuned(tmp_path, monkeypatch, machine, 30.0)
    by_task = [key for key, _ in machine.batches]
    assert by_task == [LARGE.key] * 4 + [SMALL.key] * 4  # 15 s, then the 14 s that are left
    assert [len(result.trials) for result in results] == [32, 32]
    assert [result.task for result in results] == [SMALL, LARGE]  # as in the network


def test_too_little_time_is_said_and_the_costliest_layer_is_tuned(tmp_path, monkeypatch):
    machine = Machine(Time(), batch_s=4.0)
    results, out = tuned(tmp_path, monkeypatch, machine, 2.0)
    assert [len(result.trials) for result in results] == [0, 8]
    assert "no time was left for a batch of 1 of the layers" in out
    assert "(budget.seconds=2)" in out


def test_an_interruption_of_limited_time_keeps_what_is_found(tmp_path, monkeypatch):
    machine = Machine(Time(), batch_s=4.0, interrupted=2)
    results, out = tuned(tmp_path, monkeypatch, machine, 1000.0)
    assert [len(result.trials) for result in results] == [0, 16]
    assert "stopped: what is found so far is deployed" in out
    (logged,) = History.read(tmp_path / "trials.jsonl")
    assert len(logged.trials) == 16


@pytest.mark.parametrize(("seconds", "interrupted"), [(1000.0, 0), (None, 2)])
def test_an_interruption_ends_a_run_that_has_nothing_or_unlimited_time(
    tmp_path, monkeypatch, seconds, interrupted
):
    machine = Machine(Time(), batch_s=4.0, interrupted=interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path, monkeypatch, machine, seconds)


def test_what_is_known_is_in_the_result_and_not_measured_again(tmp_path, monkeypatch):
    known = {LARGE.key: tuple(t for t in TABLE if t.task == LARGE.key)[:20]}
    machine = Machine(Time(), batch_s=4.0)
    results, _ = tuned(tmp_path, monkeypatch, machine, None, known=known, trials=16)
    measured = {
        config for key, configs in machine.batches if key == LARGE.key for config in configs
    }
    assert not measured & {trial.config for trial in known[LARGE.key]}
    assert len(results[1].trials) == 36
    before = [trial for trial in results[1].trials if trial.stage == KNOWN]
    assert len(before) == 20
    assert all(trial.search_s == 0.0 for trial in before)


def test_a_run_that_goes_on_knows_what_it_knew(tmp_path, monkeypatch):
    known = {LARGE.key: tuple(t for t in TABLE if t.task == LARGE.key)[:20]}
    machine = Machine(Time(), batch_s=4.0)
    first, _ = tuned(tmp_path, monkeypatch, machine, None, known=known, trials=16)
    earlier = History.read(tmp_path / "trials.jsonl")
    machine = Machine(Time(), batch_s=4.0)
    more = {LARGE.key: tuple(t for t in TABLE if t.task == LARGE.key)[:40]}
    again, _ = tuned(tmp_path, monkeypatch, machine, None, known=more, earlier=earlier, trials=16)
    assert machine.batches == []
    assert [[t.config for t in r.trials] for r in again] == [
        [t.config for t in r.trials] for r in first
    ]
