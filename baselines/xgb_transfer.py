"""Boosted trees that transfer by pooling: the control that the deep Gaussian process has to beat.

The schedule is that of `model=dgp` to the letter (`dgtl.methods.transfer.TransferTuner`); only the
model
differs: XGBoost on source and target trials together, the target weighted up. Without sources the
tuning set is random and the model knows the target alone.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dgtl.features.dataset import source_data
from dgtl.methods.transfer import BUILD_PENALTY, Transfer
from dgtl.models.base import MIN_ROWS
from dgtl.models.xgb import XGBConfig, XGBModel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.models import CostModel


@dataclasses.dataclass
class XGBTransfer(Transfer):
    """XGBoost pooled over source and target.

    Args:
        target_weight: weight of a target trial; a source trial weighs 1.
        trees: the cost model.
    """

    target_weight: float = 8.0
    trees: XGBConfig = dataclasses.field(default_factory=XGBConfig)
    build_penalty: float = BUILD_PENALTY

    name = "xgb_transfer"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target_weight <= 0:
            raise ValueError(f"{self.name}: target_weight={self.target_weight}: must be positive")
        self._source_trials = np.empty((0, 0), np.float32), np.empty(0)

    def fit_source(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> XGBModel:
        """Fits the trees to the sources; they are quick enough not to be kept."""
        features, gflops, _ = source_data(sources)
        self._source_trials = features, gflops
        model = XGBModel(self.trees)
        model.fit(features, gflops, seed=seed)
        return model

    def adapt(
        self,
        prior: CostModel | None,
        features: NDArray[np.float32],
        gflops: NDArray[np.float64],
        seed: int,
    ) -> XGBModel | None:
        """The model of source and target trials together."""
        if prior is not None:
            source, target = self._source_trials, (features, gflops)
            return XGBModel.pooled(self.trees, source, target, self.target_weight, seed=seed)
        if len(gflops) < MIN_ROWS:
            return None
        model = XGBModel(self.trees)
        model.fit(features, gflops, seed=seed)
        return model
