"""`scheduler=expected`: the steps that save most per second, as the tuners' models expect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dgtl.methods.gradient import Greedy
from dgtl.methods.schedule import latency_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dgtl.methods.loop import Budget, TaskSearch

SHARE_AHEAD = 0.1
"""`Budget.stop_gain` looks ahead by this fraction of the seconds spent."""

LEAST_S = 1e-6
"""A step takes at least so long [s]: recorded trials may say that theirs took no time."""

TRUST_PRIOR = 0.5
"""Fraction of a latency, expected and saved before any is counted, see `Expected`.

Not less: what a task still has comes seldom and at once, so that a few steps in vain say little.
"""

USUAL, DECAY = 0.05, 1.3
"""What the k-th step of a task saves of its latency in the mean, whatever its tuner expects:
``USUAL / k**DECAY``. It fits steps of four trials on source networks (decision 30)."""


class Expected(Greedy):
    """The task that is expected to save most of the network's time per second of search.

    A step of task i is worth w_i t_i (g_i c_i + u_i) / 2 s_i: its weight, its best latency, the
    fraction of that which its tuner expects the step to save (`TaskSearch.expected_gain`), what
    expectations of this task came true so far (those of the network where it had few), what a step
    as late as this saves in the mean, and the seconds that building and running a step of it took
    so far in the mean. Where a tuner does not say, the usual u_i alone counts.
    """

    name = "expected"
    stops = True

    def __init__(self, budget: Budget):
        super().__init__(budget)
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
        saved = USUAL / len(task.best_history_s) ** DECAY
        if gain is not None:
            saved = (gain * self._trust(place) + saved) / 2
        return task.problem.task.weight * saved * task.best_s / _step_s(task)

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
        return promised_s(tasks, saved, ahead_s) < self.budget.stop_gain * latency_s(ran)


def _step_s(task: TaskSearch) -> float:
    """Seconds that building and running a step of a task took so far in the mean."""
    return max(task.measured_s / len(task.best_history_s), LEAST_S)


def promised_s(tasks: Sequence[TaskSearch], saved: Mapping[int, float], ahead_s: float) -> float:
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
