"""`scheduler=even`: the paper's plan."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dgtl.methods.schedule import Scheduler, by_cost, spent_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgtl.methods.loop import Budget, TaskSearch


class Even(Scheduler):
    """As many trials for each task, one task after another: the paper's plan.

    Where seconds are limited, each has an equal share of what is left, the costliest first.
    """

    name = "even"
    interleaves = False

    def __init__(self, budget: Budget):
        super().__init__(budget)
        self._place: int | None = None
        self._until_s = math.inf

    def turn(self, tasks: Sequence[TaskSearch]) -> tuple[int, int] | None:
        if self._place is None or self._over(tasks[self._place]):
            self._begin(tasks)
        if self._place is None:
            return None
        left = self.budget.trials - len(tasks[self._place].trials)
        return self._place, min(self.budget.batch, left)

    def _over(self, task: TaskSearch) -> bool:
        return task.done or len(task.trials) >= self.budget.trials or task.spent_s >= self._until_s

    def _begin(self, tasks: Sequence[TaskSearch]) -> None:
        """The next task that is not over."""
        order = list(range(len(tasks)))
        if self.budget.seconds is not None:
            order = by_cost(tasks)
        begin = 0 if self._place is None else order.index(self._place) + 1
        self._place, self._until_s = None, math.inf
        for position in range(begin, len(tasks)):
            tasks[order[position]].take_recorded(self.budget.trials)
            if not self._over(tasks[order[position]]):
                self._place = order[position]
                if self.budget.seconds is not None:
                    left_s = self.budget.seconds - spent_s(tasks)
                    self._until_s = tasks[self._place].spent_s + left_s / (len(tasks) - position)
                return
