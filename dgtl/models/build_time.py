"""Which configurations take long to build: boosted trees on the build times of source trials.

On few cores building is most of what a trial costs, and a tenth of the builds takes two fifths of
it: loops unrolled so far that the compiler has ten thousand lines to read. Code of such a size is
seldom the fastest, either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xgboost

from dgtl.models.base import MIN_SOURCE_ROWS, check_features

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_ROUNDS = 100
_PARAMETERS = {"tree_method": "hist", "max_depth": 6, "eta": 0.1, "subsample": 0.8}


class BuildTime:
    """How much longer than others of its machine a configuration builds.

    Args:
        features: [N, D] of source trials.
        relative: [N] their build times as multiples of their machine's median; NaN: not known.
        seed: of the rows drawn for each tree.
        nthread: threads.
    """

    def __init__(
        self, features: ArrayLike, relative: NDArray[np.float64], *, seed: int, nthread: int = 1
    ) -> None:
        x = check_features(features)
        known = np.isfinite(relative)
        self._booster: xgboost.Booster | None = None
        if known.sum() >= MIN_SOURCE_ROWS:
            label = np.log2(relative[known])
            data = xgboost.QuantileDMatrix(x[known], label=label, nthread=nthread)
            parameters = {**_PARAMETERS, "seed": seed, "nthread": nthread}
            self._booster = xgboost.train(parameters, data, num_boost_round=_ROUNDS)

    def doublings(self, features: ArrayLike) -> NDArray[np.float64]:
        """How often the median must be doubled [N], for features [N, D]; 0 for all below it.

        0 throughout where too few build times are known.
        """
        x = check_features(features)
        if self._booster is None:
            return np.zeros(len(x))
        return np.maximum(self._booster.inplace_predict(x).astype(np.float64), 0.0)
