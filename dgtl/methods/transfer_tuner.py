"""Stages 2 and 3 of transfer for one task, batch by batch."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dgtl.core.records import best_trial
from dgtl.methods.base import stream
from dgtl.methods.batch import Batch, Observations
from dgtl.search.annealing import anneal, untried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dgtl.core.records import Trial
    from dgtl.core.space import Configurations
    from dgtl.features.problem import Problem
    from dgtl.methods.transfer import Transfer
    from dgtl.models import CostModel


STARTS_TRIED = 0.25
"""Fraction of the chains that start at the best trials; the others start at the best predictions.
"""


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
