"""How good a search was: best-so-far curves, the performance score, paired confidence intervals.

Numbers in, numbers out. Throughput stands for quality and 0 for a failure, so that a search that
has found nothing that runs yet has a value too.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from dgtl.core.records import Task, Trial

CUTOFF = 0.95
"""Random search is the measure of a score up to this share of the way from median to best."""


def predicted_and_measured(task: Task, trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Throughput that a tuner's model expected, and that was measured, as [M, 2] GFLOPS.

    Of the trials that ran and that carry a prediction.
    """
    pairs = [
        (trial.predicted_gflops, task.gflops(trial.latency_s))
        for trial in trials
        if trial.ok and trial.predicted_gflops is not None
    ]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def prediction_errors(pairs: NDArray[np.float64]) -> dict[str, float]:
    """How far predictions [M, 2] are off: ``rmse_gflops`` and ``rmse_log2``; empty without any."""
    if not len(pairs):
        return {}
    gflops, log2 = np.diff(pairs, axis=1), np.diff(np.log2(pairs), axis=1)
    return {
        "rmse_gflops": float(np.sqrt(np.mean(gflops**2))),
        "rmse_log2": float(np.sqrt(np.mean(log2**2))),
    }


def best_so_far(values: ArrayLike) -> NDArray[np.float64]:
    """The best of the first 1, 2, ... of ``values`` [N], as [N]."""
    return np.maximum.accumulate(np.asarray(values, dtype=np.float64))


def after_trials(curve: NDArray[np.float64], counts: ArrayLike) -> NDArray[np.float64]:
    """A best-so-far curve [N] after ``counts`` [M] trials, as [M].

    Before the first trial it is 0; a search that has ended keeps what it found.
    """
    return np.concatenate([[0.0], curve])[np.minimum(counts, len(curve))]


def after_seconds(
    curve: NDArray[np.float64], ends_s: NDArray[np.float64], times_s: ArrayLike
) -> NDArray[np.float64]:
    """A best-so-far curve [N] whose trials end at ``ends_s`` [N], at times [M] seconds, as [M]."""
    return after_trials(curve, np.searchsorted(ends_s, times_s, side="right"))


def random_search_curve(values: ArrayLike, n: int) -> NDArray[np.float64]:
    """Expected best of 1, ..., ``n`` rows drawn from a table without repeats, as [n].

    In closed form: with the N values in ascending order, the best of n is among the first k with
    probability C(k, n) / C(N, n), which follows from that for n - 1 by one product.

    Args:
        values: throughput of every row of the table [N], 0 for failures.
        n: at most N are drawn; further entries repeat the best.
    """
    ascending = np.sort(np.asarray(values, dtype=np.float64))
    size = len(ascending)
    rows = np.arange(size + 1)
    among_first = np.ones(size + 1)
    curve = np.full(n, ascending[-1])
    for drawn in range(min(n, size)):
        among_first = among_first * np.maximum(rows - drawn, 0) / (size - drawn)
        curve[drawn] = np.diff(among_first) @ ascending
    return curve


def random_search_in_time(
    values: ArrayLike,
    costs_s: ArrayLike,
    times_s: ArrayLike,
    rng: np.random.Generator,
    draws: int = 400,
) -> NDArray[np.float64]:
    """Mean best of random search without repeats after given seconds, as [M], by simulation.

    Not `random_search_curve` at the mean cost: a trial that has not ended has found nothing yet.

    Args:
        values: throughput of every row of the table [N], 0 for failures.
        costs_s: seconds that its trial takes [N].
        times_s: when to look [M].
        rng: every draw.
        draws: searches simulated.
    """
    values, costs_s = np.asarray(values, np.float64), np.asarray(costs_s, np.float64)
    total = np.zeros(np.shape(times_s))
    for _ in range(draws):
        order = rng.permutation(len(values))
        total += after_seconds(best_so_far(values[order]), np.cumsum(costs_s[order]), times_s)
    return total / draws


def score_length(values: ArrayLike, baseline: NDArray[np.float64]) -> int:
    """How many trials a score looks at: until random search is as good as done.

    Willemsen et al.: until its expected curve is `CUTOFF` of the way from the median of the rows
    that ran to the best; at most as long as ``baseline``.

    Args:
        values: throughput of every row of the table [N], 0 for failures.
        baseline: `random_search_curve` of them.
    """
    ok = np.asarray(values, dtype=np.float64)
    ok = ok[ok > 0]
    median, best = float(np.median(ok)), float(ok.max())
    reached = np.flatnonzero(baseline >= median + CUTOFF * (best - median))
    return int(reached[0]) + 1 if len(reached) else len(baseline)


def performance_score(
    curve: NDArray[np.float64], baseline: NDArray[np.float64], best: float
) -> float:
    """Mean of (curve - baseline) / (best - baseline): random search has 0, an oracle 1.

    The score of Willemsen et al., *A methodology for comparing optimization algorithms for
    auto-tuning*, FGCS 2024, on throughput instead of run time, so that failures have a value.

    Args:
        curve: best so far of the search [n].
        baseline: expected best so far of random search [n], at the same numbers of trials or
            at the same seconds.
        best: of the table. Points at which random search has found it say nothing and are left out.
    """
    room = best - baseline
    tells = room > 1e-12 * best
    if not tells.any():
        return 0.0
    return float(np.mean((curve - baseline)[tells] / room[tells]))


def hv(search_reduction: float, latency_reduction: float) -> float:
    """HV: the product of both reductions, fractions against AutoTVM, times 100 (ICCV 2021).

    Not a Pareto hypervolume. Where both are negative the product alone would praise what is worse
    in both, so that it is taken as negative.
    """
    product = 100.0 * search_reduction * latency_reduction
    return -product if search_reduction < 0 and latency_reduction < 0 else product


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval: numbers, or arrays for curves."""

    mean: Any
    low: Any
    high: Any


def bootstrap(
    values: ArrayLike,
    groups: Sequence[str],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    draws: int = 10_000,
) -> Interval:
    """Bootstrap interval of the mean, by percentiles; paired, if ``values`` are differences.

    Values of one group are not independent (seeds on one table), so that whole groups are drawn;
    of a single group, its values.

    Args:
        values: one per pair [N], or one per pair and point of a curve [N, M].
        groups: the group of each [N].
        rng: every draw.
        level: of confidence.
        draws: how many means.

    Returns:
        Numbers, or arrays [M] of them for curves.
    """
    values = np.asarray(values, dtype=np.float64)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if group.max() == 0:
        group = np.arange(len(values))
    sizes = np.bincount(group)
    sums = np.zeros((len(sizes), *values.shape[1:]))
    np.add.at(sums, group, values)
    # How often each group is drawn says as much as which are drawn.
    counts = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=draws)
    means = ((counts @ sums).T / (counts @ sizes)).T
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(values.mean(axis=0), low, high)
