"""Gradient-boosted trees on log2 throughput: the control that a transfer method has to beat.

AutoTVM's cost model, freed of its defects: failures are left out, the seed is explicit, and the
target is a logarithm. Trained on source and target trials together, the target weighted up, it
is the strongest simple way to transfer.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import xgboost

from dgtl.core.cores import available_cores
from dgtl.core.files import read_object
from dgtl.core.folds import assign_folds
from dgtl.models.base import Prediction, check_features, check_trials, read_config, write_config
from dgtl.models.xgb_format import checked_trees, parameters_of, trees_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_KIND = "xgb"
_TREES = "trees.json"


@dataclass(frozen=True)
class XGBConfig:
    """Hyper-parameters of the trees.

    Args:
        trees: rounds of boosting.
        depth: most splits from root to leaf.
        rate: shrinkage of each tree.
        subsample: fraction of the rows each tree sees.
        nthread: threads that fit; 0: as many as OpenMP may use. A prediction takes one: a search
            asks for a hundred rows at a time, over which threads mostly wait.
    """

    trees: int = 200
    depth: int = 6
    rate: float = 0.1
    subsample: float = 0.8
    nthread: int = 0

    def __post_init__(self) -> None:
        for name, least in (("trees", 1), ("depth", 1), ("nthread", 0)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"XGBConfig.{name} must be at least {least}, got {value}")
        for name in ("rate", "subsample"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"XGBConfig.{name} must be in (0, 1], got {getattr(self, name)}")

    @property
    def threads(self) -> int:
        """`nthread`, or as many as OpenMP may use: of a list by levels, its first."""
        openmp = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
        return self.nthread or int(openmp if openmp.isdecimal() else 0) or available_cores()


class XGBModel:
    """A cost model of boosted trees. See `dgtl.models.base.CostModel`.

    The standard deviation is the same everywhere: the weighted root mean square of residuals.

    Args:
        config: of the trees.
        error_folds: parts of the cross-validation whose residuals count; 0: those on the training
            data, which are too small but cost nothing, where only the mean is wanted.

    Raises:
        ValueError: one fold, or fewer than none.
    """

    def __init__(self, config: XGBConfig, *, error_folds: int = 0) -> None:
        if error_folds < 0 or error_folds == 1:
            raise ValueError(f"XGBModel: error_folds={error_folds} must be 0 or at least 2")
        self.config = config
        self._error_folds = error_folds
        self._booster: xgboost.Booster | None = None
        self._std = math.nan

    def fit(
        self,
        features: ArrayLike,
        gflops: ArrayLike,
        *,
        seed: int,
        weights: ArrayLike | None = None,
    ) -> None:
        """Learn from features [N, D] and throughput [N] in GFLOPS.

        Args:
            features, gflops: the trials.
            seed: of rows and folds drawn.
            weights: [N] positive weight of each trial; all equal where left out.

        Raises:
            ValueError: data that cannot be learned from, or weights that do not fit them.
        """
        x, y = check_trials(features, gflops)
        w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
        if w.shape != y.shape:
            raise ValueError(f"weights must be [{len(y)}], got shape {w.shape}")
        if not (np.isfinite(w).all() and (w > 0.0).all()):
            raise ValueError("weights must be finite and positive")
        fold_seed, row_seed = np.random.SeedSequence(seed).spawn(2)
        tree_seed = int(row_seed.generate_state(1)[0] >> 1)

        self._booster = self._boost(x, y, w, tree_seed)
        residual = y - self._raw(self._booster, x)
        if self._error_folds:
            rows = np.arange(len(y))
            fold = assign_folds(rows, self._error_folds, np.random.default_rng(fold_seed))
            for i in range(self._error_folds):
                held = fold == i
                booster = self._boost(x[~held], y[~held], w[~held], tree_seed)
                residual[held] = y[held] - self._raw(booster, x[held])
        self._std = float(np.sqrt(np.average(residual**2, weights=w)))

    @classmethod
    def pooled(
        cls,
        config: XGBConfig,
        source: tuple[ArrayLike, ArrayLike],
        target: tuple[ArrayLike, ArrayLike],
        weight: float,
        *,
        seed: int,
    ) -> Self:
        """A model of source and target trials together, each (features, throughput in GFLOPS).

        Args:
            config: of the trees.
            source, target: the trials.
            weight: of a target trial; a source trial weighs 1.
            seed: of rows drawn.
        """
        model = cls(config)
        model.fit(
            np.concatenate([source[0], target[0]]),
            np.concatenate([source[1], target[1]]),
            seed=seed,
            weights=np.repeat(
                [1.0, weight], [len(np.asarray(part[1])) for part in (source, target)]
            ),
        )
        return model

    @classmethod
    def mean_of(cls, models: Sequence[Self]) -> Self:
        """One model of all trees of fitted ``models`` that predicts the mean of their predictions.

        A search asks for a hundred rows at a time, where the call of a model costs more than its
        trees: one call for six times the trees takes half of the time of six. The standard
        deviation is the mean of theirs, no less than that of the mean's error.

        Raises:
            RuntimeError: one of them was never fitted.
        """
        documents = [json.loads(bytes(model._fitted.save_raw("json"))) for model in models]
        trees = [tree for document in documents for tree in trees_of(document)["trees"]]
        for number, tree in enumerate(trees):
            tree["id"] = number
            # The "condition" of a leaf is its value.
            tree["split_conditions"] = [
                value / len(models) if child == -1 else value
                for value, child in zip(
                    tree["split_conditions"], tree["left_children"], strict=True
                )
            ]
        merged = documents[0]
        trees_of(merged).update(
            trees=trees,
            tree_info=[0] * len(trees),
            iteration_indptr=list(range(len(trees) + 1)),
            gbtree_model_param={"num_trees": str(len(trees)), "num_parallel_tree": "1"},
        )
        base = [json.loads(parameters_of(document)["base_score"])[0] for document in documents]
        parameters_of(merged)["base_score"] = json.dumps([float(np.mean(base))])
        model = cls(models[0].config)
        model._std = float(np.mean([one._std for one in models]))
        model._booster = xgboost.Booster({"nthread": 1})
        model._booster.load_model(bytearray(json.dumps(merged).encode()))
        return model

    @property
    def width(self) -> int:
        """Columns of the features it was fitted on."""
        return int(self._fitted.num_features())

    @property
    def _fitted(self) -> xgboost.Booster:
        if self._booster is None:
            raise RuntimeError("this XGBModel was never fitted")
        return self._booster

    def predict(self, features: ArrayLike) -> Prediction:
        """Predictive distribution at features [N, D]; one standard deviation for all."""
        mean = self.predict_mean(features)
        return Prediction(mean, np.full(len(mean), self._std))

    def predict_mean(self, features: ArrayLike) -> NDArray[np.float64]:
        """Mean [N] of log2 throughput alone.

        Raises:
            ValueError: wrong width or values not finite.
            RuntimeError: the model was never fitted.
        """
        booster = self._fitted
        return self._raw(booster, check_features(features, self.width))

    def save(self, folder: Path) -> None:
        """Write trees.json (XGBoost's own format) and config.json to `folder`.

        Raises:
            RuntimeError: the model was never fitted.
        """
        booster = self._fitted
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        booster.save_model(folder / _TREES)
        content = {"config": dataclasses.asdict(self.config), "std": self._std}
        write_config(folder, _KIND, content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; predictions are equal bit for bit.

        Raises:
            ValueError: `folder` holds no such model, or a damaged one.
        """
        content = read_config(folder, _KIND)
        try:
            model = cls(XGBConfig(**content["config"]))
            model._std = float(content["std"])
            model._booster = xgboost.Booster({"nthread": 1})
            document = checked_trees(read_object(Path(folder) / _TREES))
            model._booster.load_model(bytearray(json.dumps(document).encode()))
        except (KeyError, TypeError, ValueError, xgboost.core.XGBoostError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{folder}: damaged model of boosted trees ({reason})") from error
        return model

    def _boost(
        self, x: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64], seed: int
    ) -> xgboost.Booster:
        parameters = {
            "objective": "reg:squarederror",
            "tree_method": "hist",
            "max_depth": self.config.depth,
            "eta": self.config.rate,
            "subsample": self.config.subsample,
            "nthread": self.config.nthread,
            "seed": seed,
        }
        data = xgboost.QuantileDMatrix(x, label=y, weight=w, nthread=self.config.nthread)
        booster = xgboost.train(parameters, data, num_boost_round=self.config.trees)
        booster.set_param({"nthread": 1})
        return booster

    @staticmethod
    def _raw(booster: xgboost.Booster, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(booster.inplace_predict(x), dtype=np.float64)
