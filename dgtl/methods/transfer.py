"""The paper's three stages with any model: learn from source tasks, tune to the target, search.

Sun et al., ICCV 2021, section 3. Stage 1 is `Transfer.prepare`, stages 2 and 3 are
`dgtl.methods.transfer_tuner.TransferTuner`: the tuning set, the model tuned to it, simulated
annealing. The schedule is here, the models are in subclasses: the deep GP in dgp.py and
dgp_paper.py, the control in baselines/xgb_transfer.py.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dgtl.features.dataset import source_builds, source_outcomes
from dgtl.methods.base import Method
from dgtl.methods.batch import Choice
from dgtl.methods.transfer_tuner import TransferTuner
from dgtl.models.base import MIN_SOURCE_ROWS
from dgtl.models.outcomes import BuildTime, Validity
from dgtl.search.annealing import AnnealingOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.features.problem import Problem
    from dgtl.methods.batch import Observations
    from dgtl.models import CostModel


ANNEALING = AnnealingOptions(steps=100, temperature=0.1)
"""Short and cool, for the chains start where predictions are good already: docs/decisions."""

BUILD_PENALTY = 0.2
"""`Transfer.build_penalty` of those that count what a build costs: docs/decisions."""


@dataclasses.dataclass
class Transfer(Method):
    """The paper's three stages with any model; subclasses say which.

    Args:
        initial_set: random configurations of the target that are only predicted.
        tuning_set: how many of them are run for the transfer.
        tuning_set_by: ``model`` takes the top predictions, ``random`` any (the paper's ablation).
        final: top predictions of a search that are run.
        rounds: how often to tune the model and search; 1 is the paper's.
        annealing: the search.
        build_penalty: log2 throughput that a configuration must have more for each doubling of its
            predicted build time over the median; 0, the paper's: builds are for nothing.

    Attributes:
        source: the model of the source tasks; None if there was nothing to learn from.
        validity: which configurations run at all; None likewise.
        build_time: which take long to build; None likewise, or where it does not matter.
        hears: whether what was tried of a task's twins counts as tried of the task.
    """

    hears: ClassVar[bool] = True

    initial_set: int = 4096
    tuning_set: int = 64
    tuning_set_by: str = "model"
    final: int = 16
    rounds: int = 1
    annealing: AnnealingOptions = ANNEALING
    build_penalty: float = 0.0

    def __post_init__(self) -> None:
        if self.tuning_set_by not in ("model", "random"):
            raise ValueError(
                f"{self.name}: tuning_set_by={self.tuning_set_by}: choose model or random"
            )
        for field in ("initial_set", "tuning_set", "final"):
            if getattr(self, field) < 1:
                raise ValueError(f"{self.name}: {field}={getattr(self, field)}: at least 1")
        if self.rounds < 0:
            raise ValueError(f"{self.name}: rounds={self.rounds}: at least 0")
        if not 0.0 <= self.build_penalty < math.inf:
            raise ValueError(f"{self.name}: build_penalty={self.build_penalty}: at least 0")
        if self.initial_set < self.tuning_set:
            raise ValueError(
                f"{self.name}: initial_set={self.initial_set} is smaller than "
                f"tuning_set={self.tuning_set}"
            )
        self.source: CostModel | None = None
        self.validity: Validity | None = None
        self.build_time: BuildTime | None = None

    @property
    def planned_trials(self) -> int:
        return self.tuning_set + self.rounds * self.final

    def remarks(self, trials: int) -> list[str]:
        """Says where a budget of ``trials`` and the plan differ."""
        if trials == 0:
            return ["budget.trials=0: the model chooses every layer's schedule, unmeasured"]
        plan = f"a tuning set of {self.tuning_set} and {self.rounds} x {self.final}"
        if trials < self.tuning_set + self.final * (self.rounds > 0):
            return [f"budget.trials={trials} ends before the plan does: {plan} trials"]
        if trials > self.planned_trials:
            return [
                f"budget.trials={trials} is more than the plan, {plan} trials: "
                "budget.tuning_set, budget.final and budget.rounds make it longer"
            ]
        return []

    def prepare(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """Stage 1: learns from the sources which configurations run, how fast, and how they build.

        See `Method.prepare`; too few trials leave the method without a source.
        """
        self.source, self.validity, self.build_time, self.cached_training_s = None, None, None, 0.0
        if sum(len(source.ok_trials) for source in sources) >= MIN_SOURCE_ROWS:
            features, ran = source_outcomes(sources)
            self.validity = Validity(features, ran, seed=seed)
            if self.build_penalty > 0.0:
                self.build_time = BuildTime(features, source_builds(sources), seed=seed)
            self.source = self.fit_source(sources, cache, seed)

    @abc.abstractmethod
    def fit_source(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> CostModel:
        """The model of the sources, fitted, or loaded from the cache."""

    def prior(self, like: NDArray[np.float32]) -> CostModel | None:
        """The source model for one target; None if there was nothing to learn from.

        Args:
            like: features of random configurations of the target [N, D].
        """
        return self.source

    @abc.abstractmethod
    def adapt(
        self,
        prior: CostModel | None,
        features: NDArray[np.float32],
        gflops: NDArray[np.float64],
        seed: int,
    ) -> CostModel | None:
        """The model tuned to all trials of a target so far; None if they are too few.

        Args:
            prior: of the target.
            features, gflops: of its trials [n, D] and [n].
            seed: of what is fitted.
        """

    def shortlist_size(self, n: int) -> int:
        """How many candidates `select_batch` wants to see where ``n`` are to be run."""
        return n

    def subbatch_size(self, n: int) -> int:
        """How many of a search's ``n`` trials are settled before their outcome is looked at."""
        return n

    def select_batch(
        self,
        model: CostModel,
        features: NDArray[np.float32],
        n: int,
        observed: Observations,
        rng: np.random.Generator,
    ) -> Choice:
        """Which ``n`` of the candidates [N, D] to run: the first ones.

        Args:
            model: of the target.
            features: of candidates, by falling score.
            n: how many.
            observed: what was run since the model was tuned, and the best of all.
            rng: for methods that sample.
        """
        first = np.arange(min(n, len(features)))
        return Choice(first, model.predict_mean(features[first]))

    def score(self, model: CostModel, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What candidates [N, D] are ranked by, in log2 throughput.

        What is expected of them, whether they run, and what their building costs.
        """
        mean = model.predict_mean(features)
        return mean + self.log2_runs(features) - self.build_cost(features)

    def log2_runs(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """log2 of the probability [N] that candidates [N, D] run at all."""
        if self.validity is None:
            return np.zeros(len(features))
        return self.validity.penalty(features)

    def build_cost(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What building candidates [N, D] costs, in log2 throughput [N]."""
        if self.build_time is None:
            return np.zeros(len(features))
        return self.build_penalty * self.build_time.doublings(features)

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> TransferTuner:
        return TransferTuner(self, problem, seed)

    def choices(self, problem: Problem, seed: np.random.SeedSequence, n: int) -> list[str]:
        """The ``n`` best by the source model, annealed; see `ChoosingMethod`."""
        if self.source is None:
            raise ValueError(
                "budget.trials=0: there are no trials to learn from, and so no model that could "
                "choose: give budget.trials=N"
            )
        return problem.space.keys(TransferTuner(self, problem, seed).choices(n))
