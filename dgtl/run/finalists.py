"""The fastest of a search timed again, side by side: the least of many timings is partly luck.

Each of them was timed at another moment, and a machine is faster at some than at others: the more
trials, the likelier that the fastest owes it to its moment (docs/decisions/0024-finalists.md).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from dgtl.core.records import AGAIN, best_trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dgtl.core.history import History, SourceTask
    from dgtl.core.records import Task, Trial
    from dgtl.measure.protocol import Measurer

ROUNDS = 2
"""Times that all finalists are built and timed, so that no layer has one moment alone."""

SEARCHED = 16
"""Trials of a task for each finalist: with fewer there is little luck, and seconds are short."""

NEAR = 1.1
"""Finalists are at most so many times as slow as the fastest."""


def finalists(trials: Sequence[Trial], most: int) -> list[str]:
    """Configurations to time again, fastest first; none where there is nothing to decide."""
    ran = sorted((trial for trial in trials if trial.ok), key=lambda trial: trial.latency_s)
    few = ran[: min(most, len(ran) // SEARCHED)]
    near = [trial.config for trial in few if trial.latency_s <= NEAR * ran[0].latency_s]
    return near if len(near) > 1 else []


def timed_again(
    results: Sequence[SourceTask],
    measurer: Measurer,
    keep: Callable[[Task, Trial], Trial],
    most: int,
    earlier: History,
) -> tuple[list[SourceTask], str]:
    """The results with a further trial of each finalist, which decides (`records.best_trial`).

    Args:
        results: searched tasks.
        measurer: that searched them.
        keep: what becomes of a new trial: called once with each.
        most: finalists of a task.
        earlier: trials of an interrupted run, which are not made once more.

    Returns:
        Results, and what came of it, for the user; no text where there was nothing to decide.
    """
    again = [
        [trial for trial in earlier.trials(result.task.key) if trial.stage == AGAIN]
        for result in results
    ]
    chosen = {place: finalists(result.trials, most) for place, result in enumerate(results)}
    missing = {
        place: configs
        for place, configs in chosen.items()
        if not {trial.config for trial in again[place]}.issuperset(configs)
    }
    rounds = [
        {p: measurer.measure(results[p].task, c, best_s=math.inf) for p, c in missing.items()}
        for _ in range(ROUNDS)
    ]
    for place in missing:
        timings = zip(*(measured[place] for measured in rounds), strict=True)
        again[place] += [keep(results[place].task, _joined(trials)) for trials in timings]
    found = [
        dataclasses.replace(result, trials=(*result.trials, *more))
        for result, more in zip(results, again, strict=True)
    ]
    return found, _outcome(results, again)


def _outcome(results: Sequence[SourceTask], again: Sequence[Sequence[Trial]]) -> str:
    """How many were timed again, and what that changes."""
    total_s = saved_s = 0.0
    others = 0
    for result, more in zip(results, again, strict=True):
        first = best_trial(result.trials)
        best = best_trial(more) or first
        if first is None or best is None:
            continue
        now_s = next((t.latency_s for t in more if t.config == first.config), first.latency_s)
        total_s += result.task.weight * best.latency_s
        if best.config != first.config and now_s < math.inf:
            others += 1
            saved_s += result.task.weight * (now_s - best.latency_s)
    if not any(again):
        return ""
    timed, layers = sum(map(len, again)), sum(map(bool, again))
    saved = f": {saved_s / (total_s + saved_s):.1%} of the layers' time less" if others else ""
    return (
        f"{timed} of the fastest schedules were timed again, of {layers} layers, of which {others} "
        f"run another one than the search's fastest{saved}"
    )


def _joined(trials: Sequence[Trial]) -> Trial:
    """The trials of one configuration as one; of one that failed, that one."""
    failed = next((trial for trial in trials if not trial.ok), None)
    times_s = tuple(time_s for trial in trials for time_s in trial.run_times_s)
    return (failed or trials[-1]).replace(
        run_times_s=() if failed else times_s,
        build_s=sum(trial.build_s for trial in trials),
        run_s=sum(trial.run_s for trial in trials),
        wall_s=sum(trial.wall_s for trial in trials),
        stage=AGAIN,
    )
