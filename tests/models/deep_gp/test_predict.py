"""Prediction with cached arrays equals kernels of other libraries and plain matrix algebra."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import random_states
from hypothesis import given, settings
from hypothesis import strategies as st

from dgtl.models.deep_gp import predict
from dgtl.models.deep_gp.predict import CachedPredictor, inducing_cholesky, kernel_matrix

KERNELS = ("matern52", "rbf")
kernels = st.sampled_from(KERNELS)
few = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 2**32)
widths = st.sampled_from([(1,), (2, 1), (3, 2, 1)])


@few
@given(kernels, seeds)
def test_kernels_are_those_of_scikit_learn(kernel, seed):
    rng = np.random.default_rng(seed)
    layer = random_states.random_layer(rng, inputs=3, outputs=1, points=4)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    expected = random_states.covariance(layer, kernel, a, b)
    np.testing.assert_allclose(kernel_matrix(layer, kernel, a, b), expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_are_those_of_gpflow(kernel):
    from dgtl.models.unchecked import gpflow

    rng = np.random.default_rng(0)
    layer = random_states.random_layer(rng, inputs=3, outputs=1, points=4)
    theirs = {"matern52": gpflow.kernels.Matern52, "rbf": gpflow.kernels.SquaredExponential}
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    expected = theirs[kernel](float(layer.variance), layer.lengthscales)(a, b).numpy()
    np.testing.assert_allclose(kernel_matrix(layer, kernel, a, b), expected, rtol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_correlation_at_known_distances(kernel):
    """Rasmussen & Williams (2006), (4.9) and (4.17), at distance 0, 1 and 2."""
    r = np.array([0.0, 1.0, 2.0])
    s = np.sqrt(5.0) * r
    expected = {
        "matern52": (1 + s + 5 * r**2 / 3) * np.exp(-s),
        "rbf": np.exp(-(r**2) / 2),
    }[kernel]
    found, _ = predict._CORRELATION[kernel](r**2)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    known = {"matern52": 0.5239941088318203, "rbf": 0.6065306597126334}[kernel]
    assert found[1] == pytest.approx(known, rel=1e-14)


@pytest.mark.parametrize("kernel", KERNELS)
def test_slope_of_a_correlation_is_its_derivative(kernel):
    r2, step = np.linspace(0.1, 9.0, 20), 1e-6
    correlation = predict._CORRELATION[kernel]
    # By half of the squared distance.
    expected = (correlation(r2 + step)[0] - correlation(r2 - step)[0]) / step
    _, slope = correlation(r2.copy())
    np.testing.assert_allclose(slope(), expected, rtol=1e-6)


@few
@given(kernels, seeds)
def test_factor_of_the_inducing_points_is_that_of_their_covariance_and_jitter(kernel, seed):
    layer = random_states.random_state(seed).layers[0]
    z = layer.inducing
    chol = inducing_cholesky(layer, kernel, 1e-3)
    np.testing.assert_array_equal(chol, np.tril(chol))
    expected = random_states.covariance(layer, kernel, z, z) + 1e-3 * np.eye(len(z))
    np.testing.assert_allclose(chol @ chol.T, expected, atol=1e-12)


def test_points_that_cannot_be_told_apart_are_refused():
    layer = random_states.random_state(0).layers[0]
    twice = dataclasses.replace(layer, inducing=np.repeat(layer.inducing[:1], 6, axis=0))
    with pytest.raises(np.linalg.LinAlgError):
        inducing_cholesky(twice, "matern52", -1e-3)


@few
@given(widths, kernels, seeds)
def test_layers_are_those_of_dense_algebra(widths, kernel, seed):
    """Hidden layers pass on their means; the variance is that of the last layer."""
    state = random_states.random_state(seed, widths, kernel)
    h = random_states.standardised(state, random_states.features(9, seed))
    mean, var = CachedPredictor(state, linearise=False).latent(h)
    expected_mean, expected_var = random_states.dense_latent(state, h)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var, expected_var, rtol=1e-5, atol=1e-5)


@few
@given(widths, kernels, seeds)
def test_linearised_variance_is_carried_by_squared_derivatives(widths, kernel, seed):
    state = random_states.random_state(seed, widths, kernel)
    h = random_states.standardised(state, random_states.features(9, seed))
    mean, var = CachedPredictor(state, linearise=True).latent(h)
    expected_mean, expected_var = random_states.dense_latent(state, h, linearise=True)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var, expected_var, rtol=1e-3, atol=1e-4)


@few
@given(widths, seeds)
def test_what_the_last_layer_sees_are_the_means_of_those_before(widths, seed):
    state = random_states.random_state(seed, widths)
    h = random_states.standardised(state, random_states.features(5, seed))
    found = CachedPredictor(state, linearise=False).hidden(h)
    for layer in state.layers[:-1]:
        h, _ = random_states.dense_layer(layer, state, h)
    np.testing.assert_allclose(found, h, rtol=1e-6, atol=1e-6)


@few
@given(widths, seeds)
def test_predictions_are_in_log2_gflops_with_the_noise(widths, seed):
    state = random_states.random_state(seed, widths)
    x = random_states.features(9, seed)
    mean, var = CachedPredictor(state, linearise=False).predict(x)
    f, f_var = random_states.dense_latent(state, random_states.standardised(state, x))
    np.testing.assert_allclose(mean, 5.0 + 1.7 * f, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(var, 1.7**2 * (f_var + 0.07), rtol=1e-5, atol=1e-5)


@few
@given(widths, kernels, seeds)
def test_single_precision_ranks_as_double_does(widths, kernel, seed):
    state = random_states.random_state(seed, widths, kernel)
    # Well apart, as k-means leaves them: close ones make large weights that cancel.
    spread = tuple(
        dataclasses.replace(
            layer,
            inducing=3.0 * np.eye(6, layer.inducing.shape[1]) + np.arange(6)[:, None],
            lengthscales=np.ones(layer.inducing.shape[1]),
        )
        for layer in state.layers
    )
    predictor = CachedPredictor(dataclasses.replace(state, layers=spread), linearise=False)
    x = random_states.features(50, seed)
    np.testing.assert_allclose(predictor.predict_mean(x), predictor.predict(x)[0], atol=1e-3)


@pytest.mark.parametrize("rows", [0, 1, 6, 7, 8, 14, 20])
@pytest.mark.parametrize("linearise", [False, True])
def test_chunks_change_nothing(rows, linearise, monkeypatch):
    predictor = CachedPredictor(random_states.random_state(0), linearise=linearise)
    x = random_states.features(rows, 1)
    mean, var = predictor.predict(x)
    fast = predictor.predict_mean(x)
    monkeypatch.setattr(predict, "CHUNK", 7)
    np.testing.assert_allclose(predictor.predict(x), (mean, var), rtol=1e-12)
    np.testing.assert_allclose(predictor.predict_mean(x), fast, rtol=1e-5)
    assert mean.shape == var.shape == fast.shape == (rows,)


def test_variance_is_never_negative():
    """A layer that is sure of its inducing outputs has none at its inducing points."""
    state = random_states.random_state(0, (1,))
    layer = dataclasses.replace(state.layers[0], q_sqrt=0.0 * state.layers[0].q_sqrt)
    state = dataclasses.replace(state, layers=(layer,), jitter=1e-12)
    _, var = CachedPredictor(state, linearise=False).latent(layer.inducing)
    assert (var >= 0.0).all()
    np.testing.assert_allclose(var, 0.0, atol=1e-8)
