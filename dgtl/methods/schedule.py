"""Whose turn it is: schedulers over the tasks of a network.

A step of a search is a batch of one task. `Even` gives all tasks as many trials (the paper's plan),
each for itself. With the others a task has heard by its step what was tried of its twins: tasks
with the same loops, to which other operators are fused. `Gradient` follows how latencies fell so
far (Ansor's and MetaSchedule's rule), `Expected` what the tuners' models expect of the next step.
All count seconds as trials have them, and `Expected` sets what it expects against those of building
and running alone (`TaskSearch.measured_s`): so a resumed or replayed search decides as the first
one did.
"""

from __future__ import annotations

import abc
import math
import time
from typing import TYPE_CHECKING

from dgtl.measure.protocol import VisitNeededError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dgtl.core.records import Task
    from dgtl.methods.loop import Budget, TaskSearch

OPERATIONS_A_BYTE = 16.0
"""What a core does while a byte comes from memory, as an order of magnitude."""

FAILED_STEPS = 3
"""After so many steps of which nothing ran, a task waits for all others."""

SHARE_AHEAD = 0.1
"""`Budget.stop_gain` looks ahead by this fraction of the seconds spent."""

LEAST_S = 1e-6
"""A step takes at least so long [s]: recorded trials may say that theirs took no time."""

TRUST_PRIOR = 0.1
"""Fraction of a latency, expected and saved before any is counted, see `Expected`."""


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


def by_cost(tasks: Sequence[TaskSearch]) -> list[int]:
    """Places of tasks, the costliest first."""
    return sorted(range(len(tasks)), key=lambda place: -cost(tasks[place].problem.task))


class _Greedy(Scheduler):
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


class Gradient(_Greedy):
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
        return tasks[place].problem.task.weight * self.fall_s(tasks[place])

    def fall_s(self, task: TaskSearch) -> float:
        """Seconds that the next step may save of one run of a task."""
        history = task.best_history_s
        n = len(history)
        seen = 0.0
        if n > self._window and math.isfinite(history[-1 - self._window]):
            seen = (history[-1 - self._window] - history[-1]) / self._window
        return self._alpha * seen + (1 - self._alpha) * history[-1] / n


class Expected(_Greedy):
    """The task that is expected to save most of the network's time per second of search.

    A step of task i is worth w_i t_i g_i c / s_i: its weight, its best latency, the fraction of
    that which its tuner expects the step to save (`TaskSearch.expected_gain`), what expectations of
    this task came true so far (those of the network where it had few), and the seconds that
    building and running a step of it took so far in the mean. Where a tuner does not say,
    `Gradient` does.
    """

    name = "expected"
    stops = True

    def __init__(self, budget: Budget):
        super().__init__(budget)
        self._gradient = Gradient(budget)
        self._turn: tuple[int, int, float] | None = None  # place, steps before, expected gain
        self._told: dict[int, tuple[float, float]] = {}  # by place: expected and saved so far

    def turn(self, tasks: Sequence[TaskSearch]) -> tuple[int, int] | None:
        self._learn(tasks)
        turn = super().turn(tasks)
        if turn is not None and tasks[turn[0]].best_history_s:
            gain = tasks[turn[0]].expected_gain(self.budget.batch)
            steps = len(tasks[turn[0]].best_history_s)
            self._turn = None if gain is None else (turn[0], steps, gain)
        return turn

    def _learn(self, tasks: Sequence[TaskSearch]) -> None:
        """Counts what the last step was expected to save, and what it did."""
        if self._turn is None:
            return
        place, steps, expected = self._turn
        self._turn = None
        history = tasks[place].best_history_s
        # The tuner was not done, and there was a best to save from.
        if len(history) > steps and math.isfinite(history[steps - 1]):
            before, saved = self._told.get(place, (0.0, 0.0))
            saved += 1.0 - history[steps] / history[steps - 1]
            self._told[place] = (before + expected, saved)

    def saving(self, tasks: Sequence[TaskSearch], place: int) -> float:
        task = tasks[place]
        gain = task.expected_gain(self.budget.batch)
        if gain is None:
            saved_s = self._gradient.fall_s(task)
        else:
            saved_s = gain * self._trust(place) * task.best_s
        return task.problem.task.weight * saved_s / _step_s(task)

    def _trust(self, place: int) -> float:
        """What expectations of a task came true, as those of the network where it had few."""
        expected = sum(expected for expected, _ in self._told.values())
        saved = sum(saved for _, saved in self._told.values())
        of_network = (TRUST_PRIOR + saved) / (TRUST_PRIOR + expected)
        expected, saved = self._told.get(place, (0.0, 0.0))
        return (TRUST_PRIOR * of_network + saved) / (TRUST_PRIOR + expected)

    def little(self, tasks: Sequence[TaskSearch], saved: Mapping[int, float]) -> bool:
        if self.budget.stop_gain is None:
            return False
        ahead_s = SHARE_AHEAD * sum(task.measured_s for task in tasks)
        ran = [task for task in tasks if math.isfinite(task.best_s)]
        return _promised_s(tasks, saved, ahead_s) < self.budget.stop_gain * latency_s(ran)


def _step_s(task: TaskSearch) -> float:
    """Seconds that building and running a step of a task took so far in the mean."""
    return max(task.measured_s / len(task.best_history_s), LEAST_S)


def _promised_s(tasks: Sequence[TaskSearch], saved: Mapping[int, float], ahead_s: float) -> float:
    """Seconds of the network's latency that are expected of a time ahead.

    A step of each task, those that save most in a second first: what is expected of a step is
    there to be had once. Where there is time for more, as much again.

    Args:
        tasks: of the network.
        saved: by each second of the next step of a task, by its place.
        ahead_s: of building and running.
    """
    round_s = sum(_step_s(tasks[place]) for place in saved)
    left_s, promised_s = min(ahead_s, round_s), 0.0
    for place in sorted(saved, key=lambda place: -saved[place]):
        part_s = min(left_s, _step_s(tasks[place]))
        promised_s += saved[place] * part_s
        left_s -= part_s
    return promised_s * max(ahead_s / round_s, 1.0)


SCHEDULERS: dict[str, type[Scheduler]] = {one.name: one for one in (Even, Gradient, Expected)}
"""By their names."""
