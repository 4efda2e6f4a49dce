"""Per-task Gaussian process on the source model's residuals.

What holds for all tasks is the source model's business. What it gets wrong on one task is not
noise: neighbouring configurations are wrong together. So the log2 throughput of task t is

    y_t(x) = f(x) + d_t(x) + e,        d_t ~ GP(0, s_o^2 + s_k^2 k(x, x')),  e ~ N(0, s_e^2)

with the source model f and a residual d_t of its own for every task, an offset and a Matern-5/2
kernel with one length scale for each feature. The hyperparameters are learned from the source
tasks, each predicted by a model that had not seen it (fit.py). On a target the posterior of d_t is
in closed form (Sun et al., ICCV 2021, eq. 2, in function space); its joint distribution over
candidates says which of them are worth trying together.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from dgtl.models.arrays import read_npz

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.models.deep_gp.state import Array

_JITTER = 1e-6


@dataclass(frozen=True)
class ResidualGPConfig:
    """How the hyperparameters are learned: fit.py.

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
                raise ValueError(
                    f"ResidualGPConfig.{name} must be at least 1, got {getattr(self, name)}"
                )
        if not self.learning_rate > 0.0:
            raise ValueError(
                f"ResidualGPConfig.learning_rate must be positive: {self.learning_rate}"
            )


@dataclass(frozen=True)
class ResidualGP:
    """The prior of task residuals; variances are of log2 throughput.

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
        """Prior covariance [N, M] of the residuals at scaled inputs [N, D] and [M, D]."""
        r2 = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * a @ b.T
        s = np.sqrt(5.0 * np.maximum(r2, 0.0))
        matern = (1.0 + s + s * s / 3.0) * np.exp(-s)
        return np.asarray(self.kernel_variance * matern + self.offset_variance)

    def condition(self, features: Array, residuals: Array) -> ResidualPosterior:
        """The posterior of a task with log2 residuals [n] at features [n, width]."""
        return ResidualPosterior(self, self.scaled(features), residuals)

    def save(self, path: Path) -> None:
        """Write the numbers as an npz."""
        np.savez_compressed(path, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path: Path) -> ResidualGP:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is missing, damaged or another's.
        """
        stored = read_npz(path)
        try:
            columns, mean, std, lengthscales = (
                stored[name] for name in ("columns", "mean", "std", "lengthscales")
            )
            names = ("kernel_variance", "offset_variance", "noise")
            numbers = [float(stored[name]) for name in names]  # type: ignore[call-overload]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a residual GP ({error})") from error
        if columns.dtype.kind != "i" or any(
            array.shape != (columns.size,) for array in (columns, mean, std, lengthscales)
        ):
            raise ValueError(f"{path}: not a residual GP (shapes disagree)")
        return cls(columns, mean, std, lengthscales, *numbers)  # type: ignore[arg-type]


def condition_gaussian(mean: Array, covariance: Array, values: Array) -> tuple[Array, Array]:
    """Mean [N - m] and covariance [N - m, N - m] of the last of N normal variables, given others.

    Args:
        mean: [N].
        covariance: [N, N].
        values: of the first m variables [m], which are given.
    """
    m = len(values)
    gain = np.linalg.solve(covariance[:m, :m], covariance[:m, m:]).T
    return mean[m:] + gain @ (values - mean[:m]), covariance[m:, m:] - gain @ covariance[:m, m:]


class ResidualPosterior:
    """Posterior of one task's residual from the source model, noise left out.

    Args:
        process: the prior.
        inputs: [n, D] scaled inputs of the task's trials; none leaves the prior.
        residuals: [n] measured less predicted log2 throughput.
    """

    def __init__(self, process: ResidualGP, inputs: Array, residuals: Array) -> None:
        self._process = process
        self._inputs = inputs
        gram = process.covariance(inputs, inputs)
        gram[np.diag_indices_from(gram)] += process.noise + _JITTER
        self._factor = cho_factor(gram, lower=True)
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
