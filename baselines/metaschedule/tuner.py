"""MetaSchedule: evolution of tile sizes inside of a cost model of boosted trees.

Shao et al., *Tensor Program Optimization with Probabilistic Programs*, NeurIPS 2022, as in TVM
v0.27: the search is `EvolutionarySearch` with the mutators of a target, the model `XGBModel`. The
code here is ours, for TVM's own walks traces and needs a program that TVM can build for every step,
which recorded tables and imported logs do not have; so the same search runs on live design spaces
and on tables, and builder, runner, clock and budget are those of every method. TVM's are the
constants (a test reads them off the installed TVM), the steps of the search, the way a tile is
mutated and the loss (`baselines.metaschedule.cost_model`). What differs:

- Features are `dgtl.features.loop_nest`, one row per configuration, instead of TVM's per-store
features.
- Random configurations are uniform over the options of each knob; TVM deals prime factors out to
  the loops. A sketch is drawn with them and never mutated, as in TVM.
- Configurations are known by their knobs, TVM's by the program that results.
- TVM tries to mutate up to ten times until its post-processors accept the result. Here a try has
  failed when nothing has changed: the space has no such knob or, in a pool, the nearest row is the
  old one. ``init_min_unmeasured`` and ``max_fail_count`` have no use: drawing never fails.
- Scores are random until 100 trials are told, as in TVM, but from the tuner's own generator.
- Where TVM gives up after five rounds without a new candidate, random ones take their places.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from baselines.metaschedule.cost_model import MetaScheduleModel, TreeOptions
from baselines.planning import Plan, PlannedTuner
from dgtl.methods.base import Method

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dgtl.core.knob import Knob
    from dgtl.core.space import Configurations, DesignSpace
    from dgtl.features.problem import Problem

MUTATORS: dict[str, dict[str, float]] = {
    "llvm": {"TileSize": 0.9, "ComputeLocation": 0.05, "Unroll": 0.03, "Parallel": 0.02},
    "cuda": {"TileSize": 0.9, "Unroll": 0.08, "ThreadBinding": 0.02},
}
"""Weight of each mutator by `Hardware.kind`; that of LLVM serves kinds not listed."""

ROLES: dict[str, tuple[str, ...]] = {
    "TileSize": ("tile", "vector_load"),
    "ComputeLocation": ("location",),
    "Unroll": ("unroll", "unroll_explicit", "other"),
    "Parallel": (),
    "ThreadBinding": (),
}
"""Roles of the knobs that a mutator changes. How far to parallelise and the threads of an untiled
nest are no knobs here."""


@dataclasses.dataclass(frozen=True)
class MetaSchedule(Method):
    """MetaSchedule's evolutionary search.

    Args:
        plan: trials between two searches.
        population: configurations per generation.
        measured: largest share of the first generation that are the best trials so far.
        generations: bred from the first one.
        mutate: probability that a child is mutated; else it is its parent, once per parent.
        tries: after the first, to get a child; then it is its parent.
        epsilon: share of every plan that is random.
        trees: the cost model.

    Raises:
        ValueError: an option out of its range.
    """

    name = "metaschedule"

    plan: int = 64
    population: int = 512
    measured: float = 0.2
    generations: int = 4
    mutate: float = 0.85
    tries: int = 10
    epsilon: float = 0.05
    trees: TreeOptions = dataclasses.field(default_factory=TreeOptions)

    def __post_init__(self) -> None:
        if min(self.plan, self.population) < 1 or min(self.generations, self.tries) < 0:
            raise ValueError(f"metaschedule: counts out of range: {self}")
        for option in ("measured", "mutate", "epsilon"):
            if not 0 <= getattr(self, option) <= 1:
                raise ValueError(f"metaschedule {option}={getattr(self, option)}: must be in 0..1")

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> MetaScheduleTuner:
        return MetaScheduleTuner(problem, np.random.default_rng(seed), self)


class MetaScheduleTuner(PlannedTuner):
    """See `MetaSchedule`.

    Args:
        problem: the task.
        rng: every random choice.
        options: what to do.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator, options: MetaSchedule):
        super().__init__(problem, rng, int(options.epsilon * options.plan))
        self._options = options
        self._model = MetaScheduleModel(options.trees)
        self._mutation = Mutation(problem.space, problem.task.hardware.kind)

    def _plan(self) -> Plan:
        if len(self.gflops):
            self._model.update(self.problem.features(self.configs), self.gflops)
        bred, scores = self._evolve(self._first())
        best_first = np.argsort(-scores, kind="stable")
        return Plan(bred[best_first], self._options.plan, "search")

    def _first(self) -> Configurations:
        """The first generation [population, K]: the best trials and random configurations."""
        options = self._options
        best = np.argsort(-self.gflops, kind="stable")
        best = best[self.gflops[best] > 0][: int(options.population * options.measured)]
        random = self.space.sample(self.rng, options.population - len(best))
        return np.concatenate([self.configs[best], random])

    def _evolve(self, population: Configurations) -> tuple[Configurations, NDArray[np.float64]]:
        """All generations [M, K], the first one included, with their scores [M]."""
        generations, scores = [population], [self._score(population)]
        for _ in range(self._options.generations):
            generations.append(self._children(generations[-1], scores[-1]))
            scores.append(self._score(generations[-1]))
        return np.concatenate(generations), np.concatenate(scores)

    def _score(self, configs: Configurations) -> NDArray[np.float64]:
        if not self._model.ready:
            return self.rng.random(len(configs))
        return self._model.score(self.problem.features(configs))

    def _children(self, population: Configurations, scores: NDArray[np.float64]) -> Configurations:
        """The next generation [N, K] of a population [N, K], bred in proportion to scores [N]."""
        options = self._options
        total = scores.sum()
        chance = scores / total if total > 0 else None
        kept = np.zeros(len(population), dtype=bool)
        keys = np.array(self.space.keys(population))
        children = np.empty_like(population)
        left = np.arange(len(population))
        for _ in range(1 + options.tries):
            parents = self.rng.choice(len(population), size=len(left), p=chance)
            mutate = self.rng.random(len(left)) < options.mutate
            found = population[parents]
            found[mutate] = self._mutation(self.rng, found[mutate])
            new = self.space.keys(found)
            # In a pool a child is the row that it stands for, as all configurations are.
            children[left] = self.space.parse_all(new)
            failed = keys[parents] == np.array(new)
            # Of the children that would be the same parent, the first one is.
            _, first = np.unique(np.where(mutate, -1 - left, parents), return_index=True)
            same = first[~mutate[first]]
            failed[same] = kept[parents[same]]
            kept[parents[same]] = True
            left = left[failed]
            if len(left) == 0:
                break
        return children


class Mutation:
    """MetaSchedule's mutators on knobs.

    Args:
        space: where to mutate.
        kind: of target, which weighs the mutators.
    """

    def __init__(self, space: DesignSpace, kind: str):
        weights = MUTATORS.get(kind, MUTATORS["llvm"])
        self._sizes = space.sizes
        self._chance = np.array(list(weights.values())) / sum(weights.values())
        self._knobs = [
            [i for i, knob in enumerate(space.knobs) if knob.role in ROLES[name] and len(knob) > 1]
            for name in weights
        ]
        self._tiles = {
            i: TileMutation(knob) for i, knob in enumerate(space.knobs) if knob.role == "tile"
        }

    def __call__(self, rng: np.random.Generator, configs: Configurations) -> Configurations:
        """One mutant per row [N, K]; the row itself where its mutator finds no knob."""
        mutants = configs.copy()
        mutators = rng.choice(len(self._chance), size=len(configs), p=self._chance)
        uniform = rng.random((len(configs), 2))
        for mutant, mutator, (u, v) in zip(mutants, mutators, uniform, strict=True):
            knobs = self._knobs[mutator]
            if not knobs:
                continue
            i = knobs[int(u * len(knobs))]
            if i in self._tiles:
                mutant[i] = self._tiles[i](int(mutant[i]), v)
            else:
                # A shift in 1..size-1, modulo size, is uniform over the other values.
                mutant[i] = (mutant[i] + 1 + int(v * (self._sizes[i] - 1))) % self._sizes[i]
        return mutants


class TileMutation:
    """Moves a factor from one loop of a tile to another.

    From a loop x, drawn from those longer than 1, to another loop y, both drawn again when no
    factor can be moved; the factor is drawn from the divisors of x that give an option of the
    knob. The outermost part follows from the others, as where AutoTVM's tiles have a tail.

    Args:
        knob: a tile.
    """

    def __init__(self, knob: Knob):
        self._options = knob.options
        self._index = {option[1:]: i for i, option in enumerate(knob.options)}
        self._moves: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    def __call__(self, option: int, uniform: float) -> int:
        """The option that a number in [0, 1) leads to; the same one if there is no other."""
        if option not in self._moves:
            self._moves[option] = self._possible(self._options[option])
        targets, cumulative = self._moves[option]
        if len(targets) == 0:
            return option
        place = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
        return int(targets[min(place, len(targets) - 1)])

    def _possible(self, tile: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Options within one move of a tile [M], and their cumulative weights [M]."""
        targets: list[int] = []
        weights: list[float] = []
        for x, length in enumerate(tile):
            factors = [f for f in range(2, length + 1) if length % f == 0]
            for y in range(len(tile)):
                moved = [self._moved(tile, x, y, f) for f in factors] if y != x else []
                found = [i for i in moved if i is not None]
                targets += found
                weights += [1 / len(found) for _ in found]
        return np.array(targets, dtype=np.int64), np.cumsum(weights)

    def _moved(self, tile: tuple[int, ...], x: int, y: int, factor: int) -> int | None:
        moved = list(tile)
        moved[x] //= factor
        moved[y] *= factor
        return self._index.get(tuple(moved[1:]))
