"""How a task departs from what other tasks taught: a Gaussian process for each task.

What holds for all tasks is the source model's business. What it gets wrong on one task is not
noise: neighbouring configurations are wrong together. So the log2 throughput of task t is

    y_t(x) = f(x) + d_t(x) + e,        d_t ~ GP(0, s_o^2 + s_k^2 k(x, x')),  e ~ N(0, s_e^2)

with the source model f and a departure d_t of its own for every task, an offset and a Matern kernel
with one length scale for each feature. Its hyperparameters are learned from the source tasks, each
predicted by a model that had not seen it. On a target the posterior of d_t is the maximum a
posteriori departure from what was known (Sun et al., ICCV 2021, eq. 2, in function space); its
joint distribution over candidates says which of them are worth trying together. There e is of
Student's t with the scale s_e: a trial that met a slow machine must not spoil its neighbours
(`reliability`).
"""

from __future__ import annotations

import dataclasses
import importlib
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.models.dgp_state import Array

_JITTER = 1e-6

_DEGREES = 4.0
"""Degrees of freedom of the noise on a target: one trial in sixty is off by four scales or more."""

_STEPS = 20
"""Most steps towards the reliability of trials; a handful is the rule."""


@dataclass(frozen=True)
class TaskConfig:
    """How the hyperparameters are learned.

    Args:
        steps: steps of Adam.
        tasks: source tasks of a step.
        rows: trials of each of them.
        learning_rate: of Adam at the first step, falling to zero along a cosine.
    """

    steps: int = 250
    tasks: int = 8
    rows: int = 96
    learning_rate: float = 0.03

    def __post_init__(self) -> None:
        for name in ("steps", "tasks", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"TaskConfig.{name} must be at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0.0:
            raise ValueError(f"TaskConfig.learning_rate must be positive: {self.learning_rate}")


@dataclass(frozen=True)
class TaskProcess:
    """The prior of departures; variances are of log2 throughput.

    Args:
        columns: [D] features that differ at all among the sources.
        mean, std: [D] standardisation of those.
        lengthscales: [D] of the standardised features.
        kernel_variance: s_k^2.
        offset_variance: s_o^2.
        noise: s_e^2.
    """

    columns: NDArray[np.int64]
    mean: Array
    std: Array
    lengthscales: Array
    kernel_variance: float
    offset_variance: float
    noise: float

    @property
    def variance(self) -> float:
        """Of a new trial of a task that nothing is known of, the source model's error included."""
        return self.kernel_variance + self.offset_variance + self.noise

    def scaled(self, features: Array) -> Array:
        """Features [N, width] in units of length scales [N, D]."""
        return (features[:, self.columns] - self.mean) / (self.std * self.lengthscales)

    def covariance(self, a: Array, b: Array) -> Array:
        """Prior covariance [N, M] of the departures at scaled inputs [N, D] and [M, D]."""
        r2 = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * a @ b.T
        s = np.sqrt(5.0 * np.maximum(r2, 0.0))
        matern = (1.0 + s + s * s / 3.0) * np.exp(-s)
        return np.asarray(self.kernel_variance * matern + self.offset_variance)

    def condition(self, features: Array, residuals: Array) -> Departure:
        """The departure of a task with log2 residuals [n] at features [n, width]."""
        return Departure(self, self.scaled(features), residuals)

    def save(self, path: Path) -> None:
        """Write the numbers as an npz."""
        np.savez_compressed(path, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path: Path) -> TaskProcess:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is missing, damaged or another's.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(
                    stored["columns"],
                    stored["mean"],
                    stored["std"],
                    stored["lengthscales"],
                    float(stored["kernel_variance"]),
                    float(stored["offset_variance"]),
                    float(stored["noise"]),
                )
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: not a process of departures ({error})") from error


def reliability(covariance: Array, residuals: Array, noise: float) -> Array:
    """How reliable each of n trials is [n]: its noise's precision, 1 being the usual one.

    Noise of Student's t is normal noise with a precision that differs from trial to trial. By
    expectation maximisation (Lange, Little and Taylor 1989, "Robust statistical modeling using the
    t distribution"); above the usual precision none is trusted.

    Args:
        covariance: prior covariance of the departures at the trials [n, n].
        residuals: measured less predicted [n].
        noise: usual variance of the noise.
    """
    found = np.ones(len(residuals))
    for _ in range(_STEPS):
        gram = covariance + np.diag(noise / found)
        weights = np.linalg.solve(gram, np.column_stack([residuals, covariance]))
        left = residuals - covariance @ weights[:, 0]
        variance = np.diag(covariance) - np.einsum("ij,ij->j", covariance, weights[:, 1:])
        squares = (left**2 + variance) / noise
        before, found = found, np.minimum((_DEGREES + 1.0) / (_DEGREES + squares), 1.0)
        if np.allclose(found, before, atol=1e-3):
            break
    return found


def conditioned(mean: Array, covariance: Array, values: Array, noise: float) -> tuple[Array, Array]:
    """Mean [N - m] and covariance [N - m, N - m] of the last of N trials, given the first m.

    Args:
        mean: of log2 throughput [N].
        covariance: of log2 throughput, noise included [N, N].
        values: log2 throughput of the first trials [m].
        noise: usual variance of the noise.
    """
    m = len(values)
    news = values - mean[:m]
    gram = covariance[:m, :m] - noise * np.eye(m)
    gram = gram + np.diag(noise / reliability(gram, news, noise))
    gain = np.linalg.solve(gram, covariance[:m, m:]).T
    return mean[m:] + gain @ news, covariance[m:, m:] - gain @ covariance[:m, m:]


class Departure:
    """Posterior of one task's departure from the source model, noise left out.

    Args:
        process: the prior.
        inputs: [n, D] scaled inputs of the task's trials; none leaves the prior.
        residuals: [n] measured less predicted log2 throughput.

    Attributes:
        reliability: of the trials [n], see there.
    """

    def __init__(self, process: TaskProcess, inputs: Array, residuals: Array) -> None:
        self._process = process
        self._inputs = inputs
        gram = process.covariance(inputs, inputs)
        noise = process.noise + _JITTER
        self.reliability = reliability(gram, residuals, noise)
        self._factor = cho_factor(gram + np.diag(noise / self.reliability), lower=True)
        self._weights = cho_solve(self._factor, residuals)

    def mean(self, features: Array) -> Array:
        """Mean [N] at features [N, width]."""
        return np.asarray(self._cross(self._process.scaled(features)) @ self._weights)

    def joint(self, features: Array) -> tuple[Array, Array]:
        """Mean [N] and covariance [N, N] at features [N, width]."""
        scaled = self._process.scaled(features)
        cross = self._cross(scaled)
        reduced = solve_triangular(self._factor[0], cross.T, lower=True)
        covariance = self._process.covariance(scaled, scaled) - reduced.T @ reduced
        return cross @ self._weights, covariance

    def variance(self, features: Array) -> Array:
        """Variance [N] at features [N, width]."""
        reduced = solve_triangular(
            self._factor[0], self._cross(self._process.scaled(features)).T, lower=True
        )
        prior = self._process.kernel_variance + self._process.offset_variance
        return np.maximum(prior - (reduced * reduced).sum(axis=0), 0.0)

    def _cross(self, scaled: Array) -> Array:
        return self._process.covariance(scaled, self._inputs)


def learn(
    features: Array,
    residuals: Array,
    task: NDArray[np.int64],
    config: TaskConfig,
    seed: np.random.SeedSequence,
) -> TaskProcess:
    """Hyperparameters that make residuals of source tasks most likely (type II maximum likelihood).

    Args:
        features: [N, width].
        residuals: [N] measured less predicted log2 throughput, by models that had not seen the
            task of the row.
        task: [N] which task a row is of.
        config: steps of the optimiser.
        seed: of the rows drawn.
    """
    train = importlib.import_module("dgtl.models.dgp_task_train")
    process: TaskProcess = train.learn(features, residuals, task, config, seed)
    return process
