"""What `model=dgp` adds to the schedule: which candidates run together, and what they rest on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import toys

from dgtl.features.dataset import source_data
from dgtl.methods.dgp import DGP
from dgtl.methods.transfer import Observations
from dgtl.models.stacked import TunedDGP
from dgtl.search.acquisition import CANDIDATES

N = 12
NOTHING = Observations(np.empty((0, 1), np.float32), np.empty(0), None)


class Known(TunedDGP):
    """Predicts what it is given; a candidate's only feature is its number."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        self.means, self.covariance = mean, covariance
        self.observed: list = []

    def predict_mean(self, features):
        return self.means[np.asarray(features)[:, 0].astype(int)]

    def averaged(self, trees, pooled_fraction):
        self.trees, self.fraction = trees, pooled_fraction
        return self

    def joint(self, features, observed=None):
        self.observed.append(observed)
        rows = np.asarray(features)[:, 0].astype(int)
        return self.means[rows], self.covariance[np.ix_(rows, rows)]


class Fails:
    """A validity that says which candidates hardly ever run."""

    def __init__(self, *rows: int) -> None:
        self.rows = rows

    def penalty(self, features):
        return np.where(np.isin(np.asarray(features)[:, 0], self.rows), -10.0, 0.0)


def numbered(n: int = N) -> np.ndarray:
    return np.arange(n, dtype=np.float32)[:, None]


def selected(method: DGP, model: Known, n: int, observed: Observations = NOTHING):
    return method.select_batch(model, numbered(), n, observed, np.random.default_rng(0))


def test_a_greedy_batch_is_the_top_predictions_in_their_order() -> None:
    mean = np.random.default_rng(1).permutation(N).astype(float)
    rows, log2 = selected(DGP(greedy_fraction=1.0), Known(mean, np.eye(N)), 5)
    assert rows.tolist() == np.argsort(-mean)[:5].tolist()
    np.testing.assert_array_equal(log2, mean[rows])


def test_half_of_a_batch_are_top_predictions_and_the_rest_what_may_be_better_still() -> None:
    """The last candidate is poor on average but may be anything."""
    mean = np.linspace(5.0, 4.0, N)
    mean[-1] = 3.0
    variance = np.full(N, 1e-4)
    variance[-1] = 9.0
    rows, _ = selected(DGP(greedy_fraction=0.5), Known(mean, np.diag(variance)), 4)
    assert rows[:2].tolist() == [0, 1]
    assert rows[2] == N - 1


def test_candidates_that_hardly_run_come_last() -> None:
    method = DGP(greedy_fraction=1.0)
    method.validity = Fails(0, 1)
    mean = np.linspace(5.0, 4.0, N)
    rows, _ = selected(method, Known(mean, np.eye(N)), N)
    assert set(rows[-2:].tolist()) == {0, 1}
    method = DGP(greedy_fraction=0.0)
    method.validity = Fails(0)
    assert selected(method, Known(mean, 1e-4 * np.eye(N)), 1)[0].tolist() == [1]


def test_the_joint_prediction_is_conditioned_on_what_was_observed() -> None:
    model = Known(np.zeros(N), np.eye(N))
    observed = Observations(numbered(3), np.array([1.0, 2.0, 3.0]), 3.0)
    selected(DGP(), model, 2, observed)
    ((features, gflops),) = model.observed
    np.testing.assert_array_equal(features, observed.features)
    np.testing.assert_array_equal(gflops, observed.gflops)


def test_the_incumbent_moves_the_choice_to_what_may_beat_it() -> None:
    """A sure 1 against a gamble around 0, once 2^3 has been found."""
    variance = np.full(N, 1e-6)
    variance[-1] = 4.0
    mean = np.full(N, -9.0)
    mean[0], mean[-1] = 1.0, 0.0
    method, model = DGP(greedy_fraction=0.0), Known(mean, np.diag(variance))
    found = Observations(numbered(0), np.empty(0), 8.0)
    assert selected(method, model, 1, found)[0].tolist() == [N - 1]


def test_no_spread_leaves_the_order_of_the_means() -> None:
    mean = np.linspace(1.0, 0.0, N)
    rows, _ = selected(DGP(greedy_fraction=0.0, covariance_scale=0.0), Known(mean, np.eye(N)), 1)
    assert rows.tolist() == [0]


def test_more_candidates_are_seen_than_run_and_a_few_run_at_a_time_once_there_is_a_source() -> None:
    method = DGP(update_every=8)
    assert (method.shortlist_size(5), method.subbatch_size(20)) == (5, 20)
    method.source = Known(np.zeros(1), np.eye(1))
    assert (method.shortlist_size(5), method.subbatch_size(20)) == (CANDIDATES, 8)
    assert DGP(update_every=0).subbatch_size(20) == 20


@pytest.mark.parametrize(
    "bad",
    [
        {"greedy_fraction": 1.5},
        {"pooled_target_weight": -1.0},
        {"pooled_fraction": 2.0},
        {"covariance_scale": 2.0},
        {"update_every": -1},
    ],
)
def test_bad_options_are_refused_by_name(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"dgp: {next(iter(bad))}"):
        DGP(**bad)


def test_what_is_learned_further_is_in_the_trees_that_choose_the_tuning_set() -> None:
    """A machine that is four times as fast as that of the sources."""
    old = [toys.tuned(toys.dense(), toys.space_of(toys.dense()), 80, 0)]
    task = toys.conv2d()
    slow = toys.tuned(task, toys.space_of(task), 80, 1)
    fast = dataclasses.replace(
        slow,
        trials=tuple(
            t.replace(run_times_s=tuple(s / 4.0 for s in t.run_times_s)) for t in slow.trials
        ),
    )
    features, gflops, _ = source_data([fast])
    method = DGP()
    method.source = model = Known(np.zeros(1), np.eye(1))
    method._source_trials = source_data(old)[:2]
    method.learn_further([fast])
    error = model.trees.predict_mean(features) - np.log2(gflops)
    assert np.abs(error).mean() < 0.5
    assert model.fraction == method.pooled_fraction
    assert len(method._source_trials[1]) == len(old[0].ok_trials) + len(fast.ok_trials)


@pytest.mark.parametrize("method", [DGP(), DGP(pooled_target_weight=0.0)])
def test_without_a_source_or_trees_nothing_is_learned_further(method: DGP) -> None:
    if method.pooled_target_weight == 0.0:
        method.source = Known(np.zeros(1), np.eye(1))
    before = method.source
    method.learn_further([toys.tuned(toys.dense(), toys.space_of(toys.dense()), 20, 0)])
    assert method.source is before
    assert len(method._source_trials[1]) == 0
