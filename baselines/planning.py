"""The loop that the baselines share: plan a set, measure it, learn from it, plan the next.

AutoTVM's `ModelBasedTuner` in the words of `dgtl.methods.base`: a plan is worked off in as many
batches as the budget asks for; its last places go to random configurations (epsilon-greedy);
nothing is measured twice; the next plan is made when the last one is measured. Planning happens in
`ask`, where the loop counts its seconds as search time.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dgtl.search.annealing import untried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dgtl.core.records import Trial
    from dgtl.core.space import Configurations
    from dgtl.features.problem import Problem


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to measure next.

    Args:
        configs: proposals [M, K], best first; those tried before are skipped.
        size: how many to measure in all; random configurations make up what proposals lack.
            0 says that the tuner is done.
        stage: what the proposals are for; kept with the trials.
    """

    configs: Configurations
    size: int
    stage: str


class PlannedTuner(abc.ABC):
    """A `dgtl.methods.base.Tuner` that proposes plan by plan.

    Args:
        problem: the task.
        rng: every random choice.
        random_places: how many of the last places of every plan are random.

    Attributes:
        configs: configurations told so far [N, K].
        gflops: their throughput [N]; 0 for failures, which is AutoTVM's rule.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator, random_places: int):
        self.problem = problem
        self.space = problem.space
        self.rng = rng
        self.stage = "random"
        self.configs: Configurations = problem.space.parse_all([])
        self.gflops: NDArray[np.float64] = np.empty(0)
        self.seen: set[str] = set()
        self._random_places = random_places
        self._queue: Configurations = problem.space.parse_all([])

    @abc.abstractmethod
    def _plan(self) -> Plan:
        """The next plan, now that all of the last one was told."""

    @property
    def any_success(self) -> bool:
        """Whether any trial ran."""
        return bool((self.gflops > 0).any())

    def random_plan(self, size: int) -> Plan:
        """A plan of random configurations only."""
        return Plan(self.space.parse_all([]), size, "random")

    def ask(self, n: int) -> Configurations:
        """See `dgtl.methods.base.Tuner.ask`. Never reaches over the end of a plan."""
        if len(self._queue) == 0 and len(self.seen) < self.space.size:
            plan = self._plan()
            self.stage = plan.stage
            self._queue = self._fill(plan)
        batch, self._queue = self._queue[:n], self._queue[n:]
        return batch

    def tell(self, trials: Sequence[Trial]) -> None:
        """See `dgtl.methods.base.Tuner.tell`."""
        configs = self.space.of_trials(trials)
        gflops = [self.problem.gflops(trial) if trial.ok else 0.0 for trial in trials]
        self.configs = np.concatenate([self.configs, configs])
        self.gflops = np.concatenate([self.gflops, np.array(gflops, dtype=np.float64)])

    def _fill(self, plan: Plan) -> Configurations:
        """The plan with its random places [<=size, K]; all of it counts as seen from now on."""
        possible = plan.configs[self.space.accepts(plan.configs)]
        keys = dict.fromkeys(k for k in self.space.keys(possible) if k not in self.seen)
        chosen = list(keys)[: max(plan.size - self._random_places, 0)]
        self.seen.update(chosen)
        random = untried(self.space, self.rng, plan.size - len(chosen), self.seen)
        self.seen.update(random)
        return self.space.parse_all([*chosen, *random])
