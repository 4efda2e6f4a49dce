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
from experiments.table1.published import TABLE_1

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


# --- HV ------------------------------------------------------------------------------------


PUBLISHED = {key: row for key, row in TABLE_1.items() if row.hv is not None}
SLIP = ("resnet18", "gga")
"""Printed as 3.0307, while the product of what is printed beside it is 3.0373."""


@pytest.mark.parametrize("key", PUBLISHED, ids="-".join)
def test_hv_is_that_of_the_paper_on_its_own_rows(key):
    row = PUBLISHED[key]
    # Reductions are printed to four digits, so that their product is known to half of one.
    rounding = 100 * 5e-5 * (row.search_reduction + row.latency_reduction) + 5e-5
    if key == SLIP:
        rounding = 7e-3
    found = metrics.hv(row.search_reduction, row.latency_reduction)
    assert found == pytest.approx(row.hv, abs=rounding)


def test_published_reductions_are_those_of_the_published_times():
    for (network, method), row in TABLE_1.items():
        if method != "autotvm" and row.search_h is not None:
            base = TABLE_1[network, "autotvm"]
            assert 1 - row.search_h / base.search_h == pytest.approx(row.search_reduction, abs=1e-3)
            assert 1 - row.latency_ms / base.latency_ms == pytest.approx(
                row.latency_reduction, abs=1e-3
            )


def test_hv_is_negative_wherever_something_got_worse():
    assert metrics.hv(0.5, 0.2) == pytest.approx(10)
    assert metrics.hv(-0.5, 0.2) == pytest.approx(-10)
    assert metrics.hv(0.5, -0.2) == pytest.approx(-10)
    assert metrics.hv(-0.5, -0.2) == pytest.approx(-10)
    assert metrics.hv(0.0, -0.2) == metrics.hv(-0.2, 0.0) == 0
    assert metrics.hv(0.0, 0.0) == 0


# --- predictions ---------------------------------------------------------------------------


def test_predictions_are_paired_with_what_was_measured_of_trials_that_ran():
    task = toys.dense()
    trials = [
        toys.trial(task, "0", 1e-3, predicted_gflops=2.0),
        toys.trial(task, "1", None, predicted_gflops=3.0),
        toys.trial(task, "2", 2e-3),
        toys.trial(task, "3", 4e-3, predicted_gflops=0.0),
    ]
    pairs = metrics.predicted_and_measured(task, trials)
    assert pairs.tolist() == [[2.0, task.gflops(1e-3)], [0.0, task.gflops(4e-3)]]
    assert metrics.predicted_and_measured(task, trials[1:3]).shape == (0, 2)


def test_prediction_errors_by_hand():
    """Off by 3 and -4 GFLOPS; by one and two factors of two."""
    errors = metrics.prediction_errors(np.array([[3.0, 6.0], [16.0 / 3, 4.0 / 3]]))
    assert errors.keys() == {"rmse_gflops", "rmse_log2"}
    assert errors["rmse_gflops"] == pytest.approx(math.sqrt((3**2 + 4**2) / 2))
    assert errors["rmse_log2"] == pytest.approx(math.sqrt((1**2 + 2**2) / 2))
    assert metrics.prediction_errors(np.empty((0, 2))) == {}


# --- curves and scores ---------------------------------------------------------------------


@given(st.lists(st.floats(0, 100), max_size=12))
def test_best_so_far_is_the_best_of_each_beginning(values):
    expected = [max(values[: i + 1]) for i in range(len(values))]
    assert metrics.best_so_far(values).tolist() == expected


@given(
    st.lists(st.floats(0.1, 9), min_size=1, max_size=8),
    st.lists(st.floats(0, 40), max_size=5),
)
def test_after_seconds_is_the_best_that_has_ended(costs_s, times_s):
    values = np.random.default_rng(len(costs_s)).random(len(costs_s))
    ends_s = np.cumsum(costs_s)
    found = metrics.after_seconds(metrics.best_so_far(values), ends_s, times_s)
    expected = [
        max((v for v, end in zip(values, ends_s, strict=True) if end <= t), default=0.0)
        for t in times_s
    ]
    assert found.tolist() == expected


def test_score_by_hand():
    """Half of the room at one point, all of it at another, as good as random at the third."""
    baseline = np.array([2.0, 4.0, 6.0])
    curve = np.array([6.0, 10.0, 6.0])
    assert metrics.performance_score(curve, baseline, 10.0) == pytest.approx((0.5 + 1 + 0) / 3)


def test_random_search_itself_scores_zero_and_nothing_less_than_the_oracle_one():
    baseline = metrics.random_search_curve(TABLE, 40)
    assert metrics.performance_score(baseline, baseline, TABLE.max()) == 0
    oracle = np.full(40, TABLE.max())
    assert metrics.performance_score(oracle, baseline, TABLE.max()) == pytest.approx(1, abs=1e-12)


def test_room_that_is_only_rounding_says_nothing():
    baseline = np.array([1.0, 10.0 * (1 - 1e-13)])
    curve = np.array([5.5, 0.0])
    assert metrics.performance_score(curve, baseline, 10.0) == pytest.approx(0.5)
    assert metrics.performance_score(curve, baseline, 10.0 * (1 + 1e-6)) < -1e4


def test_score_ends_at_95_percent_from_the_median_of_what_ran():
    """Median 3, best 5: until 4.9; failures do not lower the median."""
    values = [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    baseline = np.array([1.0, 4.0, 4.89, 4.9, 5.0])
    assert metrics.score_length(values, baseline) == 4
    assert metrics.score_length(values, np.array([4.95, 5.0])) == 1
    assert metrics.score_length(values, baseline[:3]) == 3


def test_random_search_in_time_is_the_mean_of_simulated_searches():
    values, costs_s = np.array([0.0, 3.0, 1.0, 7.0]), np.array([4.0, 1.0, 2.0, 3.0])
    times_s = np.array([0.5, 1.0, 3.0, 5.0, 10.0])
    found = metrics.random_search_in_time(values, costs_s, times_s, np.random.default_rng(0), 50)
    rng = np.random.default_rng(0)
    expected = np.zeros(5)
    for _ in range(50):
        order = rng.permutation(4)
        ends = {i: sum(costs_s[order[: place + 1]]) for place, i in enumerate(order)}
        expected += [max((values[i] for i in order if ends[i] <= t), default=0) for t in times_s]
    np.testing.assert_allclose(found, expected / 50)


def test_random_search_in_time_over_all_orders():
    """Of four rows there are 24 orders: the mean over all of them, within four standard errors."""
    values, costs_s = np.array([0.0, 3.0, 1.0, 7.0]), np.array([4.0, 1.0, 2.0, 3.0])
    times_s = np.array([1.0, 3.0, 5.0, 10.0])
    curves = np.array([
        metrics.after_seconds(
            metrics.best_so_far(values[list(order)]), np.cumsum(costs_s[list(order)]), times_s
        )
        for order in itertools.permutations(range(4))
    ])  # fmt: skip
    found = metrics.random_search_in_time(values, costs_s, times_s, np.random.default_rng(1))
    error = curves.std(axis=0) / math.sqrt(400)
    assert (abs(found - curves.mean(axis=0)) <= 4 * error + 1e-12).all()


# --- intervals -----------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "z"), [(0.95, 1.959964), (0.5, 0.674490)])
def test_bootstrap_of_many_is_the_normal_interval(level, z):
    values = np.random.default_rng(0).normal(2.0, 3.0, size=400)
    groups = [str(i) for i in range(400)]
    interval = metrics.bootstrap(values, groups, np.random.default_rng(1), level=level)
    half = z * values.std() / math.sqrt(400)
    assert interval.mean == pytest.approx(values.mean(), rel=1e-12)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_the_level_is_95_percent_unless_said():
    values, groups = np.random.default_rng(0).normal(size=30), [str(i) for i in range(30)]
    one = metrics.bootstrap(values, groups, np.random.default_rng(1))
    same = metrics.bootstrap(values, groups, np.random.default_rng(1), level=0.95, draws=10_000)
    assert one == same


def test_groups_are_drawn_whole_and_count_by_their_size():
    """All 27 draws of three groups of 1, 2 and 4 values: quantiles that fall within an atom."""
    values = np.array([1.0, 5.0, 7.0, 10.0, 20.0, 30.0, 40.0])
    groups = ["a", "b", "b", "c", "c", "c", "c"]
    parts = {g: values[[i for i, o in enumerate(groups) if o == g]] for g in "abc"}
    means = sorted(
        np.concatenate([parts[g] for g in draw]).mean()
        for draw in itertools.product("abc", repeat=3)
    )
    interval = metrics.bootstrap(
        values, groups, np.random.default_rng(0), level=1 - 2 * 0.5 / 27, draws=40_000
    )
    # The lowest and the highest draw have probability 1/27 each; the quantile is half of that.
    assert (interval.low, interval.high) == pytest.approx((means[0], means[-1]))
    narrower = metrics.bootstrap(
        values, groups, np.random.default_rng(0), level=1 - 2 * 2.5 / 27, draws=40_000
    )
    assert (narrower.low, narrower.high) == pytest.approx((means[2], means[-3]))
    assert interval.mean == pytest.approx(values.mean())


def test_bootstrap_of_one_group_is_that_of_its_values_as_groups():
    values = np.array([1.0, 2.0, 4.0, 8.0])
    one = metrics.bootstrap(values, ["t"] * 4, np.random.default_rng(0))
    each = metrics.bootstrap(values, list("abcd"), np.random.default_rng(0))
    assert one == each


def test_two_groups_are_groups():
    """All of one or all of the other: nothing in between but half of each."""
    values = np.array([0.0, 0.0, 6.0, 6.0])
    interval = metrics.bootstrap(values, list("aabb"), np.random.default_rng(0), level=0.4)
    assert (interval.low, interval.high) == (3.0, 3.0)
    wide = metrics.bootstrap(values, list("aabb"), np.random.default_rng(0), level=0.6)
    assert (wide.low, wide.high) == (0.0, 6.0)


def test_whole_numbers_are_no_integers():
    """Throughput in whole GFLOPS: an expectation is not cut to one."""
    assert metrics.best_so_far([1, 3, 2]).dtype == np.float64
    assert metrics.random_search_curve([1, 2], 1).tolist() == [1.5]
    interval = metrics.bootstrap([1, 2], ["a", "b"], np.random.default_rng(0), level=0.4)
    assert (interval.mean, interval.low, interval.high) == (1.5, 1.5, 1.5)
