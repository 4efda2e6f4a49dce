"""Where training starts: whitened components, least squares, centres among the data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgtl.models.deep_gp import init
from dgtl.models.deep_gp.init import initial_state
from dgtl.models.deep_gp.predict import CachedPredictor
from dgtl.models.deep_gp.state import DGPConfig, Scaler

few = settings(max_examples=5, deadline=None)
seeds = st.integers(0, 2**32)
CONFIG = DGPConfig(layers=3, hidden=2, inducing=5)


def data(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, Scaler]:
    """Standardised inputs [n, 4] that are not independent, targets and their scaler."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)) @ rng.normal(size=(4, 4)) + rng.normal(size=4)
    y = x[:, 0] - 2.0 * x[:, 2] + rng.normal(size=n)
    scaler = Scaler.of(x, y)
    return scaler.inputs(x), scaler.targets(y), scaler


def start(seed: int, config: DGPConfig = CONFIG):
    x, y, scaler = data(seed)
    return x, y, initial_state(config, scaler, x, y, np.random.SeedSequence(seed))


@few
@given(seeds, st.integers(1, 3))
def test_principal_components_have_unit_variance_and_are_uncorrelated(seed, width):
    rng = np.random.default_rng(seed)
    # Variances of 1, 4, 9 and 16, so that none is too small to be scaled up.
    basis = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    h = rng.normal(size=(200, 4)) * np.arange(1.0, 5.0) @ basis
    projected = h @ init._principal(h, width)
    np.testing.assert_allclose(
        np.atleast_2d(np.cov(projected, rowvar=False)), np.eye(width), atol=1e-9
    )
    # The leading ones: what they leave of the variance is that of the smallest eigenvalues.
    centred, scores = h - h.mean(axis=0), projected - projected.mean(axis=0)
    rest = centred - scores @ np.linalg.lstsq(scores, centred, rcond=None)[0]
    smallest = np.linalg.svd(centred, compute_uv=False)[width:] ** 2
    assert (rest**2).sum() == pytest.approx(smallest.sum(), rel=1e-6)


def test_a_component_of_no_variance_is_not_blown_up():
    """What varies by less than a hundredth of the first counts as a hundredth."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(500, 3)) * [1.0, 1e-4, 1e-5]
    mapped = init._principal(h, 2)
    first = np.cov(h, rowvar=False)[0, 0]
    np.testing.assert_allclose(
        np.linalg.norm(mapped, axis=0), [first**-0.5, (1e-2 * first) ** -0.5]
    )


def test_sign_of_a_component_is_that_of_its_largest_entry():
    h = np.random.default_rng(1).normal(size=(50, 4)) * [1.0, 2.0, 3.0, 4.0]
    mapped = init._principal(h, 3)
    assert (mapped[np.abs(mapped).argmax(axis=0), np.arange(3)] > 0).all()


def test_where_no_dimension_is_lost_the_map_is_the_identity():
    h = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_array_equal(init._principal(h, 3), np.eye(3))


@few
@given(seeds)
def test_the_last_mean_function_is_ridge_regression(seed):
    x, y, state = start(seed)
    h = x
    for layer in state.layers[:-1]:
        h = h @ layer.mean_a
    n, d = h.shape
    # A ridge of 1e-3 a row, as rows of least squares of their own.
    rows = np.concatenate([h, np.sqrt(1e-3 * n) * np.eye(d)])
    expected = np.linalg.lstsq(rows, np.concatenate([y, np.zeros(d)]), rcond=None)[0]
    np.testing.assert_allclose(state.layers[-1].mean_a[:, 0], expected, rtol=1e-8)


@few
@given(seeds)
def test_shapes_and_values_are_those_that_training_starts_from(seed):
    x, _, state = start(seed)
    inputs, widths = (4, 2, 2), (2, 2, 1)
    assert len(state.layers) == 3
    for i, layer in enumerate(state.layers):
        last = i == 2
        d, r = inputs[i], widths[i]
        assert layer.inducing.shape == (5, d)
        assert layer.mean_a.shape == (d, r)
        np.testing.assert_array_equal(layer.lengthscales, np.full(d, d**0.5), strict=True)
        np.testing.assert_array_equal(layer.q_mu, np.zeros((5, r)))
        np.testing.assert_array_equal(layer.mean_b, np.zeros(r), strict=True)
        assert layer.variance == (1.0 if last else 0.1)
        scale = 1.0 if last else 1e-5**0.5
        np.testing.assert_allclose(layer.q_sqrt, np.repeat(scale * np.eye(5)[None], r, axis=0))
    assert (state.noise, state.jitter, state.kernel) == (0.1, CONFIG.jitter, CONFIG.kernel)
    # Nothing is known: the prediction is the linear one, its variance that of the last kernel.
    mean, var = CachedPredictor(state, linearise=False).latent(x)
    linear = x @ state.layers[0].mean_a @ state.layers[1].mean_a @ state.layers[2].mean_a
    np.testing.assert_allclose(mean, linear[:, 0], atol=1e-10)
    np.testing.assert_allclose(var, 1.0, atol=1e-4)


def test_noise_starts_above_its_floor():
    _, _, state = start(0, dataclasses.replace(CONFIG, noise_floor=0.3))
    assert state.noise == pytest.approx(0.6)


def test_inducing_inputs_are_centres_of_clusters_and_no_more_than_rows():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    h = np.concatenate([c + 0.01 * rng.normal(size=(20, 2)) for c in centres])
    found = init._centres(h, 3, seed=0)
    np.testing.assert_allclose(sorted(found.tolist()), sorted(centres.tolist()), atol=0.02)
    repeated = np.repeat(centres, 4, axis=0)
    assert sorted(init._centres(repeated, 100, seed=0).tolist()) == sorted(centres.tolist())


def test_same_seed_same_start():
    config = dataclasses.replace(CONFIG, inducing=12)
    one, same = start(0, config)[2], start(0, config)[2]
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(same.arrays()[name], array)
    x, y, scaler = data(0)
    other = initial_state(config, scaler, x, y, np.random.SeedSequence(1))
    assert not np.array_equal(other.layers[0].inducing, one.layers[0].inducing)
