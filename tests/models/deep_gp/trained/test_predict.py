"""Predictions of a trained model: those of GPflux, for any batch, within what was seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from deep_gp_trials import SMALL, scaled, trials

from dgtl.models.base import Prediction
from dgtl.models.deep_gp.init import initial_state
from dgtl.models.deep_gp.layers import Network, layer_prediction
from dgtl.models.deep_gp.map import ClosedFormMAP
from dgtl.models.deep_gp.model import DeepGP
from dgtl.models.deep_gp.predict import CachedPredictor
from dgtl.models.deep_gp.state import DGPConfig, Scaler

pytestmark = pytest.mark.slow


def untrained(config: DGPConfig) -> DeepGP:
    """A model at its start, with a random q(v) so that no term of a prediction vanishes."""
    rng = np.random.default_rng(0)
    x, gflops = trials(200, 0)
    y = np.log2(gflops)
    scaler = Scaler.of(x, y)
    seed = np.random.SeedSequence(0)
    state = initial_state(config, scaler, scaler.inputs(x), scaler.targets(y), seed)
    layers = tuple(
        dataclasses.replace(
            layer,
            q_mu=rng.normal(size=layer.q_mu.shape),
            q_sqrt=np.tril(0.3 * rng.normal(size=layer.q_sqrt.shape)),
        )
        for layer in state.layers
    )
    model = DeepGP(config)
    model._hold(dataclasses.replace(state, layers=layers))
    return model


def test_posterior_mean_in_gflops_is_that_of_a_log_normal() -> None:
    draws = np.exp2(np.random.default_rng(0).normal(3.0, 0.7, size=400_000))
    predicted = Prediction(np.array([3.0]), np.array([0.7]))
    assert predicted.gflops[0] == pytest.approx(draws.mean(), rel=0.01)


@pytest.mark.parametrize("kernel", ["matern52", "rbf"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_cached_prediction_equals_gpflux(layers: int, kernel: str) -> None:
    """Means to 1e-8, variances to 1e-7, single precision to 1e-4, in standardised units."""
    config = dataclasses.replace(SMALL, layers=layers, kernel=kernel)
    model = untrained(config)
    state = model.state
    features, _ = trials(70, 2)
    h = tf.constant(state.scaler.inputs(features))
    for layer in Network(state, 200, config.noise_floor).layers:
        h, var = layer.predict(h)
    mean, cached = CachedPredictor(state, linearise=False).latent(state.scaler.inputs(features))
    np.testing.assert_allclose(mean, h[:, 0], atol=1e-8)
    np.testing.assert_allclose(cached, var[:, 0], atol=1e-7)
    np.testing.assert_allclose(
        model.predict_mean(features), model.predict(features).mean, atol=1e-4
    )


@pytest.mark.parametrize("hidden", [1, 3])
def test_a_layer_in_training_predicts_as_gpflux_does(hidden: int) -> None:
    """Means to 1e-12, variances to the single precision of their last term."""
    config = dataclasses.replace(SMALL, layers=2, hidden=hidden)
    state = untrained(config).state
    rng = np.random.default_rng(1)
    factors = [np.tril(rng.normal(size=layer.q_sqrt.shape)) for layer in state.layers]
    layers = tuple(
        dataclasses.replace(layer, q_sqrt=factor)
        for layer, factor in zip(state.layers, factors, strict=True)
    )
    h = tf.constant(state.scaler.inputs(trials(70, 2)[0]))
    for layer in Network(dataclasses.replace(state, layers=layers), 200, config.noise_floor).layers:
        mean, var = layer_prediction(layer, h)
        h, expected = layer.predict(h)
        np.testing.assert_allclose(mean, h, atol=1e-12)
        np.testing.assert_allclose(var, expected, rtol=1e-6, atol=1e-6)


def test_a_large_batch_equals_its_chunks(source: DeepGP) -> None:
    x, _ = trials(5000, 2)
    whole = source.predict(x)
    parts = [source.predict(x[i : i + 700]) for i in range(0, 5000, 700)]
    np.testing.assert_allclose(whole.mean, np.concatenate([p.mean for p in parts]), rtol=1e-12)
    np.testing.assert_allclose(whole.std, np.concatenate([p.std for p in parts]), rtol=1e-9)


def test_no_rows_give_no_predictions(source: DeepGP) -> None:
    assert source.predict(np.empty((0, 10))).std.shape == (0,)
    assert source.predict_mean(np.empty((0, 10))).shape == (0,)


def test_linearised_variance_is_that_of_samples(source: DeepGP) -> None:
    """Law of total variance over samples of the hidden layer, within a fifth in the median."""
    state = source.state
    x, _ = scaled(source, 60, 5)
    _, plain = CachedPredictor(state, linearise=False).latent(x)
    _, linear = CachedPredictor(state, linearise=True).latent(x)
    first, second = Network(state, 60, SMALL.noise_floor).layers
    mean, var = (a.numpy() for a in first.predict(tf.constant(x)))
    rng = np.random.default_rng(0)
    draws = mean + np.sqrt(var) * rng.normal(size=(300, *mean.shape))
    means, variances = second.predict(tf.constant(draws.reshape(-1, mean.shape[1])))
    sampled = means.numpy().reshape(300, -1).var(axis=0)
    sampled += variances.numpy().reshape(300, -1).mean(axis=0)
    assert (linear >= plain).all()
    assert np.median(np.abs(linear - sampled) / sampled) < 0.2


def test_a_column_constant_in_the_source_is_ignored(source: DeepGP) -> None:
    x, _ = trials(20, 1)
    moved = x.copy()
    moved[:, 9] = 1e6
    np.testing.assert_array_equal(source.predict(x).mean, source.predict(moved).mean)


def test_what_lies_beyond_the_source_counts_as_its_end(source: DeepGP) -> None:
    x, _ = trials(50, 2)
    ends = source.state.scaler.x_range
    columns = source.state.scaler.columns
    beyond = x.copy()
    beyond[:, columns[0]] = ends[1, 0] + 100.0
    at_the_end = x.copy()
    at_the_end[:, columns[0]] = ends[1, 0]
    assert np.array_equal(source.predict_mean(beyond), source.predict_mean(at_the_end))


def test_wrong_width_is_refused(source: DeepGP) -> None:
    for call in (
        lambda: source.predict(np.zeros((3, 9))),
        lambda: source.predict_mean(np.zeros((3, 9))),
        lambda: source.adapt(np.zeros((3, 9)), np.ones(3), ClosedFormMAP(), seed=0),
    ):
        with pytest.raises(ValueError, match="9 columns"):
            call()
