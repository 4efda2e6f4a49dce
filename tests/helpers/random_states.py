"""Deep GPs made up at random, and what they predict, written out with matrix inverses."""

from __future__ import annotations

import numpy as np
from sklearn.gaussian_process.kernels import RBF, Matern

from dgtl.models.deep_gp.state import DGPState, LayerState, Scaler

COLUMNS = np.array([0, 2, 3])
"""Those that the scaler keeps, of `WIDTH`."""

WIDTH = 5


def random_layer(rng: np.random.Generator, inputs: int, outputs: int, points: int) -> LayerState:
    """A layer of which no array is trivial."""
    return LayerState(
        variance=np.asarray(rng.uniform(0.5, 2.0)),
        lengthscales=rng.uniform(0.7, 2.0, size=inputs),
        inducing=rng.normal(size=(points, inputs)),
        q_mu=rng.normal(size=(points, outputs)),
        q_sqrt=np.tril(0.4 * rng.normal(size=(outputs, points, points))),
        mean_a=rng.normal(size=(inputs, outputs)),
        mean_b=rng.normal(size=outputs),
    )


def random_state(
    seed: int, widths: tuple[int, ...] = (2, 1), kernel: str = "matern52", points: int = 6
) -> DGPState:
    """A model whose layers put out ``widths``; the last of them is 1."""
    rng = np.random.default_rng(seed)
    n = len(COLUMNS)
    scaler = Scaler(
        WIDTH,
        COLUMNS,
        x_mean=rng.normal(size=n),
        x_std=rng.uniform(0.5, 2.0, size=n),
        x_range=np.array([[-4.0] * n, [4.0] * n]),
        y_mean=5.0,
        y_std=1.7,
    )
    inputs = (n, *widths[:-1])
    layers = tuple(random_layer(rng, i, o, points) for i, o in zip(inputs, widths, strict=True))
    return DGPState(layers, noise=0.07, scaler=scaler, jitter=1e-6, kernel=kernel)


def features(n: int, seed: int) -> np.ndarray:
    """Features [n, WIDTH], a few beyond the range of the source."""
    return np.random.default_rng(seed).normal(scale=2.0, size=(n, WIDTH))


def standardised(state: DGPState, x: np.ndarray) -> np.ndarray:
    """[n, WIDTH] to [n, D]: `Scaler.inputs`, column by column."""
    scaler = state.scaler
    columns = []
    for i, column in enumerate(scaler.columns):
        low, high = scaler.x_range[:, i]
        clipped = np.array([min(max(v, low), high) for v in x[:, column]])
        columns.append((clipped - scaler.x_mean[i]) / scaler.x_std[i])
    return np.stack(columns, axis=1)


def covariance(layer: LayerState, kernel: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """k(a, b) by scikit-learn."""
    kernels = {
        "matern52": lambda: Matern(length_scale=layer.lengthscales, nu=2.5),
        "rbf": lambda: RBF(length_scale=layer.lengthscales),
    }
    return float(layer.variance) * kernels[kernel]()(a, b)


def dense_layer(layer: LayerState, state: DGPState, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance [N, R] of a sparse GP (Hensman et al. 2013), unwhitened."""
    z = layer.inducing
    k_zz = covariance(layer, state.kernel, z, z) + state.jitter * np.eye(len(z))
    k_xz = covariance(layer, state.kernel, h, z)
    projection = k_xz @ np.linalg.inv(k_zz)
    chol = np.linalg.cholesky(k_zz)
    means, variances = [], []
    for r in range(layer.q_mu.shape[1]):
        root = chol @ layer.q_sqrt[r]
        means.append(projection @ (chol @ layer.q_mu[:, r]) + h @ layer.mean_a[:, r])
        reduced = np.diag(projection @ (root @ root.T - k_zz) @ projection.T)
        variances.append(float(layer.variance) + reduced)
    return np.stack(means, axis=1) + layer.mean_b, np.stack(variances, axis=1)


def dense_latent(
    state: DGPState, h: np.ndarray, *, linearise: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance [N] of f; derivatives by central differences."""
    carried: np.ndarray | None = None
    for layer in state.layers:
        mean, var = dense_layer(layer, state, h)
        if linearise and carried is not None:
            step = 1e-5
            for d in range(h.shape[1]):
                aside = np.zeros(h.shape[1])
                aside[d] = step
                up, down = (dense_layer(layer, state, h + s * aside)[0] for s in (1, -1))
                var = var + ((up - down) / (2 * step)) ** 2 * carried[:, d : d + 1]
        h, carried = mean, var
    assert carried is not None
    return h[:, 0], carried[:, 0]
