"""The schedule of transfer, whatever its model is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import toys

from dgtl.core.records import Status
from dgtl.features.problem import Problem
from dgtl.measure.replay import ReplayMeasurer
from dgtl.methods.loop import Budget, tune
from dgtl.methods.transfer import Observations, Transfer

TASK = toys.dense(rows=1, columns=2, depth=2)
SPACE = toys.space_of(TASK)
PROBLEM = Problem(TASK, SPACE)
TRIALS = toys.recorded(TASK, SPACE)


class LastColumns:
    """An estimator that ranks by something, whatever it is told."""

    def predict_mean(self, features):
        return np.asarray(features, dtype=np.float64)[:, -4:].sum(axis=1)


@dataclasses.dataclass
class InSubbatches(Transfer):
    """Runs four at a time and remembers its observations."""

    name = "in_subbatches"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.source = LastColumns()
        self.observed: list[Observations] = []

    def fit_source(self, sources, cache, seed):
        return self.source

    def adapt(self, features, gflops, seed):
        return self.source

    def subbatch_size(self, n: int) -> int:
        return min(n, 4)

    def select_batch(self, model, features, n, observed, rng):
        self.observed.append(observed)
        return super().select_batch(model, features, n, observed, rng)


def searched(batch: int, trials=TRIALS, **changes) -> tuple[InSubbatches, list]:
    method = InSubbatches(
        **{"initial_set": 64, "tuning_set": 10, "final": 6, "rounds": 2} | changes
    )
    tuner = method.tuner(PROBLEM, np.random.SeedSequence(0))
    budget = Budget(method.planned_trials, batch)
    return method, tune(PROBLEM, tuner, ReplayMeasurer.of(trials), budget)


def test_each_choice_observes_what_ran_since_the_model_was_tuned() -> None:
    method, trials = searched(batch=64)
    stages = ["tuning_set"] * 10 + ["search_1"] * 6 + ["search_2"] * 6
    assert [trial.stage for trial in trials] == stages
    features = PROBLEM.features(SPACE.parse_all([trial.config for trial in trials]))
    ran = np.array([trial.ok for trial in trials])
    gflops = np.array([PROBLEM.gflops(trial) for trial in trials])
    parts = [(0, 0), (10, 10), (10, 14), (16, 16), (16, 20)]
    assert len(method.observed) == len(parts)
    assert not ran.all()
    for observed, (begin, end) in zip(method.observed, parts, strict=True):
        since = np.flatnonzero(ran[:end])
        assert observed.best_gflops == (gflops[since].max() if len(since) else None)
        since = since[since >= begin]
        np.testing.assert_array_equal(observed.gflops, gflops[since])
        np.testing.assert_array_equal(observed.features, features[since])


def test_failures_are_not_observed() -> None:
    broken = [trial.replace(status=Status.RUN_ERROR, run_times_s=()) for trial in TRIALS]
    method, trials = searched(batch=64, trials=broken)
    assert len(trials) == 22
    assert all(
        len(observed.gflops) == 0 and observed.best_gflops is None for observed in method.observed
    )


def test_the_measured_batch_does_not_change_what_is_run() -> None:
    whole, parts = (searched(batch)[1] for batch in (64, 3))
    assert [trial.config for trial in whole] == [trial.config for trial in parts]
    assert len({trial.config for trial in whole}) == len(whole)


@pytest.mark.parametrize("by", ["model", "random"])
@pytest.mark.parametrize("batch", [7, 64])
def test_a_space_smaller_than_the_plan_is_tried_as_a_whole(by: str, batch: int) -> None:
    _, trials = searched(batch, tuning_set=150, initial_set=200, tuning_set_by=by)
    assert {trial.stage for trial in trials} == {"tuning_set"}
    _, trials = searched(batch, tuning_set=64, final=SPACE.size, rounds=1, tuning_set_by=by)
    assert {trial.config for trial in trials} == {trial.config for trial in TRIALS}
    assert len(trials) == SPACE.size
