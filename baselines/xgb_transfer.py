"""Boosted trees that transfer by pooling: the control that the deep Gaussian process has to beat.

The schedule is that of `model=dgp` to the letter (`dgtl.transfer.TransferTuner`); only the model
differs: XGBoost on source and target trials together, the target weighted up. Without sources the
tuning set is random and the model knows the target alone. With ``focus`` fast trials weigh more, as
for `model=dgp`, which tells how much of that method's lead is the weights'.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from dgtl.models.base import MIN_ROWS
from dgtl.models.dgp_stacked import StackConfig
from dgtl.models.xgb import Weighted, XGBConfig, XGBModel
from dgtl.transfer import Transfer, source_data, speed_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from dgtl.history import SourceTask

TREES = StackConfig().trees
"""Those below the deep GP of `model=dgp`; no cross-validation, for only the mean is used."""


@dataclasses.dataclass
class XGBTransfer(Transfer):
    """XGBoost pooled over source and target.

    Args:
        target_weight: weight of a target trial; a source trial weighs 1.
        focus: power of a trial's share of its task's best by which it weighs (`speed_weights`).
        trees: the cost model.
    """

    target_weight: float = 8.0
    focus: float = 0.0
    trees: XGBConfig = TREES

    name = "xgb_transfer"
    _source: XGBModel | None = dataclasses.field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target_weight <= 0:
            raise ValueError(f"{self.name}: target_weight={self.target_weight}: must be positive")
        if self.focus < 0:
            raise ValueError(f"{self.name}: focus={self.focus}: not negative")
        self._trials: Weighted | None = None

    @property
    def source(self) -> XGBModel | None:
        return self._source

    def forget(self) -> None:
        self._trials, self._source = None, None

    def learn(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """Fits the trees to the sources; they are quick enough not to be kept."""
        features, gflops, owner = source_data(sources)
        weights = speed_weights(gflops, self.focus, owner)
        self._trials = features, gflops, weights
        self._source = XGBModel(self.trees)
        self._source.fit(features, gflops, seed=seed, weights=weights)

    def adapted(
        self, features: NDArray[np.float32], gflops: NDArray[np.float64], seed: int
    ) -> XGBModel | None:
        """The model of source and target trials together."""
        if self._trials is not None:
            weights = self.target_weight * speed_weights(gflops, self.focus)
            target = features, gflops, weights
            return XGBModel.pooled(self.trees, self._trials, target, seed=seed)
        if len(gflops) < MIN_ROWS:
            return None
        model = XGBModel(self.trees)
        model.fit(features, gflops, seed=seed)
        return model
