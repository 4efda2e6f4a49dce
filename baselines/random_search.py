"""Random search: uniform configurations, each tried once. The floor under every other method."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dgtl.tuner import Method

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dgtl.records import Trial
    from dgtl.space import Configurations, DesignSpace
    from dgtl.tuner import Problem


def draw_unseen(
    space: DesignSpace, rng: np.random.Generator, n: int, seen: Collection[str]
) -> Configurations:
    """At most ``n`` distinct uniform configurations [<=n, K] whose keys are not in ``seen``.

    Fewer, finally none, when the space holds no more.
    """
    seen = set(seen)
    if space.size <= 4 * (len(seen) + n):
        # Drawing until something new turns up would take ever longer near the end of a space.
        every = space.at(range(space.size))
        unseen = [i for i, key in enumerate(space.keys(every)) if key not in seen]
        return every[rng.permutation(np.array(unseen, dtype=np.int64))[:n]]
    found: list[str] = []
    while len(found) < n:
        for key in space.keys(space.sample(rng, n - len(found))):
            if key not in seen:
                seen.add(key)
                found.append(key)
    return space.parse_all(found)


@dataclasses.dataclass(frozen=True)
class RandomSearch(Method):
    """Uniform distinct configurations until the budget or the space is spent."""

    name = "random"

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> RandomTuner:
        return RandomTuner(problem.space, np.random.default_rng(seed))


class RandomTuner:
    """See `dgtl.tuner.Tuner`."""

    stage = "random"

    def __init__(self, space: DesignSpace, rng: np.random.Generator):
        self._space = space
        self._rng = rng
        self._seen: set[str] = set()

    def ask(self, n: int) -> Configurations:
        configs = draw_unseen(self._space, self._rng, n, self._seen)
        self._seen.update(self._space.keys(configs))
        return configs

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing is learned."""
