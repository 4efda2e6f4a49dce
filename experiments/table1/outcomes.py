"""What one method made of one network with one seed, read from a run: seconds, latencies, curves.

Time to AutoTVM's best is taken from the curves: with n trials on every layer, the search has taken
so many seconds, and the layers (weight x best latency) sum to so much; it is there once that sum is
no longer than AutoTVM's at its end.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dgtl.tables.networks import NETWORKS, layer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.results.run_folder import Run

PAPER_TRIALS, PAPER_PATIENCE = 1000, 600
"""AutoTVM at the ``paper`` budget: trials per task, and after how many in vain it stops."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What the search of one task came to, after each of its trials.

    Args:
        weight: how often the network runs the task.
        gflop: of one run.
        size: configurations in its space.
        ends_s: search time after 1, 2, ... trials [n].
        best_s: best latency after as many [n]; infinite before the first that ran.
    """

    weight: int
    gflop: float
    size: int
    ends_s: NDArray[np.float64]
    best_s: NDArray[np.float64]

    @classmethod
    def of(cls, result: SourceTask, weight: int) -> Search:
        """Of a task with its trials."""
        return cls(
            weight,
            result.task.flops / 1e9,
            result.space.size,
            np.cumsum([trial.search_s for trial in result.trials]),
            np.minimum.accumulate([trial.latency_s for trial in result.trials]),
        )

    @property
    def paper_s(self) -> float:
        """Seconds that this search would at least take at AutoTVM's ``paper`` budget.

        It goes on for at least `PAPER_PATIENCE` trials after the best found so far, at the mean
        cost of its trials.
        """
        found = int(np.argmin(self.best_s)) + 1
        planned = min(PAPER_TRIALS, found + PAPER_PATIENCE, self.size)
        return float(self.ends_s[-1]) / len(self.ends_s) * max(planned, len(self.ends_s))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One network tuned by one method with one seed.

    Args:
        network, model, seed: which.
        hardware: where.
        searches: of its tasks.
        trials: of all tasks together.
        pretrain_s: seconds of learning before the search, not part of it.
        latency_ms: of the network, or the weighted sum of its layers where none can be run.
        limit_gflops: arithmetic limit of the hardware, where known.
    """

    network: str
    model: str
    seed: int
    hardware: str
    searches: tuple[Search, ...]
    trials: int
    pretrain_s: float
    latency_ms: float
    limit_gflops: float | None

    @property
    def search_s(self) -> float:
        """Search time [s]."""
        return float(sum(search.ends_s[-1] for search in self.searches))

    @property
    def tasks_s(self) -> float:
        """Sum of weight x best latency at the end [s]."""
        return float(sum(search.weight * search.best_s[-1] for search in self.searches))

    @property
    def limit_share(self) -> float | None:
        """Arithmetic of the tuned layers in the latency of the network, over the limit."""
        if self.limit_gflops is None:
            return None
        gflop = sum(search.weight * search.gflop for search in self.searches)
        return gflop / (self.latency_ms / 1e3) / self.limit_gflops

    @property
    def paper_s(self) -> float:
        """As `Search.paper_s`, of all tasks."""
        return sum(search.paper_s for search in self.searches)

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Search time [n] and weighted sum of layers [n] after 1, ..., n trials of every task [s].

        A task whose search has ended takes no more time and keeps what it found.
        """
        n = max(len(search.ends_s) for search in self.searches)
        ends, layers = np.zeros(n), np.zeros(n)
        for search in self.searches:
            at = np.minimum(np.arange(n), len(search.ends_s) - 1)
            ends += search.ends_s[at]
            layers += search.weight * search.best_s[at]
        return ends, layers

    def seconds_to(self, tasks_s: float) -> float | None:
        """Search time until the layers sum to ``tasks_s`` seconds or less; None if never."""
        ends, layers = self.curve()
        there = np.flatnonzero(layers <= tasks_s * (1 + 1e-9))
        return float(ends[there[0]]) if len(there) else None


def live_outcome(
    run: Run, model: str, latency_ms: float | None, limit_gflops: float | None
) -> Outcome | None:
    """Of a finished run of a network on this machine; None if a task has no best.

    Args:
        run: as read back.
        model: its method, as ``model=`` names it.
        latency_ms: as re-measured; None: the run's own.
        limit_gflops: of the machine; None: what the configuration of the run says.
    """
    summary = run.summary
    own_ms = summary.latency_ms if latency_ms is None else latency_ms
    searches = tuple(Search.of(result, result.task.weight) for result in run.results)
    if own_ms is None or not _all_ran(searches):
        return None
    return Outcome(
        summary.workload,
        model,
        summary.seed,
        summary.hardware,
        searches,
        summary.trials,
        summary.pretrain_s,
        own_ms,
        _limit(run) if limit_gflops is None else limit_gflops,
    )


def recorded_outcomes(
    run: Run, model: str, networks: Sequence[str], limit_gflops: float | None
) -> list[Outcome]:
    """Of a finished run on recorded tables: one per network of which it searched every layer.

    A layer counts as often as the network runs it. Of several tables of one layer (templates) all
    are searched, and the fastest is taken.

    Raises:
        ValueError: a network whose layers are not known.
    """
    if unknown := set(networks) - set(NETWORKS):
        raise ValueError(
            f"no layers known of {', '.join(sorted(unknown))}: on recorded tables there are "
            f"{', '.join(NETWORKS)}"
        )
    found = []
    by_layer: dict[object, list[SourceTask]] = {}
    for result in run.results:
        by_layer.setdefault(layer_of(result.task), []).append(result)
    for network in networks:
        layers = NETWORKS[network]
        if not all(layer in by_layer for layer in layers):
            continue
        searches = tuple(
            _either([Search.of(result, weight) for result in by_layer[layer]])
            for layer, weight in layers.items()
        )
        if _all_ran(searches):
            outcome = Outcome(
                network,
                model,
                run.summary.seed,
                run.summary.hardware,
                searches,
                sum(len(result.trials) for layer in layers for result in by_layer[layer]),
                run.summary.pretrain_s,
                1e3 * float(sum(search.weight * search.best_s[-1] for search in searches)),
                _limit(run) if limit_gflops is None else limit_gflops,
            )
            found.append(outcome)
    return found


def _either(searches: Sequence[Search]) -> Search:
    """Searches of one layer by several templates as one, at equal trials of each."""
    if len(searches) == 1:
        return searches[0]
    n = max(len(search.ends_s) for search in searches)
    at = [np.minimum(np.arange(n), len(search.ends_s) - 1) for search in searches]
    ends = np.sum([s.ends_s[i] for s, i in zip(searches, at, strict=True)], axis=0)
    best = np.min([s.best_s[i] for s, i in zip(searches, at, strict=True)], axis=0)
    return dataclasses.replace(
        searches[0], size=max(search.size for search in searches), ends_s=ends, best_s=best
    )


def _all_ran(searches: Sequence[Search]) -> bool:
    return all(len(s.best_s) and np.isfinite(s.best_s[-1]) for s in searches)


def _limit(run: Run) -> float | None:
    config = {} if run.origin is None else run.origin.config
    return config.get("hardware", {}).get("limit_gflops")
