"""Curves and scores mean what they say: random search scores 0, an oracle 1, intervals cover."""

import itertools
import math

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from dgtl.core.records import throughput
from dgtl.results import metrics

TABLE = np.concatenate([np.zeros(20), np.random.default_rng(1).lognormal(3, 1, size=60)])
"""Eighty rows, a quarter of them failures."""


def searches(n_runs: int, n_trials: int, seed: int) -> np.ndarray:
    """Best-so-far curves [n_runs, n_trials] of random search without repeats."""
    rng = np.random.default_rng(seed)
    return np.array([metrics.best_so_far(rng.permutation(TABLE)[:n_trials]) for _ in range(n_runs)])


@given(st.lists(st.floats(0, 100), min_size=1, max_size=7), st.integers(1, 9))
def test_random_curve_is_the_mean_over_all_draws(values, n):
    curve = metrics.random_search_curve(values, n)
    for drawn in range(1, n + 1):
        draws = itertools.combinations(values, min(drawn, len(values)))
        expected = np.mean([max(draw) for draw in draws])
        assert curve[drawn - 1] == pytest.approx(expected)


def test_random_curve_is_what_random_search_does():
    curves = searches(4000, 40, seed=0)
    standard_error = curves.std(axis=0) / math.sqrt(len(curves))
    curve = metrics.random_search_curve(TABLE, 40)
    assert (abs(curves.mean(axis=0) - curve) < 4 * standard_error).all()


def test_random_curve_of_a_large_table_is_finite_and_rises():
    values = np.random.default_rng(0).random(50_000)
    curve = metrics.random_search_curve(values, 300)
    assert np.isfinite(curve).all()
    assert (np.diff(curve) >= 0).all()
    # The best of n uniform numbers is n / (n + 1) on average.
    assert curve[99] == pytest.approx(100 / 101, abs=2e-3)


def test_random_search_scores_zero_and_an_oracle_one():
    baseline = metrics.random_search_curve(TABLE, 60)
    n = metrics.score_length(TABLE, baseline)
    scores = [
        metrics.performance_score(curve[:n], baseline[:n], TABLE.max())
        for curve in searches(3000, n, seed=2)
    ]
    assert np.mean(scores) == pytest.approx(0, abs=4 * np.std(scores) / math.sqrt(len(scores)))
    oracle = np.full(n, TABLE.max())
    assert metrics.performance_score(oracle, baseline[:n], TABLE.max()) == pytest.approx(1)


def test_a_worse_search_than_random_scores_below_zero():
    baseline = metrics.random_search_curve(TABLE, 30)
    assert metrics.performance_score(np.zeros(30), baseline, TABLE.max()) < 0


def test_points_where_random_search_is_done_say_nothing():
    baseline = metrics.random_search_curve([1.0, 2.0], 5)
    assert metrics.performance_score(np.full(5, 2.0), baseline, 2.0) == pytest.approx(1)
    assert metrics.performance_score(np.full(3, 2.0), np.full(3, 2.0), 2.0) == 0


def test_score_ends_where_random_search_is_as_good_as_done():
    baseline = metrics.random_search_curve(TABLE, 80)
    n = metrics.score_length(TABLE, baseline)
    ok = TABLE[TABLE > 0]
    goal = np.median(ok) + metrics.CUTOFF * (ok.max() - np.median(ok))
    assert baseline[n - 1] >= goal > baseline[n - 2]
    assert metrics.score_length(TABLE, baseline[:5]) == 5


def test_curve_holds_its_last_value_and_begins_at_nothing():
    curve = np.array([0.0, 3.0, 5.0])
    assert metrics.after_trials(curve, [0, 1, 2, 3, 100]).tolist() == [0, 0, 3, 5, 5]


def test_a_trial_counts_from_its_end_on():
    curve, ends_s = np.array([1.0, 2.0]), np.array([10.0, 30.0])
    got = metrics.after_seconds(curve, ends_s, [0.0, 9.9, 10.0, 29.0, 30.0, 99.0])
    assert got.tolist() == [0, 0, 1, 1, 2, 2]


def test_random_search_in_time_is_that_in_trials_where_all_cost_the_same():
    counts = np.arange(1, 41)
    rng = np.random.default_rng(0)
    timed = metrics.random_search_in_time(TABLE, np.full(80, 2.0), 2.0 * counts, rng, draws=4000)
    curve = metrics.random_search_curve(TABLE, 40)
    error = searches(4000, 40, seed=0).std(axis=0) / math.sqrt(4000)
    assert (abs(timed - curve) < 4 * error).all()


def test_random_search_that_pays_for_failures_is_slower():
    counts = np.arange(1, 41)
    costs_s = np.where(TABLE == 0, 10.0, 1.0)
    timed = metrics.random_search_in_time(TABLE, costs_s, counts, np.random.default_rng(0))
    assert (timed < metrics.random_search_curve(TABLE, 40)).all()


def test_failures_have_no_throughput():
    task = toys.dense()
    trials = [toys.trial(task, "0", 1e-3), toys.trial(task, "1", None)]
    assert throughput(task, trials).tolist() == [task.gflops(1e-3), 0.0]


def test_bootstrap_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    groups = [f"table {i}" for i in range(40) for _ in range(3)]
    covered = 0
    for _ in range(300):
        # Seeds of one table share what is particular to it.
        values = 0.5 + np.repeat(rng.normal(size=40), 3) + 0.3 * rng.normal(size=120)
        interval = metrics.bootstrap(values, groups, rng, draws=500)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_bootstrap_of_one_table_draws_its_seeds():
    interval = metrics.bootstrap([1.0, 2.0, 3.0], ["t"] * 3, np.random.default_rng(0))
    assert interval.low < interval.mean == 2.0 < interval.high


def test_bootstrap_is_as_random_as_its_generator():
    args = ([1.0, 2.0, 4.0], ["a", "b", "b"])
    first = metrics.bootstrap(*args, np.random.default_rng(3))
    assert first == metrics.bootstrap(*args, np.random.default_rng(3))


def test_bootstrap_of_curves_is_that_of_their_points():
    values = np.random.default_rng(0).random((6, 3))
    groups = ["a", "a", "b", "b", "c", "c"]
    curves = metrics.bootstrap(values, groups, np.random.default_rng(3))
    for point in range(3):
        one = metrics.bootstrap(values[:, point], groups, np.random.default_rng(3))
        expected = (one.mean, one.low, one.high)
        assert (curves.mean[point], curves.low[point], curves.high[point]) == pytest.approx(
            expected
        )
