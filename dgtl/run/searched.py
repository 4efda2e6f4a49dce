"""A search of tasks whose progress is shown: live and on tables the same."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from dgtl.methods.even import Even
from dgtl.methods.schedule import search
from dgtl.report.progress import Planned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgtl.methods.loop import TaskSearch
    from dgtl.report.progress import Progress
    from dgtl.run.start import RunContext


def search_shown(
    tasks: Sequence[TaskSearch],
    names: Sequence[str],
    context: RunContext,
    progress: Progress,
    *,
    alone: bool = False,
) -> None:
    """Searches tasks as one network, or each of them alone.

    Args:
        tasks: to search.
        names: of them, as they are shown.
        context: budget and scheduler of the run.
        progress: where it is shown.
        alone: each task is a network of its own, with the whole budget for itself; nobody's turn is
            to be decided then.

    Raises:
        VisitNeededError: some tasks wait for what is timed elsewhere; all of a network were asked.
    """
    budget = context.budget
    recorded = [tuple(task.recorded.values()) for task in tasks]
    seconds = None
    if budget.seconds is not None:
        spent_s = sum(trial.search_s for some in recorded for trial in some)
        seconds = max(budget.seconds * (len(tasks) if alone else 1) - spent_s, 0.0)
    progress.plan(
        [
            Planned.of(task.problem.task, name, budget.trials, before, task.known)
            for task, name, before in zip(tasks, names, recorded, strict=True)
        ],
        interleaved=context.scheduler.interleaves and not alone,
        trials=budget.trials * len(tasks),
        seconds=seconds,
        ends_early=budget.stop_gain is not None,
    )

    def show(before: int, place: int) -> None:
        progress.task(before + place + 1)

    # `Even` asks no model, and where all trials are recorded not the tuner either.
    scheduler = Even if alone and budget.stop_gain is None else context.scheduler
    for before, network in enumerate([[task] for task in tasks] if alone else [tasks]):
        search(network, scheduler(budget), functools.partial(show, before))
