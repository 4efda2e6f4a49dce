"""GGA-style, reconstructed: a genetic algorithm that starts from the history and asks a surrogate.

Mu et al., *A History-Based Auto-Tuning Framework for Fast and High-Performance DNN Design on GPU*,
DAC 2020. Public is only that it builds on TVM's genetic and XGBoost tuners and uses the tuning
history; population sizes, operators and the form of the history are not. What follows is our
reconstruction from that and from TVM's `GATuner`, and its results are not GGA's:

1. The nearest source tasks of the same kind of layer, by the log2 distance of their shapes, give
   their best configurations; transplanted to the target (`transplant`) they are half of the first
   generation, the other half is random.
2. Boosted trees on the trials of these tasks and of the target rate offspring; generations are
   bred inside of that surrogate and only the best of all offspring are measured.
3. Selection by roulette, one-point crossover, mutation of every knob with probability 0.1, and
   three elites that stay parents, as in `GATuner`.
4. It ends after three generations without anything better.

``history`` and ``surrogate`` turn the two additions off one at a time; without both it is `GATuner`
on this program's design spaces, but for one thing: a child that was measured before is not measured
again.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from baselines.planning import Plan, PlannedTuner
from dgtl.features.dataset import source_data
from dgtl.methods.base import Method
from dgtl.models.base import MIN_ROWS
from dgtl.models.xgb import XGBConfig, XGBModel
from dgtl.search.annealing import Best

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.core.knob import Knob
    from dgtl.core.records import Task
    from dgtl.core.space import Configurations, DesignSpace
    from dgtl.features.problem import Problem

SURROGATE = XGBConfig()


@dataclasses.dataclass
class GGA(Method):
    """GGA-style tuner, reconstructed.

    Args:
        history: seed the first generation from source tasks and show the surrogate their trials.
        surrogate: breed inside of a cost model instead of measuring every child.
        population: configurations measured per generation.
        elites: best configurations so far that stay parents.
        mutation: probability that a knob takes a random value.
        n_sources: nearest source tasks to learn from.
        transplanted: share of the first generation that comes from them.
        generations: bred inside of the surrogate between two measured ones.
        offspring: per generation inside of the surrogate.
        survivors: of parents and offspring, those that breed the next generation there.
        epsilon: share of every measured generation that is random, with ``surrogate``.
        patience: done after this many measured generations without anything better; None: never.
        trees: the surrogate.
    """

    name = "GGA-style, reconstructed"

    history: bool = True
    surrogate: bool = True
    population: int = 64
    elites: int = 3
    mutation: float = 0.1
    n_sources: int = 3
    transplanted: float = 0.5
    generations: int = 8
    offspring: int = 1500
    survivors: int = 256
    epsilon: float = 0.05
    patience: int | None = 3
    trees: XGBConfig = SURROGATE

    def __post_init__(self) -> None:
        counts = (self.population, self.n_sources, self.generations, self.offspring)
        if min(*counts, self.survivors) < 1 or self.elites < 0 or self.patience == 0:
            raise ValueError(f"gga: counts out of range: {self}")
        for option in ("mutation", "transplanted", "epsilon"):
            if not 0 <= getattr(self, option) <= 1:
                raise ValueError(f"gga {option}={getattr(self, option)}: must be in 0..1")
        self._sources: tuple[SourceTask, ...] = ()

    def prepare(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """Keeps the sources: which ones are used depends on the target; see `Method.prepare`."""
        self._sources = tuple(s for s in sources if s.ok_trials) if self.history else ()

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> GGATuner:
        sources = nearest(self._sources, problem.task, self.n_sources)
        return GGATuner(problem, np.random.default_rng(seed), self, sources)


class GGATuner(PlannedTuner):
    """See `GGA`.

    Args:
        problem: the task.
        rng: every random choice.
        options: what to do.
        sources: the tasks to learn from, nearest first.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        options: GGA,
        sources: Sequence[SourceTask],
    ):
        random_places = int(options.epsilon * options.population) if options.surrogate else 0
        super().__init__(problem, rng, random_places)
        self._options = options
        self._sources = sources
        self._source_data: tuple[NDArray[np.float32], NDArray[np.float64]] | None = None
        if sources and options.surrogate:
            self._source_data = source_data(sources)[:2]
        self._begin = 0

    def _plan(self) -> Plan:
        options = self._options
        last = slice(self._begin, None)
        self._begin = len(self.gflops)
        if len(self.gflops) == 0 and self._sources:
            seeds = self._seeds(round(options.transplanted * options.population))
            return Plan(seeds, options.population, "seed")
        if not self.any_success:
            return self.random_plan(options.population)
        if options.patience is not None and self._generations_in_vain() >= options.patience:
            return self.random_plan(0)

        elites = np.argsort(-self.gflops, kind="stable")[: options.elites]
        parents = np.concatenate([self.configs[last], self.configs[elites]])
        fitness = np.concatenate([self.gflops[last], self.gflops[elites]])
        model = self._fit() if options.surrogate else None
        if model is None:
            # Enough children that a generation is full after those measured before are gone.
            children = self._breed(parents, fitness, 4 * options.population)
        else:
            children = self._evolve(model, parents, fitness)
        return Plan(children, options.population, "search")

    def _generations_in_vain(self) -> int:
        """Measured generations since the best configuration was found."""
        return (len(self.gflops) - 1 - int(np.argmax(self.gflops))) // self._options.population

    def _seeds(self, n: int) -> Configurations:
        """At most ``n`` configurations [<=n, K] of the sources, their best first, in turns."""
        ranked = [s.configs()[np.argsort(-s.gflops(), kind="stable")[:n]] for s in self._sources]
        seeds = [
            transplant(source.space, configs[place], self.space, self.rng)
            for place in range(n)
            for source, configs in zip(self._sources, ranked, strict=True)
            if place < len(configs)
        ]
        return self.space.unique(np.array(seeds, dtype=np.int32))[:n]

    def _fit(self) -> XGBModel | None:
        """The surrogate on sources and target; None while there are too few trials."""
        ran = self.gflops > 0
        features = [self.problem.features(self.configs[ran])]
        gflops = [self.gflops[ran]]
        if self._source_data is not None:
            features.append(self._source_data[0])
            gflops.append(self._source_data[1])
        if sum(map(len, gflops)) < MIN_ROWS:
            return None
        model = XGBModel(self._options.trees)
        seed = int(self.rng.integers(2**31))
        model.fit(np.concatenate(features), np.concatenate(gflops), seed=seed)
        return model

    def _evolve(
        self, model: XGBModel, parents: Configurations, fitness: NDArray[np.float64]
    ) -> Configurations:
        """The best untried offspring [<=population, K] of some generations in the surrogate."""
        options = self._options
        best = Best(self.space, options.population, self.seen)
        for _ in range(options.generations):
            children = self._breed(parents, fitness, options.offspring)
            scores = model.predict_mean(self.problem.features(children))
            best.add(children, scores)
            pool = np.concatenate([parents, children])
            pool_fitness = np.concatenate([fitness, np.exp2(scores)])
            _, first = np.unique(pool, axis=0, return_index=True)
            first = first[np.argsort(-pool_fitness[first], kind="stable")[: options.survivors]]
            parents, fitness = pool[first], pool_fitness[first]
        return best.ranked()[0]

    def _breed(
        self, parents: Configurations, fitness: NDArray[np.float64], n: int
    ) -> Configurations:
        """Children [n, K] of parents [M, K] that are chosen by fitness [M]."""
        weights = fitness / max(float(fitness.max()), 1e-8) + 1e-8
        first = self.rng.choice(len(parents), size=n, p=weights / weights.sum())
        second = self.rng.choice(len(parents), size=n, p=weights / weights.sum())
        # Two different parents, where there are two.
        second = np.where(first == second, (second + 1) % len(parents), second)
        n_knobs = len(self.space.knobs)
        cut = self.rng.integers(n_knobs, size=(n, 1))
        children = np.where(np.arange(n_knobs) < cut, parents[first], parents[second])
        mutated = self.rng.random(children.shape) < self._options.mutation
        return np.where(mutated, self.space.sample(self.rng, n), children)


def nearest(sources: Sequence[SourceTask], task: Task, n: int) -> list[SourceTask]:
    """The ``n`` sources of the same kind that are nearest by `shape_vector`, nearest first."""
    own = shape_vector(task)
    same = [
        (float(np.linalg.norm(shape_vector(source.task) - own)), source.task.key, i)
        for i, source in enumerate(sources)
        if source.task.kind == task.kind and len(source.task.axes) == len(task.axes)
    ]
    return [sources[i] for _, _, i in sorted(same)[:n]]


def shape_vector(task: Task) -> NDArray[np.float64]:
    """log2 of every axis' extent, of the largest stride of the data, and of the cores."""
    strides = [c for row in task.accesses[0].strides for c in row]
    values = [axis.extent for axis in task.axes] + [max([1, *strides]), task.hardware.num_cores]
    return np.log2(np.array(values, dtype=np.float64))


def transplant(
    source: DesignSpace,
    config: NDArray[np.integer],
    target: DesignSpace,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """The configuration [K] of ``target`` that is most like one [K'] of ``source``.

    Knob by knob, by name; see `most_like`. A knob that the source lacks takes a random value.
    """
    values = source.values(config)
    planted = target.sample(rng, 1)[0]
    for i, knob in enumerate(target.knobs):
        value = values.get(knob.name)
        if value is not None and len(value) == knob.table.shape[1]:
            planted[i] = most_like(knob, value)
    return planted


def most_like(knob: Knob, value: tuple[int, ...]) -> int:
    """The option of a knob nearest to the ``value`` of another, by the last part of it first.

    A tile so keeps its inner factors as far as they divide the new extent: each becomes the nearest
    one in log2 that the factors inside of it leave possible, the smaller of two; the outermost
    takes the rest. Of single values the nearest is taken.
    """
    table = knob.table
    if knob.role != "tile":
        return int(np.abs(table[:, 0] - value[0]).argmin())
    # Rounded, so that 3 and 12 are equally far from 6.
    distance = np.abs(np.log2(table / np.array(value))).round(9)
    order = [
        column for part in range(1, len(value)) for column in (table[:, part], distance[:, part])
    ]
    return int(np.lexsort(order)[0]) if order else 0
