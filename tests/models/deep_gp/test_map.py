"""Tuning in closed form is exact Bayesian inference: linear-Gaussian, and GP regression."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import random_states
from hypothesis import given, settings
from hypothesis import strategies as st

from dgtl.models.deep_gp.map import (
    AdamMAP,
    ClosedFormMAP,
    OffsetPrior,
    closed_form,
    fit_offset,
    prior_cholesky,
)
from dgtl.models.deep_gp.model import DeepGP, DGPConfig
from dgtl.models.deep_gp.predict import CachedPredictor

few = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 2**32)
widths = st.sampled_from([(1,), (2, 1)])
taus = st.sampled_from([0.0, 0.3, 1.0])


def measured(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, WIDTH] and log2 GFLOPS [n] of some target task."""
    x = random_states.features(n, seed)
    return x, 6.0 + np.sin(x[:, 0]) - 0.5 * x[:, 2]


def covariance_of(layer) -> np.ndarray:
    return layer.q_sqrt[0] @ layer.q_sqrt[0].T


def empty_gp_at(x: np.ndarray, seed: int):
    """One layer that knows nothing, with inducing points at the inputs of ``x``."""
    state = random_states.random_state(seed, (1,))
    inputs = random_states.standardised(state, x)
    layer = dataclasses.replace(
        state.layers[0],
        inducing=inputs,
        q_mu=np.zeros((len(x), 1)),
        q_sqrt=np.eye(len(x))[None],
    )
    return dataclasses.replace(state, layers=(layer,), jitter=1e-9)


@few
@given(seeds, st.booleans())
def test_with_inducing_points_at_the_data_it_is_exact_gp_regression(seed, explain):
    """Rasmussen & Williams (2006), (2.25) and (2.26), at the data and elsewhere.

    With the residual explained it is the same: at the inducing points nothing is left of it.
    """
    x, y = measured(8, seed)
    state = empty_gp_at(x, seed)
    layer, h = state.layers[0], random_states.standardised(state, x)
    prior = ClosedFormMAP(tau=0.0, explain_residual=explain)
    tuned = closed_form(state, x, y, prior)

    new = np.concatenate([h, random_states.standardised(state, random_states.features(5, seed))])
    k = random_states.covariance(layer, state.kernel, h, h)
    cross = random_states.covariance(layer, state.kernel, new, h)
    noisy = k + state.noise * np.eye(len(x))
    gap = (y - 5.0) / 1.7 - (h @ layer.mean_a + layer.mean_b)[:, 0]
    mean = cross @ np.linalg.solve(noisy, gap) + (new @ layer.mean_a + layer.mean_b)[:, 0]
    var = float(layer.variance) - np.diag(cross @ np.linalg.solve(noisy, cross.T))

    found_mean, found_var = CachedPredictor(tuned, linearise=False).latent(new)
    np.testing.assert_allclose(found_mean, mean, atol=1e-4)
    np.testing.assert_allclose(found_var, var, atol=1e-4)


@few
@given(seeds, widths, taus, st.booleans())
def test_posterior_is_that_of_a_gaussian_conditioned_on_the_trials(seed, widths, tau, explain):
    """y and v are jointly Gaussian; condition v on y by the textbook (Bishop 2006, 2.81-2.82)."""
    state = random_states.random_state(seed, widths)
    x, y = measured(10, seed)
    h = random_states.standardised(state, x)
    for hidden in state.layers[:-1]:
        h, _ = random_states.dense_layer(hidden, state, h)
    layer = state.layers[-1]
    z = layer.inducing
    k_zz = random_states.covariance(layer, state.kernel, z, z) + state.jitter * np.eye(len(z))
    design = (
        random_states.covariance(layer, state.kernel, h, z)
        @ np.linalg.inv(np.linalg.cholesky(k_zz)).T
    )  # [n, M]
    p = covariance_of(layer) + tau**2 * np.eye(len(z))
    noise = np.full(len(x), state.noise)
    if explain:
        noise += float(layer.variance) - (design**2).sum(axis=1)
    mean_y = design @ layer.q_mu[:, 0] + (h @ layer.mean_a + layer.mean_b)[:, 0]
    gain = p @ design.T @ np.linalg.inv(design @ p @ design.T + np.diag(noise))

    tuned = closed_form(state, x, y, ClosedFormMAP(tau=tau, explain_residual=explain)).layers[-1]
    expected = layer.q_mu[:, 0] + gain @ ((y - 5.0) / 1.7 - mean_y)
    np.testing.assert_allclose(tuned.q_mu[:, 0], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(covariance_of(tuned), p - gain @ design @ p, atol=1e-5)
    np.testing.assert_array_equal(tuned.q_sqrt, np.tril(tuned.q_sqrt))


@few
@given(seeds, widths)
def test_only_q_of_the_last_layer_moves(seed, widths):
    state = random_states.random_state(seed, widths)
    before = {name: array.copy() for name, array in state.arrays().items()}
    tuned = closed_form(state, *measured(10, seed), ClosedFormMAP()).arrays()
    last = len(widths) - 1
    moved = {name for name in before if not np.array_equal(before[name], tuned[name])}
    assert moved == {f"layer{last}.q_mu", f"layer{last}.q_sqrt"}
    assert all(np.array_equal(before[name], array) for name, array in state.arrays().items())


@few
@given(seeds, widths)
def test_without_trials_nothing_changes(seed, widths):
    state = random_states.random_state(seed, widths)
    nothing = np.empty((0, random_states.WIDTH)), np.empty(0)
    tuned = closed_form(state, *nothing, ClosedFormMAP(tau=0.0)).layers[-1]
    np.testing.assert_allclose(tuned.q_mu, state.layers[-1].q_mu, atol=1e-12)
    np.testing.assert_allclose(covariance_of(tuned), covariance_of(state.layers[-1]), atol=1e-12)
    unmoved = fit_offset(state, *nothing, OffsetPrior())
    assert (unmoved.scaler.y_mean, unmoved.scaler.y_std) == (5.0, 1.7)

    model = DeepGP(DGPConfig(layers=len(widths)))
    model._hold(state)
    same = model.adapt(*nothing, ClosedFormMAP(), seed=0).state.arrays()
    assert all(np.array_equal(same[name], array) for name, array in state.arrays().items())


@few
@given(seeds, st.integers(1, 1000))
def test_trials_of_one_configuration_count_each(seed, n):
    """Of a gap g, r / (r + n s) is left after n trials, s the prior variance, r the noise."""
    state = random_states.random_state(seed, (1,))
    x, y = measured(1, seed)
    prior = ClosedFormMAP(tau=0.3, explain_residual=False)
    wide = closed_form(state, x[:0], y[:0], prior)
    h = state.scaler.inputs(x)
    mean, var = CachedPredictor(wide, linearise=False).latent(h)
    # What the inducing points do not explain is no part of what they can learn.
    layer = state.layers[0]
    nothing = dataclasses.replace(layer, q_sqrt=0.0 * layer.q_sqrt)
    unsure = CachedPredictor(dataclasses.replace(state, layers=(nothing,)), linearise=False)
    s = var[0] - unsure.latent(h)[1][0]
    tuned = closed_form(state, np.repeat(x, n, axis=0), np.repeat(y, n), prior)
    after, _ = CachedPredictor(tuned, linearise=False).latent(h)
    target = state.scaler.targets(y)
    left = state.noise / (state.noise + n * s)
    np.testing.assert_allclose(target - after, left * (target - mean), rtol=1e-4, atol=1e-6)


def test_trials_far_from_every_inducing_point_move_the_model_less_if_the_residual_is_explained():
    state = random_states.random_state(0, (1,))
    x, y = measured(4, 0)
    x[:, random_states.COLUMNS] = 4.0
    moves = {}
    for explain in (False, True):
        tuned = closed_form(state, x, y, ClosedFormMAP(explain_residual=explain)).layers[0]
        moves[explain] = np.abs(tuned.q_mu - state.layers[0].q_mu).max()
    assert moves[True] < moves[False]


@few
@given(seeds, st.floats(0.1, 3.0), st.floats(0.02, 1.0))
def test_offset_and_slope_are_those_of_a_ridge_of_two_parameters(seed, offset_scale, slope_scale):
    """As least squares, each trial and each prior one row over its standard deviation."""
    state = random_states.random_state(seed)
    x, y = measured(12, seed)
    f, var = random_states.dense_latent(state, random_states.standardised(state, x))
    error = np.sqrt(var + state.noise)
    rows = np.concatenate(
        [
            np.stack([1 / error, f / error], axis=1),
            [[1 / offset_scale, 0.0], [0.0, 1 / slope_scale]],
        ]
    )
    gaps = np.concatenate([((y - 5.0) / 1.7 - f) / error, [0.0, 0.0]])
    a, b = np.linalg.lstsq(rows, gaps, rcond=None)[0]
    prior = OffsetPrior(offset_scale=offset_scale, slope_scale=slope_scale)
    moved = fit_offset(state, x, y, prior).scaler
    assert moved.y_mean == pytest.approx(5.0 + 1.7 * a, rel=1e-5, abs=1e-5)
    assert moved.y_std == pytest.approx(1.7 * max(1.0 + b, 0.1), rel=1e-5)


def test_a_task_that_is_shifted_and_stretched_is_found_with_wide_priors():
    state = random_states.random_state(1)
    x = random_states.features(200, 1)
    y = 8.0 + 0.6 * CachedPredictor(state, linearise=False).predict(x)[0]
    moved = fit_offset(state, x, y, OffsetPrior(offset_scale=1e4, slope_scale=1e4))
    mean, _ = CachedPredictor(moved, linearise=False).predict(x)
    np.testing.assert_allclose(mean, y, atol=1e-5)
    backwards = fit_offset(state, x, -y, OffsetPrior(offset_scale=1e4, slope_scale=1e4))
    assert backwards.scaler.y_std == pytest.approx(0.1 * 1.7)
    for name in ("columns", "x_mean", "x_std", "x_range"):
        np.testing.assert_array_equal(getattr(moved.scaler, name), getattr(state.scaler, name))


@few
@given(seeds, st.integers(1, 3), taus)
def test_widened_posterior_is_factored_exactly(seed, outputs, tau):
    q_sqrt = np.tril(np.random.default_rng(seed).normal(size=(outputs, 5, 5)))
    factor = prior_cholesky(q_sqrt, tau)
    expected = q_sqrt @ q_sqrt.transpose(0, 2, 1) + tau**2 * np.eye(5)
    np.testing.assert_allclose(factor @ factor.transpose(0, 2, 1), expected, atol=1e-9)
    np.testing.assert_array_equal(factor, np.tril(factor))
    assert (np.diagonal(factor, axis1=1, axis2=2) >= 0.0).all()


@pytest.mark.parametrize(
    ("prior", "bad", "message"),
    [
        (AdamMAP, {"frozen": ("all",)}, r"^AdamMAP\.frozen must be of .*got \('all',\)$"),
        (ClosedFormMAP, {"tau": -1.0}, r"^ClosedFormMAP\.tau must not be negative, got -1\.0$"),
        *(
            (prior, {name: 0.0}, rf"^{prior.__name__}\.{name} must be positive, got 0\.0$")
            for prior, names in (
                (AdamMAP, ("kernel_scale", "inducing_scale", "noise_scale", "mean_scale")),
                (AdamMAP, ("steps", "learning_rate", "tau")),
                (OffsetPrior, ("offset_scale", "slope_scale")),
            )
            for name in names
        ),
    ],
)
def test_impossible_priors_are_refused_by_name(prior, bad, message):
    with pytest.raises(ValueError, match=message):
        prior(**bad)


def test_everything_frozen_is_refused():
    frozen = ("kernels", "inducing", "noise", "mean", "variational")
    with pytest.raises(ValueError, match="nothing to tune"):
        AdamMAP(frozen=frozen)


def test_all_parts_but_one_may_be_frozen_and_tau_of_the_closed_form_may_be_nothing():
    parts = ("lower_layers", "kernels", "inducing", "noise", "mean")
    assert AdamMAP(frozen=parts).frozen == parts
    assert ClosedFormMAP(tau=0.0).tau == 0.0
