"""The rows of table 1: reductions against AutoTVM of the same seed, means over seeds, intervals."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from dgtl.results import metrics
from dgtl.results.metrics import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments.table1.outcomes import Outcome

BASELINE = "autotvm"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of table 1: means over seeds, with their intervals.

    Args:
        network, model: which.
        seeds: whose outcomes are in it: those that AutoTVM has too, if it has any of them.
        hardware: where.
        trials: mean of all tasks together.
        figures: by name. Without AutoTVM of the same seed, and for AutoTVM itself, there are no
            reductions. The bounds of one seed are NaN.
        reached: of how many seeds the layers reached AutoTVM's final best; the time to it is a
            figure only where all did.
        compared: how many seeds could be compared with AutoTVM.
    """

    network: str
    model: str
    seeds: tuple[int, ...]
    hardware: str
    trials: float
    figures: dict[str, Interval]
    reached: int
    compared: int


def rows_of(outcomes: Sequence[Outcome]) -> list[Row]:
    """Rows in the order in which networks, and then methods, first occur.

    Raises:
        ValueError: two outcomes of one network, method and seed, or outcomes of several hardware.
    """
    by_cell = {(o.network, o.model, o.seed): o for o in outcomes}
    if len(by_cell) < len(outcomes):
        raise ValueError("a network was tuned twice by one method with one seed: give one folder")
    if len(hardware := sorted({o.hardware for o in outcomes})) > 1:
        raise ValueError(f"the runs are of several hardware: {', '.join(hardware)}")
    networks = dict.fromkeys(o.network for o in outcomes)
    models = dict.fromkeys(o.model for o in outcomes)
    rows = []
    for network in networks:
        for model in models:
            own = [o for o in outcomes if (o.network, o.model) == (network, model)]
            if own:
                paired = [o for o in own if (network, BASELINE, o.seed) in by_cell] or own
                base = [by_cell.get((network, BASELINE, o.seed)) for o in paired]
                rows.append(_row(paired, base))
    return rows


def _row(own: Sequence[Outcome], base: Sequence[Outcome | None]) -> Row:
    values: dict[str, list[float]] = {}
    compared = 0
    for outcome, baseline in zip(own, base, strict=True):
        figures = _figures(outcome, baseline)
        compared += "reached" in figures
        for name, value in figures.items():
            values.setdefault(name, []).append(value)
    reached = int(sum(values.pop("reached", [])))
    if reached < compared:
        values = {name: found for name, found in values.items() if not name.startswith("reach_")}
    return Row(
        own[0].network,
        own[0].model,
        tuple(outcome.seed for outcome in own),
        own[0].hardware,
        float(np.mean([outcome.trials for outcome in own])),
        {name: _interval(found) for name, found in values.items()},
        reached,
        compared,
    )


def _figures(outcome: Outcome, baseline: Outcome | None) -> dict[str, float]:
    figures = {
        "search_h": outcome.search_s / 3600,
        "latency_ms": outcome.latency_ms,
        "pretrain_h": outcome.pretrain_s / 3600,
    }
    if outcome.limit_share is not None:
        figures["limit_share"] = outcome.limit_share
    if baseline is None:
        return figures
    reach = outcome.seconds_to(baseline.tasks_s)
    figures["reached"] = float(reach is not None)
    if reach is not None:
        figures["reach_h"] = reach / 3600
        figures["reach_reduction"] = 1 - reach / baseline.search_s
    if outcome is baseline:
        figures["paper_h"] = outcome.paper_s / 3600
        return figures
    search = 1 - outcome.search_s / baseline.search_s
    latency = 1 - outcome.latency_ms / baseline.latency_ms
    figures |= {"search_reduction": search, "latency_reduction": latency}
    figures["hv"] = metrics.hv(search, latency)
    figures["paper_search_reduction"] = 1 - outcome.search_s / baseline.paper_s
    if baseline.limit_share is not None:
        figures["hv_room"] = 100 * max(search, 0.0) * max(1 - baseline.limit_share, 0.0)
    return figures


def _interval(values: Sequence[float]) -> Interval:
    """Student's 95 % interval of the mean over seeds, for there are few; one value has none."""
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, np.nan, np.nan)
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return Interval(mean, mean - half, mean + half)
