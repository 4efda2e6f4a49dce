"""The deep GP that learns on top of boosted trees, and tunes itself to a task in function space.

Trees predict a layer they have never seen better than a deep GP does; the deep GP knows what trees
cannot say, how predictions move together. So the trees' prediction is one more input of the deep GP
(in training out of fold, so that it is as good as it will be on a new task), the two are averaged,
and what is still wrong is a Gaussian process of its own for each task (`residual_gp`). The trees of
all folds predict together with those of all layers: each has missed other layers, so that their
mean errs less. docs/decisions says what each part is worth on tasks left out.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from dgtl.core.folds import assign_folds
from dgtl.models.base import (
    MIN_ROWS,
    MIN_SOURCE_ROWS,
    Prediction,
    check_features,
    check_trials,
    read_config,
    write_config,
)
from dgtl.models.deep_gp.model import DeepGP, DGPConfig, training
from dgtl.models.residual_gp.gp import (
    ResidualGP,
    ResidualGPConfig,
    ResidualPosterior,
    condition_student,
)
from dgtl.models.xgb import XGBConfig, XGBModel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from dgtl.models.deep_gp.state import Array

_KIND = "stacked_dgp"


@dataclass(frozen=True)
class StackConfig:
    """What stands around the deep GP.

    Args:
        trees: the trees below it.
        folds: of source layers, for the trees' out-of-fold prediction; with those of all layers
            there is one ensemble of trees more.
        dgp_weight: of the deep GP in the mean; the rest is the trees'.
        residual: how the residual GP is learned.
    """

    trees: XGBConfig = field(default_factory=lambda: XGBConfig(trees=100, rate=0.2))
    folds: int = 5
    dgp_weight: float = 0.5
    residual: ResidualGPConfig = field(default_factory=ResidualGPConfig)

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"StackConfig.folds must be at least 2, got {self.folds}")
        if not 0.0 <= self.dgp_weight <= 1.0:
            raise ValueError(f"StackConfig.dgp_weight must be in [0, 1], got {self.dgp_weight}")


class StackedDGP:
    """A cost model of trees, a deep GP above them, and residual GPs of tasks.

    See `dgtl.models.base.CostModel`; `fit` must be told which rows belong together.
    """

    def __init__(self, network: DGPConfig, stack: StackConfig) -> None:
        self.network = network
        self.stack = stack
        self._trees = XGBModel(stack.trees)
        self._deep = DeepGP(network)
        self._residual: ResidualGP | None = None

    @property
    def residual(self) -> ResidualGP:
        """The prior of task residuals.

        Raises:
            RuntimeError: the model was never fitted.
        """
        if self._residual is None:
            raise RuntimeError("this StackedDGP was never fitted")
        return self._residual

    @property
    def width(self) -> int:
        """Columns of the features it was fitted on."""
        return self._deep.state.scaler.width - 1

    def fit(
        self,
        features: ArrayLike,
        gflops: ArrayLike,
        *,
        seed: int,
        task: NDArray[np.int64],
        layer: NDArray[np.int64],
    ) -> None:
        """Learn from features [N, D] and throughput [N] in GFLOPS of source tasks.

        Args:
            features, gflops: the trials.
            seed: same seed, same model.
            task: [N] which source task a row is of.
            layer: [N] which layer; what is of one layer is held out together.

        Raises:
            ValueError: data that cannot be learned from, see `CostModel.fit`.
        """
        x, y = check_trials(features, gflops, min_rows=MIN_SOURCE_ROWS)
        fold_seed, tree_seed, deep_seed, task_seed = np.random.SeedSequence(seed).spawn(4)
        seeds = [int(s.generate_state(1)[0] >> 1) for s in (tree_seed, deep_seed)]
        trees, unseen = self._out_of_fold(x, np.exp2(y), layer, fold_seed, seeds[0])
        self._trees = XGBModel.mean_of(trees)
        self._deep = DeepGP(self.network)
        self._deep.fit(np.column_stack([x, unseen]), np.exp2(y), seed=seeds[1])
        from dgtl.models.residual_gp.fit import fit_residual_gp

        top = np.full(int(task.max()) + 1, -np.inf)
        np.maximum.at(top, task, unseen)
        self._residual = fit_residual_gp(
            x, y - unseen, top[task] - unseen, task, self.stack.residual, task_seed
        )

    def _out_of_fold(
        self,
        x: Array,
        gflops: Array,
        layer: NDArray[np.int64],
        fold_seed: np.random.SeedSequence,
        seed: int,
    ) -> tuple[list[XGBModel], Array]:
        """Trees of each fold and of all rows, and what those that miss a row's layer predict [N].

        Where too few rows are left without a fold's layers, rows are assigned instead of layers.
        The ensembles are fitted side by side, one thread each: within one, the second thread gains
        a quarter only.
        """
        fold_of = assign_folds(layer, self.stack.folds, np.random.default_rng(fold_seed))
        if len(x) - np.bincount(fold_of).max() < MIN_ROWS:
            rows = np.arange(len(x))
            fold_of = assign_folds(rows, self.stack.folds, np.random.default_rng(fold_seed))
        n_folds = int(fold_of.max()) + 1
        single = dataclasses.replace(self.stack.trees, nthread=1)

        def fitted(fold: int) -> XGBModel:
            model, rows = XGBModel(single), fold_of != fold
            model.fit(x[rows], gflops[rows], seed=seed)
            return model

        with ThreadPoolExecutor(self.stack.trees.threads) as pool:
            pool.submit(training)  # TensorFlow is wanted next, and takes seconds to import
            trees = list(pool.map(fitted, range(n_folds + 1)))  # the last fold has no rows
        unseen = np.empty(len(x))
        for fold in range(n_folds):
            held = fold_of == fold
            unseen[held] = trees[fold].predict_mean(x[held])
        return trees, unseen

    def predict(self, features: ArrayLike) -> Prediction:
        """Predictive distribution at features [N, D] of a task that nothing is known of.

        Not even what its best is like: errors are those far below it.
        """
        mean = self.predict_mean(features)
        return Prediction(mean, np.full(len(mean), self.residual.variance**0.5))

    def predict_mean(self, features: ArrayLike) -> Array:
        """Mean [N] of log2 throughput alone.

        Raises:
            RuntimeError: the model was never fitted.
        """
        x = check_features(features, self.width)
        by_trees = self._trees.predict_mean(x)
        by_deep = self._deep.predict_mean(np.column_stack([x, by_trees]))
        weight = self.stack.dgp_weight
        return (1.0 - weight) * by_trees + weight * by_deep

    def adapt(self, features: ArrayLike, gflops: ArrayLike, like: ArrayLike) -> TunedDGP:
        """The model tuned to trials of a target: features [n, D], throughput [n] in GFLOPS.

        The maximum a posteriori of a process whose prior is centred on this model, which is left as
        it is (Sun et al. eq. 2); with n = 0 it is this model.

        Args:
            features, gflops: the trials.
            like: features of random configurations of the target [N, D]: what this model expects of
                the best of them says where it errs how much.

        Raises:
            ValueError: data that cannot be learned from.
        """
        return TunedDGP.of(self, like).adapt(features, gflops)

    def save(self, folder: Path) -> None:
        """Write the parts and config.json to `folder`."""
        folder = Path(folder)
        residual = self.residual
        folder.mkdir(parents=True, exist_ok=True)
        self._trees.save(folder / "trees")
        self._deep.save(folder / "deep")
        residual.save(folder / "residual.npz")
        write_config(folder, _KIND, {"stack": dataclasses.asdict(self.stack)})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; predictions are equal bit for bit.

        Raises:
            ValueError: `folder` holds no such model, or a damaged one.
        """
        folder = Path(folder)
        content = read_config(folder, _KIND)
        try:
            stack = dict(content["stack"])
            stack["trees"] = XGBConfig(**stack["trees"])
            stack["residual"] = ResidualGPConfig(**stack["residual"])
            config = StackConfig(**stack)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{folder}: config.json is not that of this model ({error})"
            ) from error
        deep = DeepGP.load(folder / "deep")
        model = cls(deep.config, config)
        model._deep = deep
        model._trees = XGBModel.load(folder / "trees")
        model._residual = ResidualGP.load(folder / "residual.npz")
        columns = model._residual.columns
        if model._trees.width != model.width or not all(0 <= c < model.width for c in columns):
            raise ValueError(f"{folder}: its parts are of models of other features")
        return model


class TunedDGP:
    """A source model with the residual of one task. Made by `StackedDGP.adapt`.

    Args:
        source: the source model.
        top: log2 throughput that it expects of the task's best.
        residual: posterior of the task.
        correction: of the source model, as a multiple of its throughput.
    """

    def __init__(
        self,
        source: StackedDGP,
        top: float,
        residual: ResidualPosterior,
        correction: XGBModel | None = None,
    ) -> None:
        self._source = source
        self._top = top
        self._residual = residual
        self._correction = correction

    @classmethod
    def of(
        cls, source: StackedDGP, like: ArrayLike, correction: XGBModel | None = None
    ) -> TunedDGP:
        """The source model for a task of which nothing ran.

        Args:
            source: the source model.
            like: features of random configurations of the task [N, D]: what the source model
                expects of the best of them says where it errs how much.
            correction: of the source model.
        """
        none = np.empty((0, source.width)), np.empty(0), np.empty(0)
        top = float(_expected(source, correction, check_features(like, source.width)).max())
        return cls(source, top, source.residual.condition(*none), correction)

    def adapt(self, features: ArrayLike, gflops: ArrayLike) -> TunedDGP:
        """The source model tuned to these trials of the task alone, see `StackedDGP.adapt`."""
        x, y = check_trials(features, gflops, min_rows=0)
        prior = self._prior(x) if len(y) else y
        residual = self._source.residual.condition(x, y - prior, self._top - prior)
        return TunedDGP(self._source, self._top, residual, self._correction)

    def predict(self, features: ArrayLike) -> Prediction:
        """Predictive distribution of new trials at features [N, D]."""
        x = check_features(features, self._source.width)
        prior = self._prior(x)
        below = self._top - prior
        mean = prior + self._residual.mean(x, below)
        return Prediction(mean, np.sqrt(self._residual.variance(x, below)))

    def predict_mean(self, features: ArrayLike) -> Array:
        """Mean [N] of log2 throughput alone."""
        x = check_features(features, self._source.width)
        prior = self._prior(x)
        return prior + self._residual.mean(x, self._top - prior)

    def joint(
        self, features: ArrayLike, observed: tuple[ArrayLike, ArrayLike] | None = None
    ) -> tuple[Array, Array]:
        """Mean [N] and covariance [N, N] of log2 throughput of new trials, noise included.

        Most of the noise is not of timing: it is what the features do not tell of a configuration,
        and as much worth finding as what they tell.

        Args:
            features: of the new trials [N, D].
            observed: trials made after the tuning, features [m, D] and throughput [m] in GFLOPS.

        Raises:
            ValueError: data that cannot be learned from.
        """
        x = check_features(features, self._source.width)
        later, y = (
            check_trials(*observed, min_rows=0) if observed is not None else (x[:0], np.empty(0))
        )
        x = np.concatenate([later, x])
        prior = self._prior(x)
        moved, covariance = self._residual.joint(x, self._top - prior)
        return condition_student(prior + moved, covariance, y, self._residual.freedom)

    def _prior(self, x: Array) -> Array:
        """Log2 throughput [N] that is expected at features [N, D] without a trial of the task."""
        return _expected(self._source, self._correction, x)


def _expected(source: StackedDGP, correction: XGBModel | None, x: Array) -> Array:
    """Log2 throughput [N] that a source model, corrected, expects at features [N, D]."""
    mean = source.predict_mean(x)
    return mean if correction is None else mean + correction.predict_mean(x)
