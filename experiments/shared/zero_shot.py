"""Models of source tasks that predict tasks of which no trial was seen, and how well they do.

What `experiments.holdout` and `experiments.rmse` share: the models by name, all fitted to the same
rows of the same features, and the scores of a prediction.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dgtl.core.folds import assign_folds
from dgtl.features.dataset import layers_of, source_data
from dgtl.models.base import Prediction, check_features
from dgtl.models.deep_gp.model import DeepGP, DGPConfig
from dgtl.models.stacked import StackConfig, StackedDGP
from dgtl.models.xgb import XGBConfig, XGBModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from dgtl.core.history import SourceTask
    from dgtl.models import CostModel

EXACT_ROWS = 1000
"""Rows of the exact GP, whose cost is cubic in them."""

FOLDS = 5
"""Of source layers, for the factor between medians and means."""

FAST = 0.8
"""Quantile of a layer's throughput from which a trial is of the fastest fifth: who searches asks of
these alone."""

TOPS = (1, 10, 16)
"""Of so many top predictions the best is looked at."""

MODELS = {
    "dgp": "deep GP stacked on trees: model=dgp",
    "dgp_paper": "deep GP alone: model=dgp_paper",
    "gp_one_layer": "the same with one layer: a sparse variational GP",
    "gp_exact": f"exact GP on {EXACT_ROWS:,} rows",
    "xgb": "boosted trees: model=xgb_transfer",
    "mean": "mean of deep GP and boosted trees, each fitted alone",
}
"""What each model is, by name."""


class ExactGP:
    """An exact GP on a random subset of the rows, by scikit-learn.

    Matern 5/2 with one length scale and noise, both by maximum likelihood; columns standardised. A
    length scale for each of the 77 columns predicts new layers no better.

    Args:
        features, gflops: the trials, [N, D] and [N].
        seed: draws the rows.
    """

    def __init__(self, features: ArrayLike, gflops: ArrayLike, seed: int) -> None:
        x, y = np.asarray(features, dtype=np.float64), np.asarray(gflops, dtype=np.float64)
        rows = np.random.default_rng(seed).permutation(len(y))[:EXACT_ROWS]
        kernel = ConstantKernel(1.0) * Matern(x.shape[1] ** 0.5, (0.1, 1e3), 2.5) + WhiteKernel(0.1)
        process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
        self._model = make_pipeline(StandardScaler(), process)
        self._model.fit(x[rows], np.log2(y[rows]))

    def predict(self, features: ArrayLike) -> Prediction:
        """Predictive distribution at features [N, D]."""
        mean, std = self._model.predict(check_features(features), return_std=True)
        return Prediction(np.asarray(mean), np.asarray(std))

    def predict_mean(self, features: ArrayLike) -> NDArray[np.float64]:
        """Mean [N] of log2 throughput alone."""
        return np.asarray(self._model.predict(check_features(features)))


class Learned:
    """The models of `MODELS`, each fitted to the trials of the sources when it is first asked for.

    Args:
        sources: tasks with trials that ran.
        steps: of training deep GPs.
        seed: of every model.
    """

    def __init__(self, sources: Sequence[SourceTask], steps: int, seed: int) -> None:
        self._features, self._gflops, self._owner = source_data(sources)
        self._layer = layers_of(sources)[self._owner]
        self._steps, self._seed = steps, seed
        self._fitted: dict[str, CostModel] = {}

    @functools.cached_property
    def factor(self) -> float:
        """What 2 to the power of a prediction is multiplied by to be one in GFLOPS.

        That power is the median of a trial, and errors in GFLOPS are about the mean. By least
        squares on the sources, all layers weighing the same, each predicted by trees that were
        fitted to the others; the same for every model.
        """
        fold = assign_folds(self._layer, FOLDS, np.random.default_rng(self._seed))
        products, squares = [], []
        for number in np.unique(fold):
            known, held = fold != number, fold == number
            trees = XGBModel(XGBConfig())
            trees.fit(self._features[known], self._gflops[known], seed=self._seed)
            median, actual = np.exp2(trees.predict_mean(self._features[held])), self._gflops[held]
            for layer in np.unique(self._layer[held]):
                own = self._layer[held] == layer
                products.append(np.mean(median[own] * actual[own]))
                squares.append(np.mean(median[own] ** 2))
        return float(np.sum(products) / np.sum(squares))

    def predict(self, model: str, features: ArrayLike) -> NDArray[np.float64]:
        """Mean [N] of log2 throughput at features [N, D]."""
        if model == "mean":
            parts = [self.predict(part, features) for part in ("dgp_paper", "xgb")]
            return np.mean(parts, axis=0)
        if model not in self._fitted:
            self._fitted[model] = self._fit(model)
        return self._fitted[model].predict_mean(features)

    def _fit(self, model: str) -> CostModel:
        data, seed, network = (self._features, self._gflops), self._seed, DGPConfig
        if model == "gp_exact":
            return ExactGP(*data, seed)
        if model == "xgb":
            trees = XGBModel(XGBConfig())
            trees.fit(*data, seed=seed)
            return trees
        if model == "dgp":
            stacked = StackedDGP(network(steps=self._steps), StackConfig())
            stacked.fit(*data, seed=seed, task=self._owner, layer=self._layer)
            return stacked
        deep = DeepGP(network(steps=self._steps, layers=1 if model == "gp_one_layer" else 2))
        deep.fit(*data, seed=seed)
        return deep


def scores(
    gflops: NDArray[np.float64], log2_predicted: NDArray[np.floating], factor: float = 1.0
) -> dict[str, float]:
    """How well a prediction [N] of log2 throughput ranks and meets throughput [N].

    Args:
        gflops: measured [N].
        log2_predicted: the prediction [N].
        factor: see `Learned.factor`.
    """
    order = np.argsort(-log2_predicted, kind="stable")
    error = np.log2(gflops) - log2_predicted
    fast = gflops >= np.quantile(gflops, FAST)
    found = {
        "rmse_gflops": float(np.sqrt(np.mean((gflops - factor * np.exp2(log2_predicted)) ** 2))),
        "rmse_log2": float(np.sqrt(np.mean(error**2))),
        "rmse_log2_fast": float(np.sqrt(np.mean(error[fast] ** 2))),
        "spearman": float(spearmanr(gflops, log2_predicted)[0]),
    }
    best = gflops.max()
    return found | {f"top{n}": float(gflops[order[:n]].max() / best) for n in TOPS}
