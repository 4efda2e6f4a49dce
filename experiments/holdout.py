"""Source tasks held out in folds: which model predicts layers that it has never seen?

    python -m experiments.holdout --folds 4 --use 1

No target trial is used and no workload of a table is looked at: this is where settings of the
models are chosen. Compared are boosted trees, the deep GP, and the deep GP with one more input: the
trees' prediction, out of fold on the tasks that it is trained on. Prints the mean over held-out
tasks of rank correlation, RMSE in GFLOPS and in log2, and the best of the top 1 and top 16
predictions as fractions of the task's best.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from dgtl.features import FeatureMap
from dgtl.history import SHIPPED, History, SourceTask
from dgtl.models.dgp import DeepGP, DGPConfig
from dgtl.models.xgb import XGBConfig, XGBModel
from dgtl.transfer import source_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

TREES = XGBConfig(folds=0, nthread=4)
OUT_OF_FOLD = 5


def folds(sources: list[SourceTask], count: int, seed: int = 0) -> list[list[SourceTask]]:
    """Sources dealt to ``count`` folds; those of one shape (any number of cores) stay together."""
    shapes = sorted({source.task.shape_key for source in sources})
    order = np.random.default_rng(seed).permutation(len(shapes))
    fold_of = {shapes[shape]: place % count for place, shape in enumerate(order)}
    return [[s for s in sources if fold_of[s.task.shape_key] == k] for k in range(count)]


def out_of_fold(
    features: NDArray[np.float32], gflops: NDArray[np.float64], owner: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The trees' prediction [N] of every row by trees that have not seen its task [N]."""
    group = np.random.default_rng(1).permutation(int(owner.max()) + 1) % OUT_OF_FOLD
    predicted = np.empty(len(gflops))
    for k in range(OUT_OF_FOLD):
        held = group[owner] == k
        model = XGBModel(TREES)
        model.fit(features[~held], gflops[~held], seed=0)
        predicted[held] = model.predict_mean(features[held])
    return predicted


def scores(gflops: NDArray[np.float64], log2_predicted: NDArray[np.floating]) -> dict[str, float]:
    """How well a prediction [N] of log2 throughput ranks and meets throughput [N]."""
    order = np.argsort(-log2_predicted)
    best = gflops.max()
    return {
        "spearman": float(spearmanr(gflops, log2_predicted)[0]),
        "rmse_gflops": float(np.sqrt(np.mean((gflops - np.exp2(log2_predicted)) ** 2))),
        "rmse_log2": float(np.sqrt(np.mean((np.log2(gflops) - log2_predicted) ** 2))),
        "top1": float(gflops[order[0]] / best),
        "top16": float(gflops[order[:16]].max() / best),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--history", type=Path, default=SHIPPED)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--use", type=int, default=4, help="only the first so many folds")
    parser.add_argument("--steps", type=int, default=DGPConfig().steps)
    args = parser.parse_args()
    sources = [s for s in History.read(args.history) if s.ok_trials]
    found: dict[str, list[dict[str, float]]] = {"xgb": [], "dgp": [], "dgp on trees": []}
    parts = folds(sources, args.folds)
    for held in parts[: args.use]:
        features, gflops, owner = source_data([s for p in parts if p is not held for s in p])
        trees = XGBModel(TREES)
        trees.fit(features, gflops, seed=0)
        plain = DeepGP(DGPConfig(steps=args.steps))
        plain.fit(features, gflops, seed=0)
        stacked = DeepGP(DGPConfig(steps=args.steps))
        extra = out_of_fold(features, gflops, owner)[:, None]
        stacked.fit(np.concatenate([features, extra], axis=1), gflops, seed=0)
        for source in held:
            x, y = FeatureMap(source.task, source.space)(source.configs()), source.gflops()
            by_trees = trees.predict_mean(x)
            found["xgb"].append(scores(y, by_trees))
            found["dgp"].append(scores(y, plain.predict_mean(x)))
            x = np.concatenate([x, by_trees[:, None]], axis=1)
            found["dgp on trees"].append(scores(y, stacked.predict_mean(x)))
    for name, rows in found.items():
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        text = "  ".join(f"{key} {value:.3f}" for key, value in means.items())
        print(f"{name:14s} {len(rows)} tasks  {text}")


if __name__ == "__main__":
    main()
