"""One search as a curve of the network's layers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from experiments.compare.searches import COUNTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Curve:
    """One search of one layer.

    Args:
        layer, method, seed: which.
        by_trials: best so far after 1, ..., n trials [n], in GFLOPS.
        by_seconds: the same after the seconds that 1, ..., n mean trials of the layer take [n].
        trial_s: seconds of such a trial.
    """

    layer: str
    method: str
    seed: int
    by_trials: NDArray[np.float64]
    by_seconds: NDArray[np.float64]
    trial_s: float

    def row(self) -> dict[str, Any]:
        """As a line of ``tuning_set.csv``."""
        at = [n for n in COUNTS if n <= len(self.by_trials)]
        return {
            "layer": self.layer,
            "method": self.method,
            "seed": self.seed,
            **{f"best_gflops_at_{n}": round(float(self.by_trials[n - 1]), 3) for n in at},
            **{f"best_gflops_in_time_of_{n}": round(float(self.by_seconds[n - 1]), 3) for n in at},
            "trial_s": round(self.trial_s, 4),
        }
