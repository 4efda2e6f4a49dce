"""MetaSchedule's cost model: deep boosted trees on throughput relative to the best.

TVM v0.27, `tvm.s_tir.meta_schedule.cost_model.XGBModel`: squared error, every trial weighted with
its own relative throughput, so that errors among the slow count little; trees are added until the
error on the training data itself stops to fall. A failed trial has throughput 0, hence no weight.

TVM describes a candidate by one row of features per block and sums the predictions of the blocks
("pack-sum"). Here a configuration is one row (`dgtl.features.loop_nest`), for which that loss is
XGBoost's own weighted squared error; a test holds that the predictions are those of TVM's class on
the same rows. TVM's seed is left out: nothing in the training is drawn.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import xgboost

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class TreeOptions:
    """Hyper-parameters of the trees; the defaults are MetaSchedule's.

    Args:
        depth, gamma, min_child_weight, rate: XGBoost's ``max_depth``, ``gamma``,
            ``min_child_weight`` and ``eta``.
        rounds: trees at most.
        patience: stop after this many rounds without a lower error.
        warm_up: trials before which nothing is predicted.
        growth: trained again when there are this share more trials than the last time.
        threads: threads of XGBoost.
    """

    depth: int = 10
    gamma: float = 0.001
    min_child_weight: float = 0.0
    rate: float = 0.2
    rounds: int = 10000
    patience: int = 50
    warm_up: int = 100
    growth: float = 0.2
    threads: int = 1


class MetaScheduleModel:
    """Ranks configurations by throughput relative to the best.

    Args:
        options: of the trees.
    """

    def __init__(self, options: TreeOptions):
        self._options = options
        self._trials = 0
        self._trained_on = 0
        self._booster: xgboost.Booster | None = None

    @property
    def ready(self) -> bool:
        """Whether it predicts: there was something to learn from, and enough of it."""
        return self._booster is not None and self._trials >= self._options.warm_up

    def update(self, features: NDArray[np.floating], gflops: NDArray[np.floating]) -> None:
        """All trials so far: features [N, D] and throughput [N] in GFLOPS, failures as 0.

        Learns from scratch, unless they are few more than the last time or none of them ran.
        """
        self._trials = len(gflops)
        few = self._trials - self._trained_on < self._options.growth * self._trained_on
        if few or not (gflops > 0).any():
            return
        self._trained_on = self._trials
        self._booster = boost(self._options, features, gflops / gflops.max())

    def score(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Throughput relative to the best [N] of features [N, D], at least 0.

        Raises:
            RuntimeError: the model is not `ready`.
        """
        if self._booster is None or not self.ready:
            raise RuntimeError("MetaSchedule's model has seen too few trials")
        return np.maximum(self._booster.inplace_predict(features), 0.0).astype(np.float64)


def boost(
    options: TreeOptions, features: NDArray[np.floating], relative: NDArray[np.floating]
) -> xgboost.Booster:
    """Trees fitted to features [N, D] and throughput relative to the best [N]."""
    data = xgboost.DMatrix(features, label=relative, weight=relative, nthread=options.threads)
    parameters = {
        "max_depth": options.depth,
        "gamma": options.gamma,
        "min_child_weight": options.min_child_weight,
        "eta": options.rate,
        "nthread": options.threads,
        "tree_method": "auto",
        "objective": "reg:squarederror",
        # Where boosting with an objective in Python, as TVM's is, starts from.
        "base_score": 0.5,
        "disable_default_eval_metric": True,
    }

    def error(predicted: NDArray[np.floating], data: xgboost.DMatrix) -> tuple[str, float]:
        """Root mean square, unweighted; six digits, as in the text that TVM reads it from."""
        miss = predicted.astype(np.float64) - data.get_label()
        return "error", round(float(np.sqrt(np.mean(miss**2))), 6)

    stop = xgboost.callback.EarlyStopping(
        rounds=options.patience, metric_name="error", data_name="train"
    )
    # All trees are kept, those after the least error too, as in TVM.
    return xgboost.train(
        parameters,
        data,
        num_boost_round=options.rounds,
        evals=[(data, "train")],
        custom_metric=error,
        callbacks=[stop],
        verbose_eval=False,
    )
