"""Which configurations run at all: boosted trees on the outcomes of source trials.

On a GPU half of the random configurations fail (too many registers, too much shared memory), and a
cost model, which never sees failed trials, may well rank one of them first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xgboost

from dgtl.models.base import check_features

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

RARE = 0.01
"""With fewer failures than this among the sources, there is nothing to learn and little to lose."""

_LEAST = 1e-6
_ROUNDS = 100
_PARAMETERS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 6,
    "eta": 0.1,
    "subsample": 0.8,
}


class Validity:
    """Probability that a configuration builds and runs.

    Args:
        features: [N, D] of source trials, failed ones included.
        ok: [N] whether they ran.
        seed: of the rows drawn for each tree.
        nthread: threads.
    """

    def __init__(
        self, features: ArrayLike, ok: NDArray[np.bool_], *, seed: int, nthread: int = 1
    ) -> None:
        x = check_features(features)
        self._booster: xgboost.Booster | None = None
        if np.mean(~ok) >= RARE and ok.any():
            data = xgboost.QuantileDMatrix(x, label=ok.astype(np.float64), nthread=nthread)
            parameters = {**_PARAMETERS, "seed": seed, "nthread": nthread}
            self._booster = xgboost.train(parameters, data, num_boost_round=_ROUNDS)

    def probability(self, features: ArrayLike) -> NDArray[np.float64]:
        """[N] for features [N, D]; 1 where failures are rare."""
        x = check_features(features)
        if self._booster is None:
            return np.ones(len(x))
        return np.asarray(self._booster.inplace_predict(x), dtype=np.float64)

    def penalty(self, features: ArrayLike) -> NDArray[np.float64]:
        """log2 of the probability [N]: added to a mean of log2 throughput, what to rank by."""
        return np.log2(np.maximum(self.probability(features), _LEAST))
