"""Per-task Gaussian process on the source model's residuals.

What holds for all tasks is the source model's business. What it gets wrong on one task is not
noise: neighbouring configurations are wrong together. And a model errs by a factor of two on a slow
configuration, but by a tenth on one that it takes for the task's best: nothing is much faster than
that, the machine has its limits. So the log2 throughput of task t is

    y_t(x) = f(x) + o_t + s(x) (d_t(x) + e),    o_t ~ N(0, s_o^2),  d_t ~ GP(0, s_k^2 k(x, x')),
                                                e ~ N(0, s_e^2)

with the source model f, an offset o_t and a residual d_t of its own for every task, a Matern-5/2
kernel with one length scale for each feature, and a scale s that rises from a floor to 1 as f(x)
falls below the best that f expects of the task. All of y - f is times one more scale that the
task's own trials tell: a Student-t process (Shah et al., AISTATS 2014), whose degrees of freedom
say how much tasks differ. So a task whose trials all were as expected is expected to hold no
surprise.

The hyperparameters are learned from the source tasks, each predicted by a model that had not seen
it (fit.py). On a target the posterior of d_t is in closed form (Sun et al., ICCV 2021, eq. 2, in
function space); its joint distribution over candidates says which of them are worth trying
together.
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
        floor: s where f expects the task's best.
        reach: log2 throughput below that in which s rises by 63 % of what is left to 1.
        freedom: degrees of freedom of the Student-t process, more than 2.
    """

    columns: NDArray[np.int64]
    mean: Array
    std: Array
    lengthscales: Array
    kernel_variance: float
    offset_variance: float
    noise: float
    floor: float
    reach: float
    freedom: float

    @property
    def variance(self) -> float:
        """Of a new trial, far below the best, of a task that nothing is known of."""
        return self.kernel_variance + self.offset_variance + self.noise

    def scale(self, below: Array) -> Array:
        """s [N] where the source model expects ``below`` less log2 throughput than at best [N]."""
        return 1.0 - (1.0 - self.floor) * np.exp(-np.maximum(below, 0.0) / self.reach)

    def scaled(self, features: Array) -> Array:
        """Features [N, width] in units of length scales [N, D]."""
        return (features[:, self.columns] - self.mean) / (self.std * self.lengthscales)

    def covariance(self, a: Array, b: Array, scales: tuple[Array, Array]) -> Array:
        """Prior covariance [N, M] of residuals, noise left out.

        Args:
            a, b: scaled inputs [N, D] and [M, D].
            scales: s there [N] and [M].
        """
        r2 = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * a @ b.T
        s = np.sqrt(5.0 * np.maximum(r2, 0.0))
        matern = (1.0 + s + s * s / 3.0) * np.exp(-s)
        matern *= np.outer(*scales)
        return np.asarray(self.kernel_variance * matern + self.offset_variance)

    def condition(self, features: Array, residuals: Array, below: Array) -> ResidualPosterior:
        """The posterior of a task.

        Args:
            features: of its trials [n, width].
            residuals: measured less predicted log2 throughput [n].
            below: see `scale` [n].
        """
        return ResidualPosterior(self, self.scaled(features), residuals, self.scale(below))

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
            names = ("kernel_variance", "offset_variance", "noise", "floor", "reach", "freedom")
            numbers = [float(stored[name]) for name in names]  # type: ignore[call-overload]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a residual GP ({error})") from error
        if columns.dtype.kind != "i" or any(
            array.shape != (columns.size,) for array in (columns, mean, std, lengthscales)
        ):
            raise ValueError(f"{path}: not a residual GP (shapes disagree)")
        return cls(columns, mean, std, lengthscales, *numbers)  # type: ignore[arg-type]


def condition_student(
    mean: Array, covariance: Array, values: Array, freedom: float
) -> tuple[Array, Array]:
    """Mean [N - m] and covariance [N - m, N - m] of the last of N Student-t variables.

    Given the values of the others.

    Args:
        mean: [N].
        covariance: [N, N].
        values: of the first m variables [m], which are given.
        freedom: degrees of freedom of all.
    """
    m = len(values)
    residual = values - mean[:m]
    gain = np.linalg.solve(covariance[:m, :m], covariance[:m, m:]).T
    surprise = float(residual @ np.linalg.solve(covariance[:m, :m], residual))
    left = covariance[m:, m:] - gain @ covariance[:m, m:]
    return mean[m:] + gain @ residual, scale_of(surprise, m, freedom) * left


def scale_of(surprise: float, n: int, freedom: float) -> float:
    """Factor of a Student-t process's covariance after n values.

    Args:
        surprise: their squared distance from the mean, by the inverse covariance: n in the mean.
        n: how many.
        freedom: degrees of freedom before.
    """
    return (freedom + surprise - 2.0) / (freedom + n - 2.0)


class ResidualPosterior:
    """Posterior of one task's residual from the source model.

    Args:
        process: the prior.
        inputs: [n, D] scaled inputs of the task's trials; none leaves the prior.
        residuals: [n] measured less predicted log2 throughput.
        scale: [n] of the residuals, see `ResidualGP.scale`.
    """

    def __init__(self, process: ResidualGP, inputs: Array, residuals: Array, scale: Array) -> None:
        self._process = process
        self._inputs, self._scale = inputs, scale
        gram = process.covariance(inputs, inputs, (scale, scale))
        gram[np.diag_indices_from(gram)] += process.noise * scale**2 + _JITTER
        self._factor = cho_factor(gram, lower=True)
        self._weights = cho_solve(self._factor, residuals)
        surprise = float(residuals @ self._weights)
        self._inflation = scale_of(surprise, len(residuals), process.freedom)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of new trials."""
        return self._process.freedom + len(self._inputs)

    def mean(self, features: Array, below: Array) -> Array:
        """Mean [N] at features [N, width], the source model expecting ``below`` [N]."""
        scale = self._process.scale(below)
        return np.asarray(self._cross(self._process.scaled(features), scale) @ self._weights)

    def joint(self, features: Array, below: Array) -> tuple[Array, Array]:
        """Mean [N] and covariance [N, N] of new trials, noise included; see `mean`."""
        scaled, scale = self._process.scaled(features), self._process.scale(below)
        cross = self._cross(scaled, scale)
        reduced = solve_triangular(self._factor[0], cross.T, lower=True)
        covariance = self._process.covariance(scaled, scaled, (scale, scale)) - reduced.T @ reduced
        covariance[np.diag_indices_from(covariance)] += self._process.noise * scale**2
        return cross @ self._weights, self._inflation * covariance

    def variance(self, features: Array, below: Array) -> Array:
        """Variance [N] of new trials, noise included; see `mean`."""
        process, scale = self._process, self._process.scale(below)
        cross = self._cross(process.scaled(features), scale)
        reduced = solve_triangular(self._factor[0], cross.T, lower=True)
        prior = process.kernel_variance * scale**2 + process.offset_variance
        known = np.maximum(prior - (reduced * reduced).sum(axis=0), 0.0)
        return np.asarray(self._inflation * (known + process.noise * scale**2))

    def _cross(self, scaled: Array, scale: Array) -> Array:
        return self._process.covariance(scaled, self._inputs, (scale, self._scale))
