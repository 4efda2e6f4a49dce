"""What a method is asked to choose from, what it chooses, and what then runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dgtl.core.space import Configurations


@dataclasses.dataclass(frozen=True)
class Observations:
    """What became known of a target since its model was tuned.

    Args:
        features: of the trials that ran since then [m, D].
        gflops: their throughput [m].
        best_gflops: best throughput of all trials so far; None before any ran.
    """

    features: NDArray[np.float32]
    gflops: NDArray[np.float64]
    best_gflops: float | None


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which of some candidates to run.

    Args:
        rows: of the candidates, in the order of running.
        log2_gflops: throughput expected of them [n].
        gain: fraction of the best latency so far that they are expected to save; None where the
            model does not say, or nothing ran so far.
    """

    rows: NDArray[np.int64]
    log2_gflops: NDArray[np.float64]
    gain: float | None = None


@dataclasses.dataclass(frozen=True)
class Batch:
    """What is to run next, in this order.

    Args:
        configs: configurations [n, K].
        predicted_gflops: throughput expected of them [n]; NaN without a model.
        gain: see `Choice`.
    """

    configs: Configurations
    predicted_gflops: NDArray[np.float64]
    gain: float | None = None

    @classmethod
    def unpredicted(cls, configs: Configurations) -> Batch:
        """Of configurations that no model chose."""
        return cls(configs, np.full(len(configs), np.nan))

    def after(self, lead: Configurations, log2_gflops: NDArray[np.float64]) -> Batch:
        """With others [m, K] ahead of it, of which so much throughput [m] is expected."""
        configs = np.concatenate([lead, self.configs])
        return Batch(configs, np.append(np.exp2(log2_gflops), self.predicted_gflops), self.gain)

    def split(self, n: int) -> tuple[Batch, Batch]:
        """The first ``n``, and the rest."""
        first = Batch(self.configs[:n], self.predicted_gflops[:n], self.gain)
        return first, Batch(self.configs[n:], self.predicted_gflops[n:], self.gain)
