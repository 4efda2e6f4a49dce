"""Boosted trees that transfer by pooling: the control that the deep Gaussian process has to beat.

The schedule is that of the DGTL tuner: a random initial set is predicted by a model of the source
tasks, its top is measured as the tuning set, the model is fitted again and annealing proposes what
to measure next. Only the model differs: XGBoost on source and target trials together, the target
weighted up. Without sources the tuning set is random and the model knows the target alone.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from baselines.planning import Plan, PlannedTuner, source_trials, stream
from dgtl.models.base import MIN_ROWS
from dgtl.models.xgb import XGBConfig, XGBModel
from dgtl.search import AnnealingOptions, anneal
from dgtl.tuner import Method

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.history import SourceTask
    from dgtl.space import Configurations
    from dgtl.tuner import Problem

TREES = XGBConfig(trees=600, depth=6, rate=0.03, folds=0)
"""Without cross-validation: only the mean is used."""


@dataclasses.dataclass
class XGBTransfer(Method):
    """XGBoost pooled over source and target.

    Args:
        initial_set: random configurations that are only predicted.
        tuning_set: those of them with the top predictions, measured first.
        final: configurations measured at the end of every search.
        rounds: of fitting, annealing and measuring.
        target_weight: weight of a target trial; a source trial weighs 1.
        annealing: the search.
        trees: the cost model.
    """

    name = "xgb_transfer"

    initial_set: int = 4096
    tuning_set: int = 64
    final: int = 16
    rounds: int = 1
    target_weight: float = 8.0
    annealing: AnnealingOptions = dataclasses.field(default_factory=AnnealingOptions)
    trees: XGBConfig = TREES

    def __post_init__(self) -> None:
        if not 1 <= self.tuning_set <= self.initial_set or self.final < 1 or self.rounds < 0:
            raise ValueError(f"xgb_transfer: counts out of range: {self}")
        if self.target_weight <= 0:
            raise ValueError(f"xgb_transfer target_weight={self.target_weight}: must be positive")
        self._data: tuple[NDArray[np.float32], NDArray[np.float64]] | None = None
        self._model: XGBModel | None = None

    @property
    def planned_trials(self) -> int:
        return self.tuning_set + self.rounds * self.final

    def prepare(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """Fits the model of the sources; see `Method.prepare`."""
        self._data = self._model = None
        useful = [source for source in sources if source.ok_trials]
        if sum(len(source.ok_trials) for source in useful) < MIN_ROWS:
            return
        self._data = source_trials(useful)
        self._model = XGBModel(self.trees)
        self._model.fit(*self._data, seed=seed)

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> XGBTransferTuner:
        return XGBTransferTuner(problem, seed, self, self._data, self._model)


class XGBTransferTuner(PlannedTuner):
    """See `XGBTransfer`.

    Args:
        problem: the task.
        seed: of every random choice; the same seed draws the same initial set in the DGTL tuner.
        options: what to do.
        source: features [N, D] and throughput [N] of the source trials.
        model: fitted on them.
    """

    def __init__(
        self,
        problem: Problem,
        seed: np.random.SeedSequence,
        options: XGBTransfer,
        source: tuple[NDArray[np.float32], NDArray[np.float64]] | None,
        model: XGBModel | None,
    ):
        super().__init__(problem, np.random.default_rng(stream(seed, 1)), random_places=0)
        self._initial_rng = np.random.default_rng(stream(seed, 0))
        self._model_seed = int(stream(seed, 2).generate_state(1)[0])
        self._options = options
        self._source = source
        self._model = model
        self._round = 0

    def _plan(self) -> Plan:
        options = self._options
        if len(self.gflops) == 0:
            return self._tuning_set()
        if self._round >= options.rounds:
            return self.random_plan(0)
        self._round += 1
        model = self._fit()
        if model is None:
            return self.random_plan(options.final)
        configs, _ = anneal(
            self.space,
            lambda configs: model.predict_mean(self.problem.features(configs)),
            self.rng,
            top=options.final,
            options=options.annealing,
            start=self.configs[np.argsort(-self.gflops, kind="stable")],
            exclude=self.seen,
        )
        return Plan(configs, options.final, f"search_{self._round}")

    def _tuning_set(self) -> Plan:
        options = self._options
        if self._model is None:
            return dataclasses.replace(self.random_plan(options.tuning_set), stage="tuning_set")
        initial: Configurations = self.space.sample_distinct(self._initial_rng, options.initial_set)
        scores = self._model.predict_mean(self.problem.features(initial))
        top = np.argsort(-scores, kind="stable")[: options.tuning_set]
        return Plan(initial[top], options.tuning_set, "tuning_set")

    def _fit(self) -> XGBModel | None:
        """The model of source and target trials; None while there are too few of both."""
        ran = self.gflops > 0
        features, gflops, weights = [], [], []
        if ran.any():
            features.append(self.problem.features(self.configs[ran]))
            gflops.append(self.gflops[ran])
            weights.append(np.full(int(ran.sum()), self._options.target_weight))
        if self._source is not None:
            features.append(self._source[0])
            gflops.append(self._source[1])
            weights.append(np.ones(len(self._source[1])))
        if sum(map(len, gflops)) < MIN_ROWS:
            return None
        model = XGBModel(self._options.trees)
        model.fit(
            np.concatenate(features),
            np.concatenate(gflops),
            seed=self._model_seed,
            weights=np.concatenate(weights),
        )
        return model
