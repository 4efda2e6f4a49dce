"""Greedy q-EI against its closed form, against brute force, and by its properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from dgtl.search.acquisition import greedy_qei


def choose(mean, covariance, n, p_feasible=None, incumbent=None, seed=0):
    mean = np.asarray(mean, dtype=float)
    p_feasible = np.ones(len(mean)) if p_feasible is None else np.asarray(p_feasible)
    rng = np.random.default_rng(seed)
    return greedy_qei(mean, np.asarray(covariance), p_feasible, n, incumbent, rng)


def test_certain_candidates_come_by_their_mean() -> None:
    """After the best nothing is gained; the first is what counts."""
    assert choose([1.0, 5.0, 3.0], np.zeros((3, 3)), 1) == [1]


def test_a_twin_of_what_is_chosen_waits() -> None:
    """0 and 1 are the same but for a hair, 2 is a little worse and its own."""
    twin = 1.0 - 1e-9
    covariance = [[1.0, twin, 0.0], [twin, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert choose([1.0, 0.99, 0.6], covariance, 3).tolist() == [0, 2, 1]


def test_what_seldom_p_feasible_waits() -> None:
    assert choose([2.0, 1.5], 0.01 * np.eye(2), 2, p_feasible=[0.1, 1.0]).tolist() == [1, 0]


def test_what_cannot_beat_the_best_so_far_gives_way_to_what_may() -> None:
    covariance = np.diag([1e-6, 4.0])
    assert choose([1.0, 0.0], covariance, 1, incumbent=3.0) == [1]
    assert choose([1.0, -3.0], covariance, 1) == [0]


def test_gains_are_over_the_best_so_far_in_gflops() -> None:
    """A sure gain of 2^-1.9 - 2^-2 = 0.02, or one of 1 - 2^-2 with one chance in ten."""
    found = choose([-1.9, 0.0], np.zeros((2, 2)), 1, p_feasible=[1.0, 0.1], incumbent=-2.0)
    assert found.tolist() == [1]


def test_what_is_chosen_already_counts() -> None:
    """The first candidate is taken, so that its twin waits."""
    covariance = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    rng = np.random.default_rng(0)
    found = greedy_qei(np.array([1.0, 0.9, 0.6]), covariance, np.ones(3), 2, None, rng, first=1)
    assert found.tolist() == [0, 2]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 2**31))
def test_batches_are_distinct_and_grow_by_prefixes(size: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    mean = rng.normal(size=size)
    whole = choose(mean, root @ root.T, n, seed=seed)
    assert len(whole) == len(set(whole.tolist())) == min(n, size)
    part = choose(mean, root @ root.T, max(1, n // 2), seed=seed)
    np.testing.assert_array_equal(part, whole[: len(part)])


def expected_improvement(mean, variance, incumbent, p_feasible=1.0):
    """E[max(2^Y, 2^incumbent)] of Y ~ N(mean, variance): the first pick's value, closed form."""
    m, s, c = mean * np.log(2), np.sqrt(variance) * np.log(2), 2.0**incumbent
    u = (np.log(c) - m) / s
    value = c * norm.cdf(u) + np.exp(m + s**2 / 2) * norm.cdf(s - u)
    return p_feasible * value + (1 - p_feasible) * c


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 12), st.floats(-1.0, 2.0), st.integers(0, 2**31))
def test_the_first_pick_has_the_greatest_expected_improvement(size, incumbent, seed) -> None:
    """To within the error of 4,096 samples."""
    rng = np.random.default_rng(seed)
    mean, variance = rng.normal(size=size), rng.uniform(0.05, 1.0, size)
    p_feasible = rng.uniform(0.2, 1.0, size)
    value = expected_improvement(mean, variance, incumbent, p_feasible)
    (first,) = choose(mean, np.diag(variance), 1, p_feasible, incumbent, seed)
    gain = value - 2.0**incumbent
    assert gain[first] > 0.8 * gain.max() - 0.02


def joint_value(rows, log2, incumbent):
    return np.maximum(np.exp2(log2[:, rows]).max(axis=1), 2.0**incumbent).mean()


@pytest.mark.parametrize("seed", range(6))
def test_greedy_batches_reach_what_submodularity_promises(seed: int) -> None:
    """At least 1 - 1/e of the best triple's gain, which brute force finds, by other samples."""
    rng = np.random.default_rng(seed)
    size, incumbent = 7, 0.5
    root = rng.normal(size=(size, size)) / 2
    mean, covariance = rng.normal(size=size), root @ root.T + 0.01 * np.eye(size)
    log2 = rng.multivariate_normal(mean, covariance, size=40_000)
    gains = {
        rows: joint_value(list(rows), log2, incumbent) - 2.0**incumbent
        for rows in itertools.combinations(range(size), 3)
    }
    chosen = tuple(sorted(choose(mean, covariance, 3, None, incumbent, seed).tolist()))
    assert gains[chosen] >= (1 - 1 / np.e) * max(gains.values())
    assert gains[chosen] > np.median(list(gains.values()))


def test_the_second_pick_is_the_best_beside_the_first() -> None:
    """By brute force over what the pair is worth together."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(5, 5))
    mean, covariance = 0.3 * rng.normal(size=5), root @ root.T
    first, second = choose(mean, covariance, 2, None, 0.0)
    log2 = rng.multivariate_normal(mean, covariance, size=100_000)
    worth = {r: joint_value([first, r], log2, 0.0) for r in range(5) if r != first}
    assert worth[second] > 0.98 * max(worth.values())


def test_worst_predictions_are_not_taken_first() -> None:
    """With little to choose between in spread, the order is that of the means."""
    mean = np.linspace(3.0, 0.0, 30)
    assert choose(mean, 1e-4 * np.eye(30), 5).tolist()[0] == 0
    assert choose(mean, 0.2 * np.eye(30), 10).max() < 20
