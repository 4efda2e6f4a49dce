"""Droplet: a short search by another method, then coordinate descent from its best.

Canesche et al., *The Droplet Search Algorithm for Kernel Scheduling*, TACO 2024, and *Explore as a
Storm, Exploit as a Raindrop*, arXiv 2406.20037, where it follows a search: TVM's
``tune_tir(post_optimization=True)``. From a position, configurations one step away are run; the
fastest that Student's t-test tells from the position is the next one. What is ours:

- Coordinates are the inner factors of a tile, of which the outermost takes what is left, and every
  other knob. TVM steps through powers of two for each factor, whose product may miss the extent.
- Steps are taken in random order, ``plan`` before each decision, as AutoTVM's `DropletTuner` has
  batches of 16. It then goes on with longer steps until a batch is full; here the batch is smaller.
- Where no step is better, TVM ends. Here the descent starts again from the next best of the first
  search, and after these from the fastest of the others, until the budget is spent.
- A step goes on until it is another configuration: in a pool, where configurations stand for
  recorded ones, it leads to the next of these along the coordinate.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import ttest_ind

from baselines.metaschedule.tuner import MetaSchedule
from baselines.planning import Plan, PlannedTuner
from dgtl.core.records import best_trial
from dgtl.methods.base import Method, stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.core.records import Trial
    from dgtl.core.space import Configurations, DesignSpace, Knob
    from dgtl.features.problem import Problem
    from dgtl.methods.base import Tuner

DESCENT = "descent"
"""Stage of trials after the first search."""


@dataclasses.dataclass
class Droplet(Method):
    """Coordinate descent from the best of a short search.

    Args:
        first: the method that searches first.
        start: its trials; fewer where it has done.
        plan: trials between two decisions where to go on.
        pvalue: of the t-test, at most, for a step to be taken; 1 takes every faster one.

    Raises:
        ValueError: an option out of its range.
    """

    first: Method = dataclasses.field(default_factory=MetaSchedule)
    start: int = 64
    plan: int = 16
    pvalue: float = 0.05

    name = "droplet"

    def __post_init__(self) -> None:
        if min(self.start, self.plan) < 1 or not 0 < self.pvalue <= 1:
            raise ValueError(
                f"droplet start={self.start}, plan={self.plan}, pvalue={self.pvalue}: out of range"
            )

    def remarks(self, trials: int) -> list[str]:
        """Says where a budget of ``trials`` leaves nothing for the descent."""
        if trials > self.start:
            return []
        return [f"budget.trials={trials} ends within the first search: model.start={self.start}"]

    def prepare(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """What the first search learns; see `Method.prepare`."""
        self.first.prepare(sources, cache, seed)
        self.cached_training_s = self.first.cached_training_s

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> DropletTuner:
        rng = np.random.default_rng(stream(seed, 1))
        return DropletTuner(problem, rng, self, self.first.tuner(problem, stream(seed, 0)))


class DropletTuner(PlannedTuner):
    """See `Droplet`.

    Args:
        problem: the task.
        rng: the order of steps.
        options: what to do.
        first: searches first.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator, options: Droplet, first: Tuner):
        super().__init__(problem, rng, random_places=0)
        self._options = options
        self._first: Tuner | None = first
        self._trials: list[Trial] = []
        self._planned = 0
        self._position: Trial | None = None
        self._left: set[str] = set()

    def tell(self, trials: Sequence[Trial]) -> None:
        """See `dgtl.methods.base.Tuner.tell`."""
        super().tell(trials)
        self._trials += trials

    def _plan(self) -> Plan:
        told = self._trials[self._planned :]
        self._planned = len(self._trials)
        if self._first is not None:
            if told:
                self._first.tell(told)
            n = self._options.start - len(self._trials)
            configs = self._first.ask(n) if n > 0 else self.space.parse_all([])
            if len(configs):
                return Plan(configs, len(configs), self._first.stage)
            self._first = None
        return self._descend(told)

    def _descend(self, told: Sequence[Trial]) -> Plan:
        """The next steps: from where the last ones led, or from a new start."""
        best = best_trial(told)
        if self._position is None:
            self._position = self._next_start()
        elif best is not None and surely_faster(best, self._position, self._options.pvalue):
            self._position = best
        while self._position is not None:
            self._left.add(self._position.config)
            keys = self.space.keys(steps(self.space, self.space.parse(self._position.config)))
            new = list(dict.fromkeys(key for key in keys if key not in self.seen))
            if new:
                chosen = [new[i] for i in self.rng.permutation(len(new))[: self._options.plan]]
                return Plan(self.space.parse_all(chosen), len(chosen), DESCENT)
            self._position = self._next_start()
        return self.random_plan(self._options.plan)

    def _next_start(self) -> Trial | None:
        """The fastest trial of the first search that no descent stood at; after these, of all."""
        left = [trial for trial in self._trials if trial.config not in self._left]
        first = [trial for trial in left if trial.stage != DESCENT]
        return best_trial(first) or best_trial(left)


def surely_faster(trial: Trial, than: Trial, pvalue: float) -> bool:
    """Whether the mean run time is lower, and by a t-test not by chance.

    Means alone decide where one of both ran once only, or where no time varies.
    """
    new, old = np.array(trial.run_times_s), np.array(than.run_times_s)
    if new.mean() >= old.mean():
        return False
    if min(len(new), len(old)) < 2 or np.ptp(new) == np.ptp(old) == 0.0:
        return True
    return bool(ttest_ind(new, old).pvalue <= pvalue)


def steps(space: DesignSpace, config: NDArray[np.integer]) -> Configurations:
    """Configurations [M, K] one step from one [K] that may run, coordinate by coordinate."""
    here = space.key(config)
    found = []
    for i, knob in enumerate(space.knobs):
        for values in directions(knob, int(config[i])):
            line = np.tile(np.asarray(config, dtype=np.int32), (len(values), 1))
            line[:, i] = values
            line = line[space.accepts(line)]
            other = np.flatnonzero([key != here for key in space.keys(line)])
            found.append(line[other[:1]])
    return np.concatenate([space.parse_all([]), *found])


def directions(knob: Knob, option: int) -> list[list[int]]:
    """The options along each coordinate of a knob, both ways from one, nearest first.

    Of a tile, each inner factor is a coordinate, along which the other inner ones stay. Another
    knob is one coordinate, with its values in the order that they are listed.
    """
    lines = [list(range(len(knob)))]
    if knob.role == "tile":
        inner = knob.table[:, 1:]
        lines = []
        for part in range(inner.shape[1]):
            others = np.delete(inner, part, axis=1)
            line = np.flatnonzero((others == others[option]).all(axis=1))
            lines.append(line[np.argsort(inner[line, part], kind="stable")].tolist())
    found = []
    for line in lines:
        place = line.index(option)
        found += [line[:place][::-1], line[place + 1 :]]
    return [values for values in found if values]
