"""`scheduler=gradient`: the rule of Ansor and MetaSchedule, for methods without a posterior."""

from __future__ import annotations

import abc
import math
from typing import TYPE_CHECKING

from dgtl.methods.schedule import Scheduler, by_cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dgtl.methods.loop import Budget, TaskSearch

FAILED_STEPS = 3
"""After so many steps of which nothing ran, a task waits for all others."""


class Greedy(Scheduler):
    """One step for each task, the costliest first; then always the one that promises most."""

    def turn(self, tasks: Sequence[TaskSearch]) -> tuple[int, int] | None:
        left = self.budget.trials * len(tasks) - sum(len(task.trials) for task in tasks)
        going = [place for place in by_cost(tasks) if not tasks[place].done]
        if left <= 0 or not going:
            return None
        n = min(self.budget.batch, left)
        untried = [p for p in going if not tasks[p].best_history_s]
        if untried:
            return untried[0], n
        failed = [p for p in going if math.isinf(tasks[p].best_s)]
        if again := [p for p in failed if len(tasks[p].best_history_s) < FAILED_STEPS]:
            return again[0], n
        running = [place for place in going if place not in failed]
        if not running:
            return min(failed, key=lambda p: len(tasks[p].best_history_s)), n
        saved = {place: self.saving(tasks, place) for place in running}
        place = max(running, key=lambda place: saved[place])
        if self.little(tasks, saved):
            return None
        return place, n

    @abc.abstractmethod
    def saving(self, tasks: Sequence[TaskSearch], place: int) -> float:
        """Seconds of the network's latency that the next step of a task is worth, in any unit."""

    def little(self, tasks: Sequence[TaskSearch], saved: Mapping[int, float]) -> bool:
        """Whether the savings, by place, are not worth going on."""
        return False


class Gradient(Greedy):
    """The task whose latency falls fastest: the rule of Ansor and MetaSchedule.

    A step of task i is worth w_i (alpha (t(n - k) - t(n)) / k + (1 - alpha) t(n) / n), with its
    weight w, its best latency t after n steps and a window of k steps (Zheng et al., OSDI 2020,
    section 6; the form and the constants are those of MetaSchedule's `gradient_based.cc`).

    Args:
        budget: of the search; `Budget.stop_gain` is not for it.
        alpha: of what was seen, against what is left at most.
        window: steps.
    """

    name = "gradient"

    def __init__(self, budget: Budget, alpha: float = 0.2, window: int = 3):
        super().__init__(budget)
        self._alpha, self._window = alpha, window

    def saving(self, tasks: Sequence[TaskSearch], place: int) -> float:
        history = tasks[place].best_history_s
        n = len(history)
        seen = 0.0
        if n > self._window and math.isfinite(history[-1 - self._window]):
            seen = (history[-1 - self._window] - history[-1]) / self._window
        fall_s = self._alpha * seen + (1 - self._alpha) * history[-1] / n
        return tasks[place].problem.task.weight * fall_s
