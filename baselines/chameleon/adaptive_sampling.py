"""CHAMELEON's adaptive sampling: measure the centres of the candidates' clusters, not all of them.

Ahn et al., ICLR 2020, section 3.3, with the constants of its public code (2019): k-means for
k = 8, 16, ... until more clusters no longer divide the loss by 2.5. The centres at that k are
measured; a centre that was tried before makes room for a synthesised configuration.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from dgtl.search.annealing import untried

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from dgtl.core.space import Configurations, DesignSpace


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """Settings of `sample`.

    Args:
        step: k goes up in steps of this.
        most: the largest k.
        knee: stop at the first k whose loss is no less than the last one's divided by this.
        dimensions: cluster in this many knobs, those with the most options; None: in all, each
            scaled to 0..1.
        synthesis: values of the other knobs: ``sample`` draws each from the candidates' values,
            ``mode`` takes the most frequent one first.
        retries: draws before a random configuration takes the place.
    """

    step: int = 8
    most: int = 64
    knee: float = 2.5
    dimensions: int | None = 2
    synthesis: str = "sample"
    retries: int = 100

    def __post_init__(self) -> None:
        if self.synthesis not in ("sample", "mode"):
            raise ValueError(f"synthesis '{self.synthesis}': choose 'sample' or 'mode'")
        if not 1 <= self.step <= self.most or self.knee <= 0 or self.retries < 0:
            raise ValueError(f"adaptive sampling: options out of range: {self}")


def sample(
    space: DesignSpace,
    candidates: Configurations,
    rng: np.random.Generator,
    seen: Collection[str],
    options: SamplingOptions,
) -> Configurations:
    """Configurations [k, K] that stand for the candidates [N, K], none of them in ``seen``.

    Fewer than k where the space holds no more untried configurations.
    """
    if len(candidates) == 0:
        return candidates
    knobs, scale = _dimensions(space, options.dimensions)
    points = candidates[:, knobs] / scale
    centres = cluster(points, options, int(rng.integers(2**31)))
    indices = np.clip(np.rint(centres * scale), 0, space.sizes[knobs] - 1).astype(np.int32)
    taken, chosen = set(seen), []
    for centre in indices:
        config = _synthesise(space, candidates, centre, knobs, rng, taken, options)
        if config is not None:
            taken.add(space.key(config))
            chosen.append(config)
    return np.array(chosen, dtype=np.int32).reshape(-1, len(space.knobs))


def cluster(
    points: NDArray[np.floating], options: SamplingOptions, seed: int
) -> NDArray[np.float64]:
    """Centres [k, d] of points [N, d], k by the rule of the knee.

    Fewer distinct points than clusters are their own centres, several times if need be: the plan
    keeps its least size.
    """
    distinct = np.unique(points, axis=0)
    counts = range(options.step, min(options.most, len(distinct)) + 1, options.step)
    if len(counts) == 0:
        return np.resize(distinct, (options.step, points.shape[1]))

    def fit(k: int) -> KMeans:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return KMeans(k, n_init=1, max_iter=100, random_state=seed).fit(points)

    fits: dict[int, KMeans] = {}

    def loss(k: int) -> float:
        fits[k] = fit(k)
        return float(fits[k].inertia_)

    return np.asarray(fits[knee(counts, loss, options.knee)].cluster_centers_, dtype=np.float64)


def knee(counts: range, loss: Callable[[int], float], ratio: float) -> int:
    """The first k of ``counts`` with loss(k) >= loss(k before) / ratio, or the last k of all.

    As in CHAMELEON's code this is the k behind the knee, not the one on it.
    """
    last = np.inf
    for k in counts:
        now = loss(k)
        if now >= last / ratio:
            return k
        last = now
    return counts[-1]


def _dimensions(
    space: DesignSpace, count: int | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Knobs to cluster in and what to divide their indices by."""
    if count is None:
        return np.arange(len(space.knobs)), np.maximum(space.sizes - 1, 1).astype(np.float64)
    largest = np.sort(np.argsort(-space.sizes, kind="stable")[:count])
    return largest, np.ones(len(largest))


def _synthesise(
    space: DesignSpace,
    candidates: Configurations,
    centre: NDArray[np.int32],
    knobs: NDArray[np.int64],
    rng: np.random.Generator,
    taken: set[str],
    options: SamplingOptions,
) -> NDArray[np.int32] | None:
    """An untried configuration [K] for one centre [d]; None if the space is exhausted.

    In order: the centre itself where it fixes all knobs; the mode; draws from the candidates'
    values; any untried configuration. A centre in part of the knobs keeps them while the other
    knobs are drawn; one in all knobs is redundant as a whole.
    """
    whole = len(knobs) == len(space.knobs)
    fixed = np.zeros(len(space.knobs), dtype=bool)
    fixed[knobs] = not whole
    template = np.zeros(len(space.knobs), dtype=np.int32)
    template[knobs] = centre
    if whole and space.key(template) not in taken:
        return template
    if options.synthesis == "mode":
        config = np.where(fixed, template, mode(candidates))
        if space.key(config) not in taken:
            return config
    for _ in range(options.retries):
        drawn = candidates[rng.integers(len(candidates), size=len(fixed)), np.arange(len(fixed))]
        config = np.where(fixed, template, drawn)
        if space.key(config) not in taken:
            return config
    unseen = untried(space, rng, 1, taken)
    return space.parse(unseen[0]) if unseen else None


def mode(configs: Configurations) -> NDArray[np.int32]:
    """The most frequent option of every knob [K], the lowest of several."""
    return np.array([np.bincount(column).argmax() for column in configs.T], dtype=np.int32)
