"""The paper's method: learn from source tasks, carry over to the target, search with the model.

Sun et al., ICCV 2021, section 3. Stage 1 is `Transfer.prepare`, stages 2 and 3 are `TransferTuner`:
the tuning set, the model tuned to it, simulated annealing. The schedule is here, the models are in
subclasses: the deep GP in dgtl/methods/dgp.py, the control in baselines/xgb_transfer.py.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dgtl.core.records import best_trial
from dgtl.features.dataset import source_outcomes
from dgtl.methods.base import Method, stream
from dgtl.models.base import MIN_SOURCE_ROWS
from dgtl.models.validity import Validity
from dgtl.search.annealing import AnnealingOptions, anneal, untried

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from dgtl.core.history import SourceTask
    from dgtl.core.records import Trial
    from dgtl.core.space import Configurations
    from dgtl.features.problem import Problem


class Estimator(Protocol):
    """What stands in for the hardware: any model with a mean."""

    def predict_mean(self, features: ArrayLike) -> NDArray[np.float64]:
        """Mean [N] of log2 throughput (GFLOPS) at features [N, D]."""
        ...


@dataclasses.dataclass(frozen=True)
class Told:
    """What became known of a target since its model was tuned.

    Args:
        features: of the trials that ran since then [m, D].
        gflops: their throughput [m].
        best_gflops: best throughput of all trials so far; None before any ran.
    """

    features: NDArray[np.float32]
    gflops: NDArray[np.float64]
    best_gflops: float | None


ANNEALING = AnnealingOptions(steps=100, temperature=0.1)
"""Short and cool, for the chains start where predictions are good already: docs/findings.md."""

STARTS_TRIED = 0.25
"""Share of the chains that start at the best trials; the others start at the best predictions."""


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
    """

    initial_set: int = 4096
    tuning_set: int = 64
    tuning_set_by: str = "model"
    final: int = 16
    rounds: int = 1
    annealing: AnnealingOptions = ANNEALING

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
        if self.initial_set < self.tuning_set:
            raise ValueError(
                f"{self.name}: initial_set={self.initial_set} is smaller than "
                f"tuning_set={self.tuning_set}"
            )
        self.validity: Validity | None = None

    @property
    def planned_trials(self) -> int:
        return self.tuning_set + self.rounds * self.final

    @property
    @abc.abstractmethod
    def source(self) -> Estimator | None:
        """The model of the source tasks; None if there was nothing to learn from."""

    def prepare(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """Stage 1: learns from the sources which configurations run, and how fast.

        See `Method.prepare`; too few trials leave the method without a source.
        """
        self.validity = None
        self.forget()
        if sum(len(source.ok_trials) for source in sources) >= MIN_SOURCE_ROWS:
            self.validity = Validity(*source_outcomes(sources), seed=seed)
            self.learn(sources, cache, seed)

    @abc.abstractmethod
    def forget(self) -> None:
        """Drops what was learned from earlier sources."""

    @abc.abstractmethod
    def learn(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """Fits the model of the sources, or loads it from the cache."""

    @abc.abstractmethod
    def adapted(
        self, features: NDArray[np.float32], gflops: NDArray[np.float64], seed: int
    ) -> Estimator | None:
        """The model tuned to all trials of the target so far; None if they are too few."""

    def shortlist(self, n: int) -> int:
        """How many candidates `choose` wants to see where ``n`` are to be run."""
        return n

    def portion(self, n: int) -> int:
        """How many of a search's ``n`` trials `choose` settles before it is told how they did."""
        return n

    def choose(
        self,
        model: Estimator,
        features: NDArray[np.float32],
        n: int,
        told: Told,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Which ``n`` of the candidates [N, D] to run, in the order of running: the first ones.

        Args:
            model: of the target.
            features: of candidates, by falling score.
            n: how many.
            told: what was run since the model was tuned, and the best of all.
            rng: for methods that sample.

        Returns:
            Rows [min(n, N)] and the log2 throughput expected of them [min(n, N)].
        """
        first = np.arange(min(n, len(features)))
        return first, model.predict_mean(features[first])

    def score(self, model: Estimator, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What candidates [N, D] are ranked by: expected log2 throughput, and whether they run."""
        mean = model.predict_mean(features)
        return mean if self.validity is None else mean + self.validity.penalty(features)

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> TransferTuner:
        return TransferTuner(self, problem, seed)


@dataclasses.dataclass
class _Plan:
    """What is left of a stage.

    Args:
        model: as it was tuned when the stage began; None: the first candidates are run.
        candidates: not run yet, by falling score [N, K].
        left: how many more of them are to run; no more than there are.
        begin: number of the stage's first trial.
    """

    model: Estimator | None
    candidates: Configurations
    left: int
    begin: int

    def __post_init__(self) -> None:
        self.left = min(self.left, len(self.candidates))


class TransferTuner:
    """Stages 2 and 3 for one task: tuning set, then rounds of search with the tuned model.

    Args:
        method: the schedule and the model.
        problem: the task.
        seed: of every random choice; methods that differ in their model only draw the same
            initial set from the same seed.
    """

    def __init__(self, method: Transfer, problem: Problem, seed: np.random.SeedSequence):
        self._method = method
        self._problem = problem
        self._rng = np.random.default_rng(stream(seed, 0))
        self._search_rng = np.random.default_rng(stream(seed, 1))
        self._model_seed = int(stream(seed, 2).generate_state(1)[0])
        self._trials: list[Trial] = []
        self._initial_set = problem.space.sample_distinct(self._rng, method.initial_set)
        self._plan: _Plan | None = None
        self._queue = self._initial_set[:0]
        self._predicted_gflops = np.empty(0)
        self._round = 0
        self.stage = "tuning_set"
        self.predicted_gflops = np.empty(0)

    def ask(self, n: int) -> Configurations:
        """The next ``n`` of what the stage has to run; a new search once that is empty."""
        if len(self._queue) == 0:
            self._refill()
        batch, self._queue = self._queue[:n], self._queue[n:]
        self.predicted_gflops, self._predicted_gflops = np.split(
            self._predicted_gflops, [len(batch)]
        )
        return batch

    def tell(self, trials: Sequence[Trial]) -> None:
        self._trials += trials

    def _refill(self) -> None:
        """Chooses what to run next, in the plan of the stage or in that of a new search."""
        if self._plan is None:
            self._plan = self._tuning_set()
        elif self._plan.left == 0 and self._round < self._method.rounds:
            self._round += 1
            self.stage = f"search_{self._round}"
            self._plan = self._search()
        plan, method = self._plan, self._method
        if plan.model is None:
            chosen, log2_gflops = np.arange(plan.left), np.full(plan.left, np.nan)
        else:
            # A tuning set is chosen at once: it is there to teach the model, not to win.
            n = plan.left if self._round == 0 else method.portion(plan.left)
            features = self._problem.features(plan.candidates)
            configs, gflops = self._ran(plan.begin)
            best = best_trial(self._trials)
            best_gflops = None if best is None else self._problem.gflops(best)
            told = Told(self._problem.features(configs), gflops, best_gflops)
            chosen, log2_gflops = method.choose(plan.model, features, n, told, self._search_rng)
        plan.left -= len(chosen)
        self._queue, self._predicted_gflops = plan.candidates[chosen], np.exp2(log2_gflops)
        plan.candidates = np.delete(plan.candidates, chosen, axis=0)

    def _tuning_set(self) -> _Plan:
        method = self._method
        source = method.source
        if source is None or method.tuning_set_by == "random":
            return _Plan(None, self._initial_set, method.tuning_set, 0)
        shortlist = method.shortlist(method.tuning_set)
        return _Plan(source, self._ranked(source)[:shortlist], method.tuning_set, 0)

    def _search(self) -> _Plan:
        space, method = self._problem.space, self._method
        configs, gflops = self._ran(0)
        model = method.adapted(self._problem.features(configs), gflops, self._model_seed)
        seen = {trial.config for trial in self._trials}
        begin = len(self._trials)
        if model is None:
            candidates = space.parse_all(untried(space, self._search_rng, method.final, seen))
            return _Plan(None, candidates, method.final, begin)
        tried = configs[np.argsort(-gflops, kind="stable")]
        tried = tried[: round(STARTS_TRIED * method.annealing.chains)]
        found, _ = anneal(
            space,
            lambda batch: method.score(model, self._problem.features(batch)),
            self._search_rng,
            top=method.shortlist(method.final),
            options=method.annealing,
            start=np.concatenate([tried, self._ranked(model)])[: method.annealing.chains],
            exclude=seen,
        )
        return _Plan(model, found, method.final, begin)

    def _ranked(self, model: Estimator) -> Configurations:
        """The initial set by falling score."""
        scores = self._method.score(model, self._problem.features(self._initial_set))
        return self._initial_set[np.argsort(-scores, kind="stable")]

    def _ran(self, begin: int) -> tuple[Configurations, NDArray[np.float64]]:
        """Configurations [m, K] and throughput [m] of what ran, from trial number ``begin`` on."""
        ran = [trial for trial in self._trials[begin:] if trial.ok]
        configs = self._problem.space.parse_all([trial.config for trial in ran])
        return configs, np.array([self._problem.gflops(trial) for trial in ran])
