"""The stacked deep GP, the per-task GP on its residuals, and which configurations run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgtl.models import load_model
from dgtl.models.deep_gp.model import DGPConfig
from dgtl.models.residual_gp.gp import (
    ResidualGP,
    ResidualGPConfig,
    ResidualPosterior,
    condition_gaussian,
)
from dgtl.models.stacked import StackConfig, StackedDGP
from dgtl.models.validity import Validity
from dgtl.models.xgb import XGBConfig

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = DGPConfig(hidden=2, inducing=24, steps=60, batch=128)
STACK = StackConfig(
    XGBConfig(trees=60, rate=0.2, nthread=1), folds=3, residual=ResidualGPConfig(steps=120)
)
TASKS, ROWS = 6, 40


def residual_tasks(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [N, 3], log2 throughput [N] and task [N]: x0 holds for all tasks, x1 for each."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.0, 1.0, (TASKS * ROWS, 3))
    task = np.repeat(np.arange(TASKS), ROWS)
    phase = rng.uniform(0.0, 6.0, TASKS)[task]
    return x, 5.0 + 2.0 * x[:, 0] + np.sin(3.0 * x[:, 1] + phase), task


@pytest.fixture(scope="module")
def stacked() -> StackedDGP:
    x, y, task = residual_tasks()
    model = StackedDGP(NETWORK, STACK)
    model.fit(x, np.exp2(y), seed=0, task=task, layer=task)
    return model


def process(width: int = 2) -> ResidualGP:
    zeros, ones = np.zeros(width), np.ones(width)
    return ResidualGP(np.arange(width), zeros, ones, ones, 0.5, 0.2, 0.1)


def test_observed_after_the_tuning_is_as_good_as_before(stacked: StackedDGP) -> None:
    """Conditioning the joint prediction on trials is what tuning to them does."""
    x, y, _ = residual_tasks(2)
    rest, known, gflops = x[7:20], np.r_[20:25, :7], np.exp2(y)
    tuned = stacked.adapt(x[known], gflops[known])
    before = stacked.adapt(x[20:25], gflops[20:25])
    mean, covariance = before.joint(rest, (x[:7], gflops[:7]))
    np.testing.assert_allclose(mean, tuned.joint(rest)[0], atol=1e-4)
    np.testing.assert_allclose(covariance, tuned.joint(rest)[1], atol=1e-4)


def test_saved_model_predicts_bit_for_bit(stacked: StackedDGP, tmp_path: Path) -> None:
    stacked.save(tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, StackedDGP)
    x, y, _ = residual_tasks(1)
    for a, b in (
        (stacked, loaded),
        (stacked.adapt(x[:9], 2 ** y[:9]), loaded.adapt(x[:9], 2 ** y[:9])),
    ):
        np.testing.assert_array_equal(a.predict(x).mean, b.predict(x).mean)
        np.testing.assert_array_equal(a.predict(x).std, b.predict(x).std)


def test_damaged_folder_is_refused_in_one_line(stacked: StackedDGP, tmp_path: Path) -> None:
    stacked.save(tmp_path)
    (tmp_path / "residual.npz").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"residual\.npz"):
        StackedDGP.load(tmp_path)


def test_without_trials_the_tuned_model_is_the_source(stacked: StackedDGP) -> None:
    x, _, _ = residual_tasks(2)
    tuned = stacked.adapt(np.empty((0, 3)), np.empty(0))
    np.testing.assert_array_equal(tuned.predict_mean(x), stacked.predict_mean(x))
    np.testing.assert_allclose(tuned.predict(x).std, stacked.predict(x).std)


def test_joint_distribution_has_the_marginals_of_the_predictive_one(stacked: StackedDGP) -> None:
    x, y, _ = residual_tasks(3)
    tuned = stacked.adapt(x[:9], 2 ** y[:9])
    mean, covariance = tuned.joint(x)
    predicted = tuned.predict(x)
    np.testing.assert_allclose(mean, predicted.mean)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), predicted.std)


def test_trials_of_a_task_lower_the_error_on_the_rest_of_it(stacked: StackedDGP) -> None:
    x, y, task = residual_tasks(3)
    before, after = [], []
    for t in range(TASKS):
        own, rest = np.flatnonzero(task == t)[:20], np.flatnonzero(task == t)[20:]
        tuned = stacked.adapt(x[own], 2 ** y[own])
        before.append(np.mean((stacked.predict_mean(x[rest]) - y[rest]) ** 2))
        after.append(np.mean((tuned.predict_mean(x[rest]) - y[rest]) ** 2))
    assert np.mean(after) < 0.5 * np.mean(before), (np.mean(after), np.mean(before))


def test_out_of_fold_trees_have_not_seen_the_layer() -> None:
    """Every layer has a level of its own that no feature tells but its number."""
    layer = np.repeat(np.arange(8), 20)
    x = np.column_stack([layer, np.random.default_rng(0).normal(size=160)]).astype(float)
    level = np.array([0.0, 6.0] * 4)[layer]
    model = StackedDGP(NETWORK, dataclasses.replace(STACK, folds=8))
    trees, unseen = model._out_of_fold(x, 2**level, layer, np.random.SeedSequence(0), 0)
    # Who had seen a layer would be right; neighbours in number are of the other level.
    assert np.mean(np.abs(unseen - level)) > 2.0
    assert len(trees) == 8


def test_a_model_without_its_trees_is_refused(stacked: StackedDGP, tmp_path: Path) -> None:
    stacked.save(tmp_path)
    (tmp_path / "trees").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="trees"):
        StackedDGP.load(tmp_path)


def test_what_was_never_fitted_predicts_nothing() -> None:
    with pytest.raises(RuntimeError, match="never fitted"):
        StackedDGP(NETWORK, STACK).predict_mean(np.zeros((1, 3)))


@pytest.mark.parametrize("bad", [{"folds": 1}, {"dgp_weight": 1.5}])
def test_bad_stack_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        dataclasses.replace(STACK, **bad)


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


@pytest.mark.parametrize("sizes", [(64, 5), (64, 64, 5), (20,), (4, 4, 4, 4)])
def test_sources_however_few_make_a_model(sizes: tuple[int, ...]) -> None:
    """Every row is predicted by trees that were fitted to enough others."""
    layer = np.repeat(np.arange(len(sizes)), sizes)
    x = np.random.default_rng(0).normal(size=(len(layer), 3))
    model = StackedDGP(NETWORK, dataclasses.replace(STACK, folds=5))
    _, unseen = model._out_of_fold(x, 2 ** x[:, 0], layer, np.random.SeedSequence(0), 0)
    assert np.isfinite(unseen).all()


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


def test_validity_learns_what_fails() -> None:
    x = np.random.default_rng(0).uniform(size=(600, 3))
    ok = x[:, 1] < 0.7
    learned = Validity(x[:400], ok[:400], seed=0)
    assert np.mean((learned.probability(x[400:]) > 0.5) == ok[400:]) > 0.95
    assert learned.penalty(x[400:])[~ok[400:]].max() < learned.penalty(x[400:])[ok[400:]].max()


def test_rare_failures_teach_nothing() -> None:
    x = np.random.default_rng(0).uniform(size=(400, 2))
    ok = np.arange(400) != 7
    np.testing.assert_array_equal(Validity(x, ok, seed=0).penalty(x), 0.0)
