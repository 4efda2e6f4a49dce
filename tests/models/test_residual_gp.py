"""The per-task Gaussian process on residuals: exact, closed form, and learned from tasks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from residual_tasks import residual_tasks
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from dgtl.models.residual_gp.gp import (
    ResidualGP,
    ResidualGPConfig,
    ResidualPosterior,
    condition_student,
    scale_of,
)

PLAIN = (1.0, 1.0, 1e12)
"""Floor, reach and degrees of freedom with which it is a Gaussian process, the same everywhere."""


def process(width: int = 2, *shape: float) -> ResidualGP:
    zeros, ones = np.zeros(width), np.ones(width)
    return ResidualGP(np.arange(width), zeros, ones, ones, 0.5, 0.2, 0.1, *(shape or PLAIN))


def test_the_posterior_is_that_of_an_exact_gaussian_process() -> None:
    """scikit-learn's, with the same kernel: Matern-5/2 with a length scale each, and an offset."""
    rng = np.random.default_rng(0)
    mean, std, scales = rng.normal(size=3), rng.uniform(0.5, 2.0, 3), rng.uniform(0.3, 3.0, 3)
    prior = ResidualGP(np.array([0, 2, 3]), mean, std, scales, 0.5, 0.2, 0.1, *PLAIN)
    x, residuals, new = rng.normal(size=(15, 4)), rng.normal(size=15), rng.normal(size=(8, 4))
    kernel = ConstantKernel(0.5) * Matern(scales, nu=2.5) + ConstantKernel(0.2)
    exact = GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None)
    columns = [0, 2, 3]
    exact.fit((x[:, columns] - mean) / std, residuals)
    expected = exact.predict((new[:, columns] - mean) / std, return_cov=True)
    posterior = prior.condition(x, residuals, rng.uniform(size=15))
    below = rng.uniform(size=8)
    mean, covariance = posterior.joint(new, below)
    np.testing.assert_allclose(mean, expected[0], atol=1e-5)
    np.testing.assert_allclose(covariance, expected[1] + 0.1 * np.eye(8), atol=1e-5)
    np.testing.assert_allclose(posterior.variance(new, below), np.diag(covariance), atol=1e-5)


def test_errors_are_small_where_the_best_is_expected_and_whole_far_below() -> None:
    prior = process(2, 0.25, 2.0, 1e12)
    np.testing.assert_allclose(prior.scale(np.array([-3.0, 0.0])), 0.25)
    np.testing.assert_allclose(prior.scale(np.array([2.0])), 1.0 - 0.75 / np.e)
    np.testing.assert_allclose(prior.scale(np.array([99.0])), 1.0)
    nothing = prior.condition(np.empty((0, 2)), np.empty(0), np.empty(0))
    # An offset of the task is as likely at the top as anywhere.
    expected = 0.2 + np.array([0.25, 1.0]) ** 2 * (0.5 + 0.1)
    found = nothing.variance(np.zeros((2, 2)), np.array([0.0, 99.0]))
    np.testing.assert_allclose(found, expected)


def test_the_posterior_of_scaled_residuals_is_that_of_residuals_in_their_own_units() -> None:
    """Without an offset: everything divided by its scale is a plain process."""
    rng = np.random.default_rng(1)
    zeros, ones = np.zeros(2), np.ones(2)
    scaled, plain = (
        ResidualGP(np.arange(2), zeros, ones, ones, 0.5, 0.0, 0.1, floor, 1.0, 1e12)
        for floor in (0.3, 1.0)
    )
    x, new, y = rng.normal(size=(6, 2)), rng.normal(size=(4, 2)), rng.normal(size=6)
    below, below_new = rng.uniform(0, 3, 6), rng.uniform(0, 3, 4)
    s, s_new = scaled.scale(below), scaled.scale(below_new)
    mean, covariance = plain.condition(x, y / s, below).joint(new, below_new)
    found = scaled.condition(x, y, below).joint(new, below_new)
    np.testing.assert_allclose(found[0], s_new * mean, atol=1e-4)
    np.testing.assert_allclose(found[1], np.outer(s_new, s_new) * covariance, atol=1e-4)


def test_a_task_without_surprises_is_expected_to_hold_none() -> None:
    rng = np.random.default_rng(2)
    prior = process(2, 1.0, 1.0, 6.0)
    x, new, below = rng.normal(size=(30, 2)), rng.normal(size=(5, 2)), np.zeros(30)
    calm = prior.condition(x, np.full(30, 0.01), below).variance(new, np.zeros(5))
    wild = prior.condition(x, 3.0 * rng.normal(size=30), below).variance(new, np.zeros(5))
    usual = process().condition(x, np.zeros(30), below).variance(new, np.zeros(5))
    np.testing.assert_allclose(calm / usual, 4.0 / 34.0, rtol=0.02)
    assert (wild > usual).all()
    # As many squared standard deviations as trials are no news.
    assert scale_of(7.0, 7, 5.0) == 1.0


@pytest.mark.slow
def test_learned_residual_gp_tells_the_features_that_matter() -> None:
    from dgtl.models.residual_gp.fit import fit_residual_gp

    x, y, task = residual_tasks()
    learned = fit_residual_gp(
        x,
        y - 5.0 - 2.0 * x[:, 0],
        np.zeros(len(y)),
        task,
        ResidualGPConfig(steps=150),
        np.random.SeedSequence(0),
    )
    ignored, used, noise = learned.lengthscales
    assert used < 0.5 * min(ignored, noise)
    assert learned.noise < 0.1 * learned.kernel_variance


@pytest.mark.slow
def test_tasks_of_few_trials_do_not_make_noise_seem_small() -> None:
    """Residuals without a pattern, fewer rows a task than a step draws."""
    from dgtl.models.residual_gp.fit import fit_residual_gp

    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(12), 24)
    x, y = rng.normal(size=(len(task), 3)), 0.5 * rng.normal(size=len(task))
    learned = fit_residual_gp(
        x,
        y,
        np.zeros(len(y)),
        task,
        ResidualGPConfig(steps=150, rows=96),
        np.random.SeedSequence(0),
    )
    assert learned.noise > learned.kernel_variance + learned.offset_variance


@pytest.mark.slow
def test_learned_scale_tells_that_the_best_are_predicted_better() -> None:
    """Errors of a fifth of the size where the best is expected; tasks of one size each."""
    from dgtl.models.residual_gp.fit import fit_residual_gp

    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(16), 64)
    x, below = rng.normal(size=(len(task), 3)), rng.uniform(0.0, 4.0, len(task))
    y = 0.5 * (1.0 - 0.8 * np.exp(-below / 0.5)) * rng.normal(size=len(task))
    config = ResidualGPConfig(steps=200, rows=64)
    learned = fit_residual_gp(x, y, below, task, config, np.random.SeedSequence(0))
    top, far = learned.scale(np.array([0.0, 4.0]))
    assert top < 0.5 * far
    assert learned.freedom > 2.0


def test_posterior_of_one_trial_is_that_of_a_hand_calculation() -> None:
    """At the trial itself: s / (s + noise) of the residual, and s noise / (s + noise) left."""
    given_ = ResidualPosterior(process(), np.zeros((1, 2)), np.array([1.6]), np.ones(1))
    mean, covariance = given_.joint(np.zeros((1, 2)), np.zeros(1))
    np.testing.assert_allclose(mean, 1.6 * 0.7 / 0.8, rtol=1e-5)
    np.testing.assert_allclose(covariance, 0.7 * 0.1 / 0.8 + 0.1, rtol=1e-4)
    np.testing.assert_allclose(
        given_.mean(np.full((1, 2), 99.0), np.zeros(1)), 1.6 * 0.2 / 0.8, rtol=1e-5
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 12), st.integers(1, 9), st.integers(0, 2**31))
def test_posterior_is_a_covariance_below_the_prior(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prior = process(2, 0.4, 1.0, 1e12)
    trained = prior.condition(rng.normal(size=(n, 2)), rng.normal(size=n), rng.uniform(0, 2, n))
    x, below = rng.normal(size=(m, 2)), rng.uniform(0, 2, m)
    mean, covariance = trained.joint(x, below)
    np.testing.assert_allclose(mean, trained.mean(x, below), atol=1e-9)
    np.testing.assert_allclose(np.diag(covariance), trained.variance(x, below), atol=1e-6)
    assert np.linalg.eigvalsh(covariance).min() > -1e-8
    nothing = prior.condition(np.empty((0, 2)), np.empty(0), np.empty(0))
    assert np.linalg.eigvalsh(nothing.joint(x, below)[1] - covariance).min() > -1e-8


def test_what_is_observed_moves_what_goes_with_it() -> None:
    """The first of three came out 1 above its mean; half of that is news of the second."""
    covariance = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    mean, left = condition_student(np.zeros(3), covariance, np.array([1.0]), 1e12)
    np.testing.assert_allclose(mean, [0.5, 0.0])
    np.testing.assert_allclose(left, [[1.5, 0.0], [0.0, 2.0]])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_observing_in_two_parts_is_observing_at_once(a: int, b: int, rest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = a + b + rest
    root = rng.normal(size=(n, n))
    mean, covariance, values = rng.normal(size=n), root @ root.T + np.eye(n), rng.normal(size=a + b)
    freedom = rng.uniform(2.5, 9.0)
    at_once = condition_student(mean, covariance, values, freedom)
    first = condition_student(mean, covariance, values[:a], freedom)
    in_parts = condition_student(*first, values[a:], freedom + a)
    for whole, parts in zip(at_once, in_parts, strict=True):
        np.testing.assert_allclose(parts, whole, rtol=1e-6, atol=1e-6)
