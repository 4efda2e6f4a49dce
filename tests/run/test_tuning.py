"""The tuning of all layers in limited time: fair shares, nothing lost to an interruption."""

from __future__ import annotations

import contextlib
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import toys
from rich.console import Console

from dgtl.core.history import History, SourceTask, TrialLog
from dgtl.core.records import CHECK, KNOWN, best_trial
from dgtl.features.problem import Problem
from dgtl.measure.replay import ReplayMeasurer
from dgtl.methods.loop import Budget
from dgtl.methods.schedulers import SCHEDULERS
from dgtl.report.progress import Progress
from dgtl.run.tuning import Tuning, choose, verified

SMALL, LARGE = toys.dense(rows=2, columns=4, depth=2), toys.dense(rows=2, columns=8, depth=4)
PROBLEMS = [Problem(task, toys.space_of(task)) for task in (SMALL, LARGE)]
TABLE = [trial for problem in PROBLEMS for trial in toys.recorded(problem.task, problem.space)]


class Machine(ReplayMeasurer):
    """Answers from a table; each batch takes some seconds, and one is interrupted."""

    def __init__(self, batch_s: float, interrupted: int | None = None):
        super().__init__({(t.task, t.config): t for t in TABLE})
        self.batch_s, self.left = batch_s, interrupted
        self.batches: list[tuple[str, tuple[str, ...]]] = []

    def measure(self, task, configs, *, best_s, on_trial=None):
        if self.left is not None and len(self.batches) == self.left:
            raise KeyboardInterrupt
        if configs:
            self.batches.append((task.key, tuple(configs)))
        wall_s = self.batch_s / max(len(configs), 1)
        trials = [t.replace(wall_s=wall_s) for t in super().measure(task, configs, best_s=best_s)]
        for trial in trials:
            on_trial(trial)
        return trials


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


class Choosing:
    """Tunes at random; of a task it chooses what it is given for it, best first."""

    def __init__(self, *of_tasks):
        self.of_tasks = of_tasks

    def tuner(self, problem, seed):
        return AtRandom(problem)

    def choices(self, problem, seed, n):
        if not self.of_tasks:
            raise ValueError("nothing to learn from")
        return self.of_tasks[PROBLEMS.index(problem)]


@contextlib.contextmanager
def tuning(folder, machine, seconds, *, trials=64, method=None, known=None, **context):
    """A tuning, and where it prints."""
    context = SimpleNamespace(
        method=method or Choosing(),
        budget=Budget(trials, 8, seconds),
        earlier=context.get("earlier") or History(),
        scheduler=SCHEDULERS[context.get("scheduler", "even")],
        tracker=SimpleNamespace(trial=lambda *_: None),
    )
    out = io.StringIO()
    with (
        Progress(Console(file=out, width=200)) as progress,
        TrialLog(folder / "trials.jsonl") as log,
    ):
        yield Tuning(context, log, "p", progress, machine, known or {}), out


TARGETS = list(enumerate(PROBLEMS, 1))


def tuned(folder, machine, seconds, **given):
    """Results of a tuning, and what it printed."""
    with tuning(folder, machine, seconds, **given) as (search, out):
        results = search.all(TARGETS, seed=0)
    return results, out.getvalue()


def test_time_is_shared_and_ends_after_a_full_batch(tmp_path):
    machine = Machine(batch_s=4.0)
    results, _ = tuned(tmp_path, machine, 30.0)
    by_task = [key for key, _ in machine.batches]
    assert by_task == [LARGE.key] * 4 + [SMALL.key] * 4  # 15 s, then the 14 s that are left
    assert [len(result.trials) for result in results] == [32, 32]
    assert [result.task for result in results] == [SMALL, LARGE]  # as in the network


@pytest.mark.parametrize(
    ("method", "keys", "how"),
    [
        (Choosing("ab", "cd"), ["b", None], "by what the model chose, unmeasured"),
        (Choosing("a", "cd"), [None, None], "by the default schedule"),  # wrong
        (Choosing(), [None, None], "by the default schedule"),  # nothing to learn from
        (SimpleNamespace(tuner=Choosing().tuner), [None, None], "by the default schedule"),
    ],
)
def test_too_little_time_goes_to_the_costliest_layer_and_the_model_chooses_for_the_others(
    tmp_path, method, keys, how
):
    with tuning(tmp_path, Machine(batch_s=4.0), 2.0, method=method) as (search, out):
        results = search.all(TARGETS, seed=0)
        chosen = search.choices(TARGETS, results, Wrong("a"), seed=0)
    assert [len(result.trials) for result in results] == [0, 8]
    assert chosen == keys
    said = f"no time was left for 1 of the layers, which run {how}: dense 2->4 batch 2"
    assert f"{said} (budget.seconds=2)" in out.getvalue()


def test_trials_that_do_not_suffice_for_all_layers_are_said(tmp_path):
    with tuning(tmp_path, Machine(1.0), None, trials=4, scheduler="gradient") as (search, out):
        results = search.all(TARGETS, seed=0)
        search.choices(TARGETS, results, Wrong(), seed=0)
    assert [len(result.trials) for result in results] == [0, 8]
    assert "no trial was left for 1 of the layers" in out.getvalue()


def test_a_choice_that_nothing_can_make_is_an_error_where_nothing_is_tried(tmp_path):
    with tuning(tmp_path, Machine(1.0), None, trials=0) as (search, out):
        results = search.all(TARGETS, seed=0)
        with pytest.raises(ValueError, match="nothing to learn from"):
            search.choices(TARGETS, results, Wrong(), seed=0)
    with tuning(tmp_path, Machine(1.0), None, trials=0, method=Choosing("a", "b")) as (search, out):
        assert search.choices(TARGETS, results, Wrong(), seed=0) == ["a", "b"]
    assert "layers" not in out.getvalue()  # as asked


def test_an_interruption_of_limited_time_keeps_what_is_found(tmp_path):
    machine = Machine(batch_s=4.0, interrupted=2)
    results, out = tuned(tmp_path, machine, 1000.0)
    assert [len(result.trials) for result in results] == [0, 16]
    assert "stopped: what is found so far is deployed" in out
    (logged,) = History.read(tmp_path / "trials.jsonl")
    assert len(logged.trials) == 16


def test_an_interruption_of_a_run_that_goes_on_keeps_what_was_found_before(tmp_path):
    tuned(tmp_path, Machine(4.0), None, trials=16)
    earlier = History.read(tmp_path / "trials.jsonl")
    (tmp_path / "again").mkdir()
    machine = Machine(4.0, interrupted=0)
    results, out = tuned(tmp_path / "again", machine, 1000.0, earlier=earlier, trials=32)
    assert "stopped: what is found so far is deployed" in out
    assert [len(result.trials) for result in results] == [16, 16]


def test_interleaved_steps_are_told_as_one_search(tmp_path):
    results, out = tuned(tmp_path, Machine(4.0), None, trials=16, scheduler="gradient")
    assert sum(len(result.trials) for result in results) == 32
    first, last = out.splitlines()
    assert first.startswith("0 trials of at most 32, 0 of 2 layers tried, now dense 4->8 batch 2")
    assert last.startswith("32 trials of at most 32, ")


@pytest.mark.parametrize(("seconds", "interrupted"), [(1000.0, 0), (None, 2)])
def test_an_interruption_ends_a_run_that_has_nothing_or_unlimited_time(
    tmp_path, seconds, interrupted
):
    machine = Machine(batch_s=4.0, interrupted=interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path, machine, seconds)


def test_what_is_known_is_in_the_result_and_not_measured_again(tmp_path):
    known = {LARGE.key: tuple(t for t in TABLE if t.task == LARGE.key)[:20]}
    machine = Machine(batch_s=4.0)
    results, _ = tuned(tmp_path, machine, None, known=known, trials=16)
    measured = {
        config for key, configs in machine.batches if key == LARGE.key for config in configs
    }
    assert not measured & {trial.config for trial in known[LARGE.key]}
    assert len(results[1].trials) == 36
    before = [trial for trial in results[1].trials if trial.stage == KNOWN]
    assert len(before) == 20
    assert all(trial.search_s == 0.0 for trial in before)


def test_a_run_that_goes_on_knows_what_it_knew(tmp_path):
    known = {LARGE.key: tuple(t for t in TABLE if t.task == LARGE.key)[:20]}
    machine = Machine(batch_s=4.0)
    first, _ = tuned(tmp_path, machine, None, known=known, trials=16)
    earlier = History.read(tmp_path / "trials.jsonl")
    machine = Machine(batch_s=4.0)
    more = {LARGE.key: tuple(t for t in TABLE if t.task == LARGE.key)[:40]}
    again, _ = tuned(tmp_path, machine, None, known=more, earlier=earlier, trials=16)
    assert machine.batches == []
    assert [[t.config for t in r.trials] for r in again] == [
        [t.config for t in r.trials] for r in first
    ]


class Wrong:
    """Says of some configurations that they compute something else."""

    def __init__(self, *wrong: str):
        self.wrong = wrong
        self.asked: list[list[str]] = []

    def check(self, configs):
        self.asked.append([key for _, key in configs])
        return [toys.trial(task, key, None) if key in self.wrong else None for task, key in configs]


def test_the_first_choice_that_computes_right_is_taken_and_those_of_all_tasks_checked_together(
    tmp_path,
):
    machine = Wrong("a", "b", "d")
    with TrialLog(tmp_path / "trials.jsonl") as log:
        chosen = choose({0: ["a", "c", "e"], 1: ["d", "b"], 2: []}, [SMALL] * 3, machine, log)
    assert chosen == {0: "c"}
    assert machine.asked == [["a", "d"], ["c", "b"]]
    kept = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["config"]) for line in kept] == [(CHECK, k) for k in "adb"]


def test_the_best_of_all_are_checked_together_and_the_next_of_those_that_are_wrong(tmp_path):
    results = [
        SourceTask(
            problem.task, problem.space, tuple(t for t in TABLE if t.task == problem.task.key)
        )
        for problem in PROBLEMS
    ]
    ranked = [
        [t.config for t in sorted((t for t in r.trials if t.ok), key=lambda t: t.latency_s)]
        for r in results
    ]
    machine = Wrong(*ranked[1][:2])
    with TrialLog(tmp_path / "trials.jsonl") as log:
        right = verified(results, machine, log)
        nothing_ran = verified([SourceTask(SMALL, PROBLEMS[0].space, ())], machine, log)
    assert machine.asked == [[ranked[0][0], ranked[1][0]], [ranked[1][1]], [ranked[1][2]]]
    assert [best_trial(r.trials).config for r in right] == [ranked[0][0], ranked[1][2]]
    assert right[0] == results[0]
    assert nothing_ran[0].trials == ()
    kept = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["config"]) for line in kept] == [
        (CHECK, key) for key in ranked[1][:2]
    ]
