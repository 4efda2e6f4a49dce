"""The paper's three stages with any model: learn from source tasks, tune to the target, search.

Sun et al., ICCV 2021, section 3. Stage 1 is `Transfer.prepare`, stages 2 and 3 are `TransferTuner`:
the tuning set, the model tuned to it, simulated annealing. The schedule is here, the models are in
subclasses: the deep GP in dgp.py and dgp_paper.py, the control in baselines/xgb_transfer.py.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dgtl.core.records import best_trial
from dgtl.features.dataset import source_builds, source_outcomes
from dgtl.methods.base import Method, stream
from dgtl.models.base import MIN_SOURCE_ROWS
from dgtl.models.build_time import BuildTime
from dgtl.models.validity import Validity
from dgtl.search.annealing import AnnealingOptions, anneal, untried

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.core.records import Trial
    from dgtl.core.space import Configurations
    from dgtl.features.problem import Problem
    from dgtl.models import CostModel


@dataclasses.dataclass(frozen=True)
class Observations:
    """What became known of a target since its model was tuned.

    Args:
        features: of the trials that ran since then [m, D].
        gflops: their throughput [m].
        best_gflops: best throughput of all trials so far; None before any ran.
    """

    features: NDArray[np.float32]
    gflops: NDArray[np.float64]
    best_gflops: float | None


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which of some candidates to run.

    Args:
        rows: of the candidates, in the order of running.
        log2_gflops: throughput expected of them [n].
        gain: fraction of the best latency so far that they are expected to save; None where the
            model does not say, or nothing ran so far.
    """

    rows: NDArray[np.int64]
    log2_gflops: NDArray[np.float64]
    gain: float | None = None


@dataclasses.dataclass(frozen=True)
class Batch:
    """What is to run next, in this order.

    Args:
        configs: configurations [n, K].
        predicted_gflops: throughput expected of them [n]; NaN without a model.
        gain: see `Choice`.
    """

    configs: Configurations
    predicted_gflops: NDArray[np.float64]
    gain: float | None = None

    @classmethod
    def unpredicted(cls, configs: Configurations) -> Batch:
        """Of configurations that no model chose."""
        return cls(configs, np.full(len(configs), np.nan))

    def after(self, lead: Configurations, log2_gflops: NDArray[np.float64]) -> Batch:
        """With others [m, K] ahead of it, of which so much throughput [m] is expected."""
        configs = np.concatenate([lead, self.configs])
        return Batch(configs, np.append(np.exp2(log2_gflops), self.predicted_gflops), self.gain)

    def split(self, n: int) -> tuple[Batch, Batch]:
        """The first ``n``, and the rest."""
        first = Batch(self.configs[:n], self.predicted_gflops[:n], self.gain)
        return first, Batch(self.configs[n:], self.predicted_gflops[n:], self.gain)


@dataclasses.dataclass
class Round:
    """One search of a task.

    Args:
        model: tuned to the trials before; None where they were too few.
        since: number of the first observation that the model has not seen.
        candidates: the best by the model that were not run yet, by falling score [N, K].
        left: trials that are still to be made of it.
        lead: keys of what is run ahead of the candidates: the best of a twin, if any.
    """

    model: CostModel | None
    since: int
    candidates: Configurations
    left: int
    lead: list[str] = dataclasses.field(default_factory=list)


ANNEALING = AnnealingOptions(steps=100, temperature=0.1)
"""Short and cool, for the chains start where predictions are good already: docs/decisions."""

STARTS_TRIED = 0.25
"""Fraction of the chains that start at the best trials; the others start at the best predictions.
"""

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
        self._search_rng = np.random.default_rng(stream(seed, 1))
        self._model_seed = int(stream(seed, 2).generate_state(1)[0])
        self._gain_seed = stream(seed, 3)
        self._initial_set = problem.space.sample_distinct(
            np.random.default_rng(stream(seed, 0)), method.initial_set
        )
        self._prior = method.prior(problem.features(self._initial_set))
        self._trials: list[Trial] = []
        self._observed: list[Trial] = []  # those of twins, too
        self._pending = Batch.unpredicted(self._initial_set[:0])
        self._began = False
        self._rounds = 0  # those begun
        self._round: Round | None = None
        self.stage = "tuning_set"
        self.predicted_gflops = self._pending.predicted_gflops

    def ask(self, n: int) -> Configurations:
        """The next ``n`` of the batch at hand; of the next one once that is empty."""
        if len(self._pending.configs) == 0:
            self._pending = self._next_batch(n)
        batch, self._pending = self._pending.split(n)
        self.predicted_gflops = batch.predicted_gflops
        return batch.configs

    def tell(self, trials: Sequence[Trial]) -> None:
        self._trials += trials
        self._observed += trials

    def hear(self, trials: Sequence[Trial]) -> None:
        """Trials of a twin: see `HearingTuner`."""
        if self._method.hears:
            self._observed += trials

    def know(self, trials: Sequence[Trial]) -> None:
        """Trials from before: what they taught need not be in the tuning set."""
        self.tell(trials)
        tried = {trial.config for trial in trials}
        keys = self._problem.space.keys(self._initial_set)
        self._initial_set = self._initial_set[[key not in tried for key in keys]]

    def choices(self, n: int) -> Configurations:
        """What the source model, of which there must be one, expects to be fastest [<=n, K]."""
        assert self._prior is not None, "only a source model chooses"
        return self._annealed(self._prior, n, self._initial_set[:0])

    def expected_gain(self, n: int) -> float | None:
        """Fraction of the best latency that the next ``n`` trials are expected to save.

        Where the next search is still to be made, what the last one left tells: less than it will
        find. None where nothing is known.
        """
        if len(self._pending.configs) > 0:
            return self._pending.gain
        if self._round is None or self._round.model is None:
            return None
        if self._round.left > 0:
            self._pending = self._next_batch(n)
            return self._pending.gain
        rng = np.random.default_rng(self._gain_seed)
        return self._selected(self._round, n, rng)[0].gain

    def _next_batch(self, n: int) -> Batch:
        """What to run now that all before it was told; empty when the last round is over.

        Args:
            n: most configurations that are to be chosen at once in a search.
        """
        if not self._began:
            self._began = True
            missing = self._method.tuning_set - sum(trial.ok for trial in self._observed)
            if missing > 0:
                return self._tuning_set(missing)
        if self._round is None or self._round.left == 0:
            if self._rounds == self._method.rounds:
                return Batch.unpredicted(self._initial_set[:0])
            self._rounds += 1
            self.stage = f"search_{self._rounds}"
            self._round = self._search()
        search = self._round
        if search.model is None:
            tried = {trial.config for trial in self._trials}
            keys = untried(self._problem.space, self._search_rng, search.left, tried)
            search.left = 0
            return Batch.unpredicted(self._problem.space.parse_all(keys))
        lead, search.lead = self._problem.space.parse_all(search.lead), []
        n = min(n, search.left, len(lead) + len(search.candidates))
        n = self._method.subbatch_size(n)
        batch, search.candidates = self._selected(search, n - len(lead), self._search_rng)
        search.left = search.left - n if len(search.candidates) else 0
        return batch.after(lead, search.model.predict_mean(self._problem.features(lead)))

    def _tuning_set(self, n: int) -> Batch:
        """Stage 2: which ``n`` of the initial set to run.

        All at once: a tuning set is there to teach the model, not to win.
        """
        method, prior = self._method, self._prior
        if prior is None or method.tuning_set_by == "random":
            return Batch.unpredicted(self._initial_set[:n])
        candidates = self._ranked(prior)[: method.shortlist_size(n)]
        self._round = Round(prior, 0, candidates, left=0)
        batch, self._round.candidates = self._selected(self._round, n, self._search_rng)
        return batch

    def _search(self) -> Round:
        """Stage 3: the model tuned to all it was told and heard, and the winners of annealing."""
        method = self._method
        configs, gflops = self._ran(since=0)
        features = self._problem.features(configs)
        model = method.adapt(self._prior, features, gflops, self._model_seed)
        search = Round(model, len(self._observed), self._initial_set[:0], method.final)
        if model is None:
            return search
        fastest = configs[np.argsort(-gflops, kind="stable")]
        fastest = fastest[: round(STARTS_TRIED * method.annealing.chains)]
        search.lead = self._heard_best()
        n = method.shortlist_size(method.final)
        search.candidates = self._annealed(model, n, fastest, search.lead)
        return search

    def _heard_best(self) -> list[str]:
        """The key of the best trial of twins, if it is untried and beats those of this task."""
        best = best_trial(self._observed)
        if best is None or best.config in {trial.config for trial in self._trials}:
            return []
        return [best.config]

    def _annealed(
        self, model: CostModel, n: int, start: Configurations, others: Sequence[str] = ()
    ) -> Configurations:
        """The ``n`` best that annealing met and that were not run, best first.

        Args:
            model: whose score it climbs.
            n: how many.
            start: where some chains start; the others do at the best predictions.
            others: keys that are not wanted either.
        """
        method = self._method
        candidates, _ = anneal(
            self._problem.space,
            lambda batch: method.score(model, self._problem.features(batch)),
            self._search_rng,
            top=n,
            options=method.annealing,
            start=np.concatenate([start, self._ranked(model)])[: method.annealing.chains],
            exclude={*others, *(trial.config for trial in self._trials)},
        )
        return candidates

    def _selected(
        self, search: Round, n: int, rng: np.random.Generator
    ) -> tuple[Batch, Configurations]:
        """``n`` of the candidates of a search, and those that are left."""
        assert search.model is not None, "only a model selects"
        configs, gflops = self._ran(search.since)
        best = best_trial(self._trials)
        observed = Observations(
            self._problem.features(configs),
            gflops,
            None if best is None else self._problem.gflops(best),
        )
        features = self._problem.features(search.candidates)
        choice = self._method.select_batch(search.model, features, n, observed, rng)
        batch = Batch(search.candidates[choice.rows], np.exp2(choice.log2_gflops), gain=choice.gain)
        return batch, np.delete(search.candidates, choice.rows, axis=0)

    def _ranked(self, model: CostModel) -> Configurations:
        """The initial set by falling score."""
        scores = self._method.score(model, self._problem.features(self._initial_set))
        return self._initial_set[np.argsort(-scores, kind="stable")]

    def _ran(self, since: int) -> tuple[Configurations, NDArray[np.float64]]:
        """Configurations [m, K] and throughput [m] of what ran, from observation ``since`` on."""
        ran = [trial for trial in self._observed[since:] if trial.ok]
        configs = self._problem.space.of_trials(ran)
        return configs, np.array([self._problem.gflops(trial) for trial in ran])
