"""Trials of a known function, and what tests ask of a deep GP that was trained on them."""

from __future__ import annotations

import numpy as np

from dgtl.models.deep_gp.model import DeepGP, DGPConfig

SMALL = DGPConfig(hidden=3, inducing=24, steps=60, batch=128)


def function(x: np.ndarray) -> np.ndarray:
    """Smooth in six inputs, with a step in the seventh."""
    smooth = np.sin(1.5 * x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] - 0.3 * x[:, 3] ** 2
    return smooth + np.tanh(x[:, 4]) + 0.4 * x[:, 5] + np.where(x[:, 6] > 0.3, 0.8, 0.0)


def trials(n: int, seed: int, *, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, 10], two columns of no use and one constant, and GFLOPS around 2**5."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 10))
    x[:, 9] = 3.0
    y = 5.0 + shift + function(x) + shift * 0.3 * x[:, 0] + 0.05 * rng.normal(size=n)
    return x, np.exp2(y)


def scaled(model: DeepGP, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Trials in the model's standardised units."""
    x, gflops = trials(n, seed)
    scaler = model.state.scaler
    return scaler.inputs(x), scaler.targets(np.log2(gflops))


def rmse(model: DeepGP, x: np.ndarray, gflops: np.ndarray) -> float:
    return float(np.sqrt(np.mean((model.predict(x).mean - np.log2(gflops)) ** 2)))


def equal(one: DeepGP, other: DeepGP) -> bool:
    a, b = one.state.arrays(), other.state.arrays()
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
