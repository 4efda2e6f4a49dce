"""AutoTVM: plans of 64 by simulated annealing on boosted trees, refitted after every plan.

Chen et al., *Learning to Optimize Tensor Programs*, NeurIPS 2018, with the constants of TVM v0.6 to
v0.16. Differences from that code: the design space and the loop features are this program's
(`dgtl.features.loop_nest.FeatureMap` takes the place of the itervar features); XGBoost is version
3, see `baselines.autotvm.cost_model` on the ranking objective.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from baselines.autotvm.cost_model import (
    OBJECTIVES,
    AutoTVMModel,
    HistoryModel,
    TreeOptions,
    knob_features,
)
from baselines.planning import Plan, PlannedTuner
from dgtl.core.records import throughput
from dgtl.features.loop_nest import FeatureMap
from dgtl.methods.base import Method
from dgtl.search.annealing import AnnealingOptions, walk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dgtl.core.history import SourceTask
    from dgtl.core.space import Configurations
    from dgtl.features.problem import Problem

MIN_RECORDS = 500
"""A history of fewer records of the same kind of layer is not learned from."""


@dataclasses.dataclass
class AutoTVM(Method):
    """AutoTVM's XGBTuner.

    Args:
        objective: ``reg``, the default since v0.14, or ``rank``, the default of v0.6 to v0.12.
        features: ``loops`` (of the loop nest) or ``knobs`` (raw option values).
        load_history: start from a model of earlier tasks of the same kind of layer, which fades as
            trials come in.
        history_rounds, history_patience: ``trees.rounds`` and ``trees.patience`` of that model.
        early_stopping: done when this many trials brought nothing better; None: never.
        plan: trials between two fits.
        epsilon: share of every plan that is random.
        annealing: the search; its chains go on from plan to plan.
        trees: the cost model.

    Raises:
        ValueError: an option that does not exist or does not fit another.
    """

    name = "autotvm"

    objective: str = "reg"
    features: str = "loops"
    load_history: bool = False
    history_rounds: int = 400
    history_patience: int = 100
    early_stopping: int | None = None
    plan: int = 64
    epsilon: float = 0.05
    annealing: AnnealingOptions = dataclasses.field(default_factory=AnnealingOptions)
    trees: TreeOptions = dataclasses.field(default_factory=TreeOptions)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"autotvm objective '{self.objective}': choose one of {OBJECTIVES}")
        if self.features not in ("loops", "knobs"):
            raise ValueError(f"autotvm features '{self.features}': choose 'loops' or 'knobs'")
        if self.load_history and self.features == "knobs":
            raise ValueError(
                "autotvm load_history=true needs features=loops: a knob's values mean something "
                "else in every task"
            )
        if self.plan < 1 or not 0 <= self.epsilon <= 1 or self.early_stopping == 0:
            raise ValueError(
                f"autotvm plan={self.plan}, epsilon={self.epsilon}, "
                f"early_stopping={self.early_stopping}: out of range"
            )
        self._history: dict[str, HistoryModel] = {}

    def prepare(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """Fits one model per kind of layer with at least 500 records; see `Method.prepare`."""
        self._history = {}
        if not self.load_history:
            return
        rng = np.random.default_rng(seed)
        trees = dataclasses.replace(
            self.trees, rounds=self.history_rounds, patience=self.history_patience
        )
        for kind in sorted({source.task.kind for source in sources}):
            same = [source for source in sources if source.task.kind == kind]
            if sum(len(source.trials) for source in same) < MIN_RECORDS:
                continue
            x = [FeatureMap(s.task, s.space)(s.space.of_trials(s.trials)) for s in same]
            y = [throughput(s.task, s.trials) for s in same]
            self._history[kind] = HistoryModel(
                trees,
                self.objective,
                np.concatenate(x),
                np.concatenate(y),
                2 * self.plan,
                int(rng.integers(2**31)),
            )

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> AutoTVMTuner:
        history = self._history.get(problem.task.kind)
        return AutoTVMTuner(problem, np.random.default_rng(seed), self, history)


class AutoTVMTuner(PlannedTuner):
    """See `AutoTVM`.

    Args:
        problem: the task.
        rng: every random choice.
        options: what to do.
        history: model of earlier tasks.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        options: AutoTVM,
        history: HistoryModel | None = None,
    ):
        super().__init__(problem, rng, int(options.epsilon * options.plan))
        self._options = options
        loops = options.features == "loops"
        self._features = problem.features if loops else knob_features(problem.space)
        self._model = AutoTVMModel(options.trees, options.objective, options.plan, history)
        self._points: Configurations | None = None

    def ask(self, n: int) -> Configurations:
        """See `dgtl.methods.base.Tuner.ask`; none after `AutoTVM.early_stopping` trials in vain."""
        limit = self._options.early_stopping
        in_vain = len(self.gflops) - (int(np.argmax(self.gflops)) if self.any_success else 0)
        if limit is not None and in_vain >= limit:
            return self.space.parse_all([])
        return super().ask(n)

    def _plan(self) -> Plan:
        plan = self._options.plan
        if self.any_success:
            features = self._features(self.configs)
            self._model.fit(features, self.gflops, seed=int(self.rng.integers(2**31)))
        elif not self._model.ready or len(self.gflops):
            # Nothing is known, or what the history said has failed altogether.
            return self.random_plan(plan)
        return self._select(self._explore(plan))

    def _score(self, configs: Configurations) -> np.ndarray:
        return self._model.score(self._features(configs))

    def _explore(self, top: int) -> Configurations:
        """The ``top`` untried configurations of the cost model, best first, by annealing.

        Those with a score below 0 are left out, as in AutoTVM.
        """
        options = dataclasses.replace(
            self._options.annealing,
            chains=min(self._options.annealing.chains, self.space.size),
        )
        result = walk(
            self.space,
            self._score,
            self.rng,
            top=top,
            options=options,
            start=self._points,
            exclude=self.seen,
        )
        self._points = result.points
        configs, scores = result.best
        return configs[scores >= 0]

    def _select(self, candidates: Configurations) -> Plan:
        """Which candidates to measure: all, as far as there is room."""
        return Plan(candidates, self._options.plan, "search")
