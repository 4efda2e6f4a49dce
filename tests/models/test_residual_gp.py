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
    condition_gaussian,
)


def process(width: int = 2) -> ResidualGP:
    zeros, ones = np.zeros(width), np.ones(width)
    return ResidualGP(np.arange(width), zeros, ones, ones, 0.5, 0.2, 0.1)


def test_the_posterior_is_that_of_an_exact_gaussian_process() -> None:
    """scikit-learn's, with the same kernel: Matern-5/2 with a length scale each, and an offset."""
    rng = np.random.default_rng(0)
    mean, std, scales = rng.normal(size=3), rng.uniform(0.5, 2.0, 3), rng.uniform(0.3, 3.0, 3)
    prior = ResidualGP(np.array([0, 2, 3]), mean, std, scales, 0.5, 0.2, 0.1)
    x, residuals, new = rng.normal(size=(15, 4)), rng.normal(size=15), rng.normal(size=(8, 4))
    kernel = ConstantKernel(0.5) * Matern(scales, nu=2.5) + ConstantKernel(0.2)
    exact = GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None)
    columns = [0, 2, 3]
    exact.fit((x[:, columns] - mean) / std, residuals)
    expected = exact.predict((new[:, columns] - mean) / std, return_cov=True)
    posterior = prior.condition(x, residuals)
    for ours, theirs in zip(posterior.joint(new), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(posterior.variance(new), np.diag(expected[1]), atol=1e-5)


@pytest.mark.slow
def test_learned_residual_gp_tells_the_features_that_matter() -> None:
    from dgtl.models.residual_gp.fit import fit_residual_gp

    x, y, task = residual_tasks()
    learned = fit_residual_gp(
        x, y - 5.0 - 2.0 * x[:, 0], task, ResidualGPConfig(steps=150), np.random.SeedSequence(0)
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
        x, y, task, ResidualGPConfig(steps=150, rows=96), np.random.SeedSequence(0)
    )
    assert learned.noise > 0.5 * learned.variance


def test_posterior_of_one_trial_is_that_of_a_hand_calculation() -> None:
    """At the trial itself: s / (s + noise) of the residual, and s noise / (s + noise) left."""
    given_ = ResidualPosterior(process(), np.zeros((1, 2)), np.array([1.6]))
    mean, covariance = given_.joint(np.zeros((1, 2)))
    np.testing.assert_allclose(mean, 1.6 * 0.7 / 0.8, rtol=1e-5)
    np.testing.assert_allclose(covariance, 0.7 * 0.1 / 0.8, rtol=1e-4)
    np.testing.assert_allclose(given_.mean(np.full((1, 2), 99.0)), 1.6 * 0.2 / 0.8, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 12), st.integers(1, 9), st.integers(0, 2**31))
def test_posterior_is_a_covariance_below_the_prior(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prior = process()
    trained = prior.condition(rng.normal(size=(n, 2)), rng.normal(size=n))
    x = rng.normal(size=(m, 2))
    mean, covariance = trained.joint(x)
    np.testing.assert_allclose(mean, trained.mean(x), atol=1e-9)
    np.testing.assert_allclose(np.diag(covariance), trained.variance(x), atol=1e-6)
    assert np.linalg.eigvalsh(covariance).min() > -1e-8
    below = prior.covariance(prior.scaled(x), prior.scaled(x)) - covariance
    assert np.linalg.eigvalsh(below).min() > -1e-8


def test_what_is_observed_moves_what_goes_with_it() -> None:
    """The first of three came out 1 above its mean; half of that is news of the second."""
    covariance = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    mean, left = condition_gaussian(np.zeros(3), covariance, np.array([1.0]))
    np.testing.assert_allclose(mean, [0.5, 0.0])
    np.testing.assert_allclose(left, [[1.5, 0.0], [0.0, 2.0]])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_observing_in_two_parts_is_observing_at_once(a: int, b: int, rest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = a + b + rest
    root = rng.normal(size=(n, n))
    mean, covariance, values = rng.normal(size=n), root @ root.T + np.eye(n), rng.normal(size=a + b)
    at_once = condition_gaussian(mean, covariance, values)
    in_parts = condition_gaussian(*condition_gaussian(mean, covariance, values[:a]), values[a:])
    for whole, parts in zip(at_once, in_parts, strict=True):
        np.testing.assert_allclose(parts, whole, rtol=1e-7, atol=1e-7)
