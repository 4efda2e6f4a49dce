"""What sources tell of a configuration beside its throughput: whether it runs, how long it builds.

On a GPU half of the random configurations fail (too many registers, too much shared memory), and a
cost model, which never sees failed trials, may well rank one of them first. On few cores building
is most of what a trial costs, and a tenth of the builds takes two fifths of it: loops unrolled so
far that the compiler has ten thousand lines to read. Code of such a size is seldom the fastest,
either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xgboost

from dgtl.models.base import MIN_SOURCE_ROWS, check_features

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

RARE = 0.01
"""With fewer failures than this among the sources, there is nothing to learn and little to lose."""

_LEAST = 1e-6
_ROUNDS = 100
_PARAMETERS = {"tree_method": "hist", "max_depth": 6, "eta": 0.1, "subsample": 0.8, "nthread": 1}


def _boosted(
    x: NDArray[np.float64], label: NDArray[np.float64], objective: str, seed: int
) -> xgboost.Booster:
    data = xgboost.QuantileDMatrix(x, label=label, nthread=1)
    parameters = {**_PARAMETERS, "objective": objective, "seed": seed}
    return xgboost.train(parameters, data, num_boost_round=_ROUNDS)


class Validity:
    """Probability that a configuration builds and runs.

    Args:
        features: [N, D] of source trials, failed ones included.
        ok: [N] whether they ran.
        seed: of the rows drawn for each tree.
    """

    def __init__(self, features: ArrayLike, ok: NDArray[np.bool_], *, seed: int) -> None:
        x = check_features(features)
        self._booster: xgboost.Booster | None = None
        if np.mean(~ok) >= RARE and ok.any():
            self._booster = _boosted(x, ok.astype(np.float64), "binary:logistic", seed)

    def probability(self, features: ArrayLike) -> NDArray[np.float64]:
        """[N] for features [N, D]; 1 where failures are rare."""
        x = check_features(features)
        if self._booster is None:
            return np.ones(len(x))
        return np.asarray(self._booster.inplace_predict(x), dtype=np.float64)

    def penalty(self, features: ArrayLike) -> NDArray[np.float64]:
        """log2 of the probability [N]: added to a mean of log2 throughput, what to rank by."""
        return np.log2(np.maximum(self.probability(features), _LEAST))


class BuildTime:
    """How much longer than others of its machine a configuration builds.

    Args:
        features: [N, D] of source trials.
        relative: [N] their build times as multiples of their machine's median; NaN: not known.
        seed: of the rows drawn for each tree.
    """

    def __init__(self, features: ArrayLike, relative: NDArray[np.float64], *, seed: int) -> None:
        x = check_features(features)
        known = np.isfinite(relative)
        self._booster: xgboost.Booster | None = None
        if known.sum() >= MIN_SOURCE_ROWS:
            label = np.log2(relative[known])
            self._booster = _boosted(x[known], label, "reg:squarederror", seed)

    def doublings(self, features: ArrayLike) -> NDArray[np.float64]:
        """How often the median must be doubled [N], for features [N, D]; 0 for all below it.

        0 throughout where too few build times are known.
        """
        x = check_features(features)
        if self._booster is None:
            return np.zeros(len(x))
        return np.maximum(self._booster.inplace_predict(x).astype(np.float64), 0.0)
