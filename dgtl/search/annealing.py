"""Parallel simulated annealing over any design space and any cost model.

The defaults are AutoTVM's (Chen et al., NeurIPS 2018): 128 chains, 500 steps, temperature 1 to 0.
Scores are log2 throughput here, so that at temperature 1 halving the throughput is accepted with
probability 1/e.
"""

from __future__ import annotations

import dataclasses
import heapq
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from dgtl.core.space import Configurations, DesignSpace


@dataclasses.dataclass(frozen=True)
class AnnealingOptions:
    """Settings of `anneal`.

    Args:
        chains: walks side by side.
        steps: proposals per chain.
        temperature: at the first step; falls linearly to 0.
        patience: stop after this many steps without a change among the best.
    """

    chains: int = 128
    steps: int = 500
    temperature: float = 1.0
    patience: int = 50

    def __post_init__(self) -> None:
        if min(self.chains, self.steps, self.patience) < 1 or self.temperature < 0:
            raise ValueError(f"annealing needs positive counts and a temperature >= 0: {self}")


class Best:
    """The ``n`` best distinct configurations seen, without what ``exclude`` or the space refuses.

    Args:
        space: gives configurations their keys.
        n: how many to keep.
        exclude: text keys that are no news, e.g. measured already.
    """

    def __init__(self, space: DesignSpace, n: int, exclude: Collection[str] = ()):
        self._space = space
        self._n = n
        self._seen = set(exclude)
        self._heap: list[tuple[float, str]] = []

    def add(self, configs: Configurations, scores: NDArray[np.floating]) -> bool:
        """Takes in configurations [N, K] with scores [N]; whether the best changed."""
        changed = False
        threshold = self._heap[0][0] if len(self._heap) >= self._n else -np.inf
        rows = np.flatnonzero(scores > threshold)
        rows = rows[self._space.accepts(configs[rows])]
        for i, key in zip(rows, self._space.keys(configs[rows]), strict=True):
            if key in self._seen:
                continue
            if len(self._heap) < self._n:
                heapq.heappush(self._heap, (float(scores[i]), key))
            elif scores[i] > self._heap[0][0]:
                heapq.heapreplace(self._heap, (float(scores[i]), key))
            else:
                continue
            self._seen.add(key)
            changed = True
        return changed

    def ranked(self) -> tuple[Configurations, NDArray[np.float64]]:
        """The best configurations [<=n, K] with their scores, best first."""
        ranked = sorted(self._heap, key=lambda item: (-item[0], item[1]))
        scores = np.array([score for score, _ in ranked])
        return self._space.parse_all([key for _, key in ranked]), scores


def anneal(
    space: DesignSpace,
    score: Callable[[Configurations], NDArray[np.floating]],
    rng: np.random.Generator,
    *,
    top: int,
    options: AnnealingOptions | None = None,
    start: Configurations | None = None,
    exclude: Collection[str] = (),
) -> tuple[Configurations, NDArray[np.float64]]:
    """The best configurations found by simulated annealing.

    Args:
        space: where to search.
        score: of a batch of configurations [N, K], [N]; higher is better. Deterministic.
        rng: every random choice.
        top: how many configurations to return.
        options: chains, steps, temperature.
        start: configurations [<=chains, K] that the first chains start at; the others start at
            random ones.
        exclude: keys of configurations that may be walked through but not returned.

    Returns:
        At most ``top`` distinct configurations [M, K] with their scores [M], best first.
    """
    return walk(space, score, rng, top=top, options=options, start=start, exclude=exclude).best


class Known:
    """A score that is asked once for each configuration: chains cross, and turn back.

    Args:
        score: of a batch of configurations [N, K], [N]. Deterministic.
    """

    def __init__(self, score: Callable[[Configurations], NDArray[np.floating]]):
        self._score = score
        self._of: dict[bytes, float] = {}

    def __call__(self, configs: Configurations) -> NDArray[np.float64]:
        """Scores [N] of configurations [N, K]."""
        rows = [config.tobytes() for config in np.ascontiguousarray(configs)]
        new = {row: i for i, row in enumerate(rows) if row not in self._of}
        if new:
            scores = self._score(configs[list(new.values())])
            self._of.update(zip(new, scores.tolist(), strict=True))
        return np.array([self._of[row] for row in rows])


@dataclasses.dataclass(frozen=True)
class Walk:
    """What `walk` found and where it stands.

    Args:
        best: the best configurations [M, K] with their scores [M], best first, as of `anneal`.
        points: where the chains ended [chains, K]: the ``start`` of chains that go on later.
    """

    best: tuple[Configurations, NDArray[np.float64]]
    points: Configurations


def walk(
    space: DesignSpace,
    score: Callable[[Configurations], NDArray[np.floating]],
    rng: np.random.Generator,
    *,
    top: int,
    options: AnnealingOptions | None = None,
    start: Configurations | None = None,
    exclude: Collection[str] = (),
) -> Walk:
    """`anneal` that also tells where its chains ended; same arguments."""
    options = options or AnnealingOptions()
    known = Known(score)
    points = space.sample(rng, options.chains)
    if start is not None:
        n = min(len(start), options.chains)
        points[:n] = start[:n]
    scores = known(points)
    best = Best(space, top, exclude)
    best.add(points, scores)
    stale = 0
    for step in range(options.steps):
        temperature = options.temperature * (1 - step / options.steps)
        proposals = space.neighbours(rng, points)
        proposed = known(proposals)
        accept = accepted(scores, proposed, temperature, rng.random(len(points)))
        points[accept] = proposals[accept]
        scores = np.where(accept, proposed, scores)
        stale = 0 if best.add(proposals, proposed) else stale + 1
        if stale >= options.patience:
            break
    return Walk(best.ranked(), points)


def accepted(
    current: NDArray[np.floating],
    proposed: NDArray[np.floating],
    temperature: float,
    uniform: NDArray[np.floating],
) -> NDArray[np.bool_]:
    """Metropolis' rule [N]: better always, worse with probability exp(difference / temperature)."""
    if temperature <= 0:
        return proposed > current
    return uniform < np.exp(np.minimum((proposed - current) / temperature, 0.0))


def untried(
    space: DesignSpace, rng: np.random.Generator, n: int, exclude: Collection[str] = ()
) -> list[str]:
    """Keys of ``n`` random configurations, uniform over those that ``exclude`` lacks.

    Fewer if the space has no more.
    """
    # So many distinct ones that n are left, even if all of the excluded are among them.
    drawn = space.keys(space.sample_distinct(rng, n + len(exclude)))
    return [key for key in drawn if key not in exclude][:n]


def mutants(
    space: DesignSpace,
    rng: np.random.Generator,
    parents: Configurations,
    n: int,
    exclude: Collection[str] = (),
) -> list[str]:
    """Keys of ``n`` configurations one to three steps from random ``parents`` [M, K].

    Fewer if fifty draws of ``n`` give no more that ``exclude`` lacks.
    """
    keys: dict[str, None] = {}
    for _ in range(50):
        children = parents[rng.integers(0, len(parents), n)]
        for _ in range(int(rng.integers(1, 4))):
            children = space.neighbours(rng, children)
        keys |= dict.fromkeys(key for key in space.keys(children) if key not in exclude)
        if len(keys) >= n:
            break
    return list(keys)[:n]
