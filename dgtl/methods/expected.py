"""`scheduler=expected`: the steps that save most per second, as the tuners' models expect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dgtl.methods.gradient import Greedy
from dgtl.methods.schedule import latency_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dgtl.methods.loop import TaskSearch

SHARE_AHEAD = 0.1
"""`Budget.stop_gain` looks ahead by this fraction of the seconds spent."""

LEAST_S = 1e-6
"""A step takes at least so long [s]: recorded trials may say that theirs took no time."""

TRUE, FADE = 0.75, 1.2
"""Of what its tuner expects of the k-th step of a task comes true in the mean: ``TRUE / k**FADE``.

The tuner's model says which task has more left than another, but goes on to expect much where
nothing came for long: decision 32, which fits both to steps on source networks.
"""

USUAL, DECAY = 0.05, 1.3
"""What the k-th step of a task saves of its latency in the mean where its tuner does not say:
``USUAL / k**DECAY`` (decision 30)."""


class Expected(Greedy):
    """The task that is expected to save most of the network's time per second of search.

    A step of task i is worth w_i t_i g_i c_k / s_i: its weight, its best latency, the fraction of
    that which its tuner expects the step to save (`TaskSearch.expected_gain`), what comes true of
    that in the mean of a step as late as this, and the seconds that building and running a step of
    it took so far in the mean. Where a tuner does not say, what steps save in the mean counts.
    """

    name = "expected"
    stops = True

    def saving(self, tasks: Sequence[TaskSearch], place: int) -> float:
        task = tasks[place]
        gain = task.expected_gain(self.budget.batch)
        step = len(task.best_history_s)
        saved = USUAL / step**DECAY if gain is None else gain * TRUE / step**FADE
        return task.problem.task.weight * saved * task.best_s / _step_s(task)

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
