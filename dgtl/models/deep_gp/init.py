"""Where training starts: inducing inputs by k-means, mean functions by linear algebra."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from dgtl.models.deep_gp.state import Array, DGPConfig, DGPState, LayerState, Scaler

_HIDDEN_SQRT = 1e-5**0.5
"""Salimbeni & Deisenroth (2017): hidden layers start all but deterministic."""

_HIDDEN_VARIANCE = 0.1
"""Of the kernels of hidden layers, beside a mean function of variance 1. Starting at 1 drowns
the linear map in the spread of 80 dimensions between inducing points: after 600 steps the error
on unseen synthetic tasks is 0.88 instead of 0.85."""

_RIDGE = 1e-3
"""For each row; features are often copies of one another."""


def _principal(h: Array, width: int) -> Array:
    """Map [D, width] onto the leading principal components, each of about unit variance.

    The identity where no dimension is lost.
    """
    inputs = h.shape[1]
    if width == inputs:
        return np.eye(inputs)
    values, vectors = np.linalg.eigh(np.cov(h, rowvar=False))
    values, vectors = values[::-1][:width], vectors[:, ::-1][:, :width]
    # The sign of an eigenvector is arbitrary and differs between LAPACKs.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(width)])
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-2 * values[0])))


def _centres(h: Array, count: int, seed: int) -> Array:
    """Inducing inputs [M, D]: centres of k-means, M at most the number of distinct rows."""
    count = min(count, len(np.unique(h, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(count, n_init=1, max_iter=50, random_state=seed).fit(h)
    return np.asarray(found.cluster_centers_, dtype=np.float64)


def initial_state(
    config: DGPConfig, scaler: Scaler, x: Array, y: Array, seed: np.random.SeedSequence
) -> DGPState:
    """Untrained model for standardised inputs x [N, D] and targets y [N].

    Hidden layers have a fixed linear mean towards the principal components, so that the layers
    behind see the data from the first step on; the last has a linear mean that is learned,
    here by least squares.
    """
    layers = []
    h = x
    for i, child in enumerate(seed.spawn(config.layers)):
        last = i == config.layers - 1
        inputs = h.shape[1]
        if last:
            gram = h.T @ h + _RIDGE * len(h) * np.eye(inputs)
            mean_a = np.linalg.solve(gram, h.T @ y)[:, None]
        else:
            mean_a = _principal(h, min(config.hidden, inputs))
        inducing = _centres(h, config.inducing, int(child.generate_state(1)[0]))
        m, outputs = len(inducing), mean_a.shape[1]
        sqrt = np.eye(m) * (1.0 if last else _HIDDEN_SQRT)
        layers.append(
            LayerState(
                variance=np.asarray(1.0 if last else _HIDDEN_VARIANCE),
                lengthscales=np.full(inputs, inputs**0.5),
                inducing=inducing,
                q_mu=np.zeros((m, outputs)),
                q_sqrt=np.repeat(sqrt[None], outputs, axis=0),
                mean_a=mean_a,
                mean_b=np.zeros(outputs),
            )
        )
        h = h @ mean_a
    return DGPState(
        tuple(layers), max(0.1, 2.0 * config.noise_floor), scaler, config.jitter, config.kernel
    )
