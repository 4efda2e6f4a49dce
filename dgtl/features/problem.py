"""What a tuner is given: a task, its design space, its features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgtl.features.loop_nest import FeatureMap

if TYPE_CHECKING:
    from dgtl.core.records import Task, Trial
    from dgtl.core.space import DesignSpace


class Problem:
    """What a tuner is given: a task, its design space, its features.

    Args:
        task: the task to tune.
        space: its configurations.
    """

    def __init__(self, task: Task, space: DesignSpace):
        self.task = task
        self.space = space
        self.features = FeatureMap(task, space)

    def gflops(self, trial: Trial) -> float:
        """Throughput of a trial that ran [GFLOPS]."""
        return self.task.gflops(trial.latency_s)
