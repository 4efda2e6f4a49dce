"""The fastest of a search timed again: who is, at what cost, and that the new timings decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig

from dgtl.core.history import History, SourceTask, TrialLog
from dgtl.core.records import AGAIN, Status, Trial, best_trial
from dgtl.run.finalists import NEAR, ROUNDS, SEARCHED, finalists, timed_again

TASK = toys.dense(64, 64, 64)
SPACE = toys.space_of(TASK)
KEYS = SPACE.keys(SPACE.sample_distinct(np.random.default_rng(0), 64))


def searched(latencies_ms) -> SourceTask:
    """A task whose trials had these latencies, None for a failure."""
    trials = tuple(
        toys.trial(TASK, key, ms and ms / 1e3) for key, ms in zip(KEYS, latencies_ms, strict=False)
    )
    return SourceTask(TASK, SPACE, trials)


class Machine:
    """Measures what it is told that configurations take, and counts."""

    def __init__(self, truth_ms: dict[str, float | None]):
        self.truth_ms, self.asked = truth_ms, []

    def measure(self, task, configs, *, best_s, on_trial=None) -> list[Trial]:
        self.asked.append(list(configs))
        return [toys.trial(task, key, (ms := self.truth_ms[key]) and ms / 1e3) for key in configs]

    def close(self) -> None: ...


def again(result: SourceTask, machine: Machine, most: int = 6, earlier: History | None = None):
    kept: list[Trial] = []

    def keep(task, trial: Trial) -> Trial:
        kept.append(trial)
        return trial

    (found,), said = timed_again([result], machine, keep, most, earlier or History())
    return found, said, kept


def test_the_one_that_was_lucky_does_not_win():
    result = searched([1.0, 1.02, 1.05, *[2.0] * 61])
    machine = Machine(dict(zip(KEYS, [1.3, 1.05, 1.1, *[2.0] * 61], strict=True)))
    found, said, kept = again(result, machine)
    best = best_trial(found.trials)
    assert (best.config, best.stage) == (KEYS[1], AGAIN)
    assert math.isclose(best.latency_s, 1.05e-3)
    assert machine.asked == [KEYS[:3]] * ROUNDS
    assert list(found.trials) == [*result.trials, *kept]
    assert "of which 1 run another one" in said
    assert "19.2% of the layers' time less" in said


def test_the_cost_of_all_rounds_is_kept_once():
    result = searched([1.0, 1.02, *[2.0] * 62])
    _, _, kept = again(result, Machine(dict.fromkeys(KEYS, 1.0)))
    one = toys.trial(TASK, KEYS[0], 1e-3)
    assert [trial.config for trial in kept] == KEYS[:2]
    assert all(len(trial.run_times_s) == ROUNDS * len(one.run_times_s) for trial in kept)
    assert math.isclose(kept[0].wall_s, ROUNDS * one.wall_s)


def test_what_fails_when_it_is_timed_again_is_not_chosen():
    result = searched([1.0, 1.02, *[2.0] * 62])
    machine = Machine({**dict.fromkeys(KEYS, 1.5), KEYS[0]: None})
    found, _, kept = again(result, machine)
    assert not kept[0].ok
    assert best_trial(found.trials).config == KEYS[1]


def test_an_interrupted_run_does_not_time_them_once_more():
    result = searched([1.0, 1.02, *[2.0] * 62])
    found, _, _ = again(result, Machine(dict.fromkeys(KEYS, 1.0)))
    silent = Machine({})
    second, _, kept = again(result, silent, earlier=History.of([found]))
    assert (silent.asked, kept) == ([], [])
    assert second == found
    # What is in the log counts, whatever the settings are now.
    assert again(result, silent, most=0, earlier=History.of([found]))[0] == found


@given(
    st.lists(st.none() | st.floats(0.5, 4.0), min_size=1, max_size=64),
    st.integers(0, 8),
)
def test_finalists_are_few_and_near_and_fastest_first(latencies_ms, most):
    result = searched(latencies_ms)
    chosen = finalists(result.trials, most)
    ran = {trial.config: trial.latency_s for trial in result.trials if trial.ok}
    assert len(chosen) <= min(most, len(ran) // SEARCHED)
    assert len(chosen) != 1
    times_s = [ran[config] for config in chosen]
    assert times_s == sorted(ran.values())[: len(chosen)]
    assert all(time_s <= NEAR * min(ran.values()) for time_s in times_s)


def test_where_there_is_nothing_to_decide_nothing_is_timed():
    machine = Machine({})
    for result in (searched([1.0, *[2.0] * 63]), searched([1.0] * (2 * SEARCHED - 1))):
        found, said, _ = again(result, machine)
        assert (found, said, machine.asked) == (result, "", [])
    assert again(searched([1.0] * 64), machine, most=0)[1] == ""


@pytest.mark.slow  # TVM is imported.
def test_a_search_that_shares_measurements_is_told_the_first_timing(tmp_path):
    from dgtl.run.job import shared

    found, _, kept = again(searched([1.0, 1.02, *[2.0] * 62]), Machine(dict.fromkeys(KEYS, 3.0)))
    with TrialLog(tmp_path / "trials.jsonl") as log:
        log.task(found.task, found.space)
        for trial in found.trials:
            log.trial(trial)
    measurer = shared(DictConfig({"share": str(tmp_path)}), Machine({}))
    told = measurer.measure(TASK, [trial.config for trial in kept], best_s=math.inf)
    assert told == list(found.trials[:2])


def test_of_those_timed_again_the_fastest_is_the_best():
    trials = [
        toys.trial(TASK, KEYS[0], 1e-3),
        toys.trial(TASK, KEYS[1], 2e-3).replace(stage=AGAIN),
        toys.trial(TASK, KEYS[2], 3e-3).replace(stage=AGAIN),
    ]
    assert best_trial(trials) is trials[1]
    assert best_trial([trials[0], trials[1].replace(status=Status.RUN_ERROR)]) is trials[0]
