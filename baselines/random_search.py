"""Random search: uniform configurations, each tried once. The floor under every other method."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dgtl.methods.base import Method
from dgtl.search.annealing import untried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgtl.core.records import Trial
    from dgtl.core.space import Configurations, DesignSpace
    from dgtl.features.problem import Problem


@dataclasses.dataclass(frozen=True)
class RandomSearch(Method):
    """Uniform distinct configurations until the budget or the space is spent."""

    name = "random"

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> RandomTuner:
        return RandomTuner(problem.space, np.random.default_rng(seed))


class RandomTuner:
    """See `dgtl.methods.base.Tuner`."""

    stage = "random"

    def __init__(self, space: DesignSpace, rng: np.random.Generator):
        self._space = space
        self._rng = rng
        self._seen: set[str] = set()

    def ask(self, n: int) -> Configurations:
        keys = untried(self._space, self._rng, n, self._seen)
        self._seen.update(keys)
        return self._space.parse_all(keys)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing is learned."""
