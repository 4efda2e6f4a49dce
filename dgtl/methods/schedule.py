"""Whose turn it is: schedulers over the tasks of a network.

A step of a search is a batch of one task. Each scheduler has a module of its name: `even` gives all
tasks as many trials (the paper's plan), each for itself. With the others a task has heard by its
step what was tried of its twins: tasks with the same loops, to which other operators are fused.
`gradient` follows how latencies fell so far (Ansor's and MetaSchedule's rule), `expected` what the
tuners' models expect of the next step. All count seconds as trials have them: so a resumed or
replayed search decides as the first one did.
"""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING

from dgtl.measure.protocol import VisitNeededError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dgtl.core.records import Task
    from dgtl.methods.loop import Budget, TaskSearch

OPERATIONS_A_BYTE = 16.0
"""What a core does while a byte comes from memory, as an order of magnitude."""


class Scheduler(abc.ABC):
    """Says which task has the next step, and of how many trials.

    Args:
        budget: of the search.

    Attributes:
        name: that ``scheduler=`` has.
        interleaves: whether steps of all tasks come in turns; else one task after another.
        stops: whether `Budget.stop_gain` is for it.
    """

    name: str
    interleaves = True
    stops = False

    def __init__(self, budget: Budget):
        self.budget = budget

    @abc.abstractmethod
    def turn(self, tasks: Sequence[TaskSearch]) -> tuple[int, int] | None:
        """Place of the task that is next and its number of trials; None: the search is over."""


def search(
    tasks: Sequence[TaskSearch],
    scheduler: Scheduler,
    on_step: Callable[[int], None] = lambda place: None,
) -> None:
    """Searches all tasks of a network, until the scheduler or the seconds end it.

    Args:
        tasks: of the network.
        scheduler: says whose turn it is.
        on_step: called with the place of a task before its step.

    Raises:
        VisitNeededError: some tasks wait for what is timed elsewhere; all were asked.
    """
    waiting: VisitNeededError | None = None
    twins = [_twins(tasks, place) for place in range(len(tasks))]
    seconds = scheduler.budget.seconds
    since = time.perf_counter()
    while seconds is None or spent_s(tasks) < seconds:
        if (turn := scheduler.turn(tasks)) is None:
            break
        place, n = turn
        on_step(place)
        if scheduler.interleaves:
            tasks[place].hear(twins[place])
        try:
            tasks[place].step(n, since)
        except VisitNeededError as error:
            waiting, tasks[place].done = error, True
        since = time.perf_counter()
    if waiting is not None:
        raise waiting


def _twins(tasks: Sequence[TaskSearch], place: int) -> dict[int, TaskSearch]:
    """Those of a task, by their places."""
    return {
        other: task
        for other, task in enumerate(tasks)
        if other != place and tasks[place].is_twin(task)
    }


def spent_s(tasks: Sequence[TaskSearch]) -> float:
    """Seconds of search of all tasks."""
    return sum(task.spent_s for task in tasks)


def latency_s(tasks: Sequence[TaskSearch]) -> float:
    """Latency [s] of all tasks together, each as often as the network runs it."""
    return sum(task.problem.task.weight * task.best_s for task in tasks)


def cost(task: Task) -> float:
    """What a task is expected to take of a network, before anything is known of it.

    In operations, to which the bytes that it moves are added.
    """
    return task.weight * (task.flops + OPERATIONS_A_BYTE * task.bytes)


def by_cost(tasks: Sequence[TaskSearch]) -> list[int]:
    """Places of tasks, the costliest first."""
    return sorted(range(len(tasks)), key=lambda place: -cost(tasks[place].problem.task))
