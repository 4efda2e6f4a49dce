"""AutoTVM's cost model: boosted trees on throughput relative to the best, or on ranks.

Chen et al., NeurIPS 2018, with the constants of TVM v0.6 to v0.16 (`xgboost_cost_model.py`): trees
of depth 3, boosted until the recall of the best stops to grow on the training data itself, from
scratch for every plan. Failures are trained on as throughput 0: that is AutoTVM's rule, which the
other models here do not follow.

``rank`` is XGBoost's pairwise objective as AutoTVM used it before XGBoost 2: one group, each trial
paired at random with one of another label, every pair of weight one. XGBoost 3 needs three switches
for that: pairs drawn by ``mean``; the normalisation of scores off (with it a smooth function was
learned to a rank correlation of 0.79 instead of 0.98); and the default metric off, which is NDCG
and refuses real-valued labels. The objective itself looks at the order of labels only, so that they
are not binned.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import xgboost

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dgtl.core.space import Configurations, DesignSpace

OBJECTIVES = ("reg", "rank")

HALF_LIFE = 64
"""Trials after which the model of the history counts half as much."""

LEAST_WEIGHT = 0.05
"""Below this weight the model of the history is dropped."""


@dataclasses.dataclass(frozen=True)
class TreeOptions:
    """Hyper-parameters of the trees; the defaults are AutoTVM's.

    Args:
        depth, rate, gamma, min_child_weight, subsample, l2, l1: XGBoost's ``max_depth``, ``eta``,
            ``gamma``, ``min_child_weight``, ``subsample``, ``lambda`` and ``alpha``.
        rounds: trees at most.
        patience: stop after this many rounds without a better average recall.
        threads: threads of XGBoost.
    """

    depth: int = 3
    rate: float = 0.3
    gamma: float = 1e-4
    min_child_weight: float = 1.0
    subsample: float = 1.0
    l2: float = 1.0
    l1: float = 0.0
    rounds: int = 8000
    patience: int = 20
    threads: int = 1


class HistoryModel:
    """What earlier tasks say: a booster whose margin others start from.

    Args:
        options: of the trees.
        objective: ``reg`` or ``rank``.
        features, gflops: the trials [N, D], [N], failures as 0.
        recall_at: how many of the best the recall looks at.
        seed: of XGBoost.
    """

    def __init__(
        self,
        options: TreeOptions,
        objective: str,
        features: NDArray[np.floating],
        gflops: NDArray[np.floating],
        recall_at: int,
        seed: int,
    ):
        self._booster = _boost(
            options,
            objective,
            _matrix(options, objective, features, gflops, None),
            options.rounds,
            options.patience,
            recall_at,
            seed,
        )

    def margin(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Untransformed prediction [N] for features [N, D]."""
        return np.asarray(self._booster.inplace_predict(features, predict_type="margin"))


class AutoTVMModel:
    """Ranks configurations by expected throughput.

    Args:
        options: of the trees.
        objective: ``reg`` or ``rank``.
        recall_at: how many of the best the recall looks at: the size of a plan.
        history: model of earlier tasks, if any; its margin counts 2^(-n/64) after n trials and
            nothing below 0.05.
    """

    def __init__(
        self,
        options: TreeOptions,
        objective: str,
        recall_at: int,
        history: HistoryModel | None = None,
    ):
        self._options = options
        self._objective = objective
        self._recall_at = recall_at
        self._history = history
        self._weight = 1.0
        self._booster: xgboost.Booster | None = None

    @property
    def ready(self) -> bool:
        """Whether there is anything to predict from: trials, or a model of the history."""
        return self._booster is not None or self._history is not None

    def fit(
        self, features: NDArray[np.floating], gflops: NDArray[np.floating], *, seed: int
    ) -> None:
        """Learn from scratch from features [N, D] and throughput [N] in GFLOPS, failures as 0.

        Raises:
            ValueError: no trial ran.
        """
        if not (gflops > 0).any():
            raise ValueError("AutoTVM's model needs a trial that ran")
        self._weight = 0.5 ** (len(gflops) / HALF_LIFE)
        if self._weight < LEAST_WEIGHT:
            self._history = None
        order = np.random.default_rng(seed).permutation(len(gflops))
        x, y = features[order], gflops[order]
        data = _matrix(self._options, self._objective, x, y, self._base_margin(x))
        self._booster = _boost(
            self._options,
            self._objective,
            data,
            self._options.rounds,
            self._options.patience,
            self._recall_at,
            seed,
        )

    def score(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Score [N] of features [N, D], higher is better; with ``reg``, throughput / best."""
        margin = self._base_margin(features)
        if self._booster is None:
            if margin is None:
                raise RuntimeError("AutoTVM's model was never fitted")
            return margin.astype(np.float64)
        scores = self._booster.inplace_predict(features, predict_type="margin", base_margin=margin)
        return np.asarray(scores, dtype=np.float64)

    def _base_margin(self, features: NDArray[np.floating]) -> NDArray[np.float32] | None:
        return None if self._history is None else self._weight * self._history.margin(features)


def knob_features(space: DesignSpace) -> Callable[[Configurations], NDArray[np.float32]]:
    """AutoTVM's ``knob`` features: the raw value of every knob, a tile's parts side by side [N, D].

    The outermost part of a tile is its extent here; AutoTVM writes -1 there.
    """
    tables = [knob.table.astype(np.float32) for knob in space.knobs]

    def features(configs: Configurations) -> NDArray[np.float32]:
        return np.concatenate([table[configs[:, i]] for i, table in enumerate(tables)], axis=1)

    return features


def average_recall(predicted: NDArray[np.floating], labels: NDArray[np.floating], n: int) -> float:
    """Mean over i = 1..n of the share of the i best by prediction that are among the i best."""
    count = len(labels)
    place = np.empty((2, count), dtype=np.int64)
    for row, values in zip(place, (predicted, labels), strict=True):
        row[np.argsort(-values, kind="stable")] = np.arange(count)
    # An item is among the i best of both orders as soon as i exceeds both of its places.
    common = np.cumsum(np.bincount(place.max(axis=0), minlength=count))
    return float(np.mean((common / np.arange(1, count + 1))[:n]))


def _matrix(
    options: TreeOptions,
    objective: str,
    features: NDArray[np.floating],
    gflops: NDArray[np.floating],
    margin: NDArray[np.floating] | None,
) -> xgboost.DMatrix:
    labels = gflops / max(gflops.max(), 1e-8)
    data = xgboost.DMatrix(features, label=labels, base_margin=margin, nthread=options.threads)
    if objective == "rank":
        data.set_group([len(labels)])
    return data


def _boost(
    options: TreeOptions,
    objective: str,
    data: xgboost.DMatrix,
    rounds: int,
    patience: int,
    recall_at: int,
    seed: int,
) -> xgboost.Booster:
    parameters = {
        "max_depth": options.depth,
        "eta": options.rate,
        "gamma": options.gamma,
        "min_child_weight": options.min_child_weight,
        "subsample": options.subsample,
        "lambda": options.l2,
        "alpha": options.l1,
        "nthread": options.threads,
        "seed": seed,
        # What XGBoost chose by itself for data of this size in AutoTVM's time.
        "tree_method": "exact",
        "base_score": 0.5,
        "disable_default_eval_metric": True,
        "objective": "reg:squarederror",
    }
    if objective == "rank":
        parameters |= {
            "objective": "rank:pairwise",
            "lambdarank_pair_method": "mean",
            "lambdarank_num_pair_per_sample": 1,
            "lambdarank_normalization": False,
            "lambdarank_score_normalization": False,
        }

    def recall(predicted: NDArray[np.floating], data: xgboost.DMatrix) -> tuple[str, float]:
        return "recall", average_recall(predicted, data.get_label(), recall_at)

    stop = xgboost.callback.EarlyStopping(
        rounds=patience, metric_name="recall", data_name="train", maximize=True
    )
    # All trees are kept, those after the best recall too, as AutoTVM did.
    return xgboost.train(
        parameters,
        data,
        num_boost_round=rounds,
        evals=[(data, "train")],
        custom_metric=recall,
        callbacks=[stop],
        verbose_eval=False,
    )
