"""What a task, a space and a trial from a file may say: all that ours do, with room.

A file may be anybody's, and arithmetic on what it says must neither fail nor fill the memory.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dgtl.core.records import Task, Trial
    from dgtl.core.space import DesignSpace

MOST_EXTENT = 1 << 24
"""Of an axis, a buffer's dimension, a coefficient."""

MOST_AXES = 64
MOST_CORES = 1 << 20
MOST_BYTES = 1 << 40
"""Of a buffer."""

MOST_FLOPS = 1e24
MOST_LATENCY_S = 1e8
"""Of a run; AutoTVM writes 1e9 s for what has no time."""

LAST_TIMESTAMP = 2.5e11
"""The year 9892: later ones have no date."""


def check_task(task: Task) -> None:
    """Raises ValueError for axes, accesses or numbers that no task has."""
    if not task.axes or len(task.axes) > MOST_AXES:
        raise ValueError(f"a task of {len(task.axes)} axes")
    for axis in task.axes:
        if not 1 <= axis.extent <= MOST_EXTENT or axis.kind not in ("S", "R"):
            raise ValueError(f"axis {axis.name[:40]} has extent {axis.extent}, kind {axis.kind!r}")
    for access in task.accesses:
        name = access.buffer[:40]
        if len(access.shape) != len(access.strides) or len(access.shape) > MOST_AXES:
            raise ValueError(f"buffer {name}: shape and strides do not agree")
        if any(len(row) != len(task.axes) for row in access.strides):
            raise ValueError(f"buffer {name}: not one stride for each axis")
        if not all(1 <= n <= MOST_EXTENT for n in access.shape) or not 1 <= access.item_bytes <= 64:
            raise ValueError(f"buffer {name}: sizes out of range")
        if math.prod(access.shape) * access.item_bytes > MOST_BYTES:
            raise ValueError(f"buffer {name} is larger than any memory")
        coefficients = list(itertools.chain(*access.strides))
        if (
            max(coefficients, default=0) > MOST_EXTENT
            or min(coefficients, default=0) < -MOST_EXTENT
        ):
            raise ValueError(f"buffer {name}: strides out of range")
    if not 0 < task.flops <= MOST_FLOPS or not 1 <= task.weight <= MOST_EXTENT:
        raise ValueError(f"a task of {task.flops} operations, {task.weight} times in its network")
    if not 1 <= task.hardware.num_cores <= MOST_CORES:
        raise ValueError(f"hardware of {task.hardware.num_cores} cores")


def check_together(task: Task, space: DesignSpace) -> None:
    """Raises ValueError for a design space of which there are no features with this task."""
    if len(task.accesses) != 3:
        raise ValueError(f"a task of {len(task.accesses)} buffers, not data, weights and output")
    for knob in space.knobs:
        if knob.role != "tile" or knob.axis == -1:
            continue
        if knob.split is None or not 0 <= knob.axis < len(task.axes):
            raise ValueError(f"knob {knob.name[:40]} splits no axis of the task")
        levels = space.structure.count(task.axes[knob.axis].kind)
        parts = knob.table.shape[1]
        fits = len(knob.levels) == parts if knob.levels else parts == levels
        if not fits or not all(0 <= level < levels for level in knob.levels):
            raise ValueError(f"knob {knob.name[:40]} does not fit structure {space.structure}")


def check_trial(trial: Trial) -> None:
    """Raises ValueError for times that no trial has."""
    if trial.ok and not trial.run_times_s:
        raise ValueError("a trial that ran, without a run time")
    if not all(0 < t < MOST_LATENCY_S for t in trial.run_times_s):
        raise ValueError("run time out of range")
    seconds = (trial.build_s, trial.run_s, trial.wall_s, trial.model_s)
    if not all(0 <= t <= MOST_LATENCY_S * MOST_EXTENT for t in seconds):
        raise ValueError("seconds out of range")
    if not 0 <= trial.timestamp <= LAST_TIMESTAMP:
        raise ValueError(f"timestamp {trial.timestamp} out of range")
    if trial.predicted_gflops is not None and not math.isfinite(trial.predicted_gflops):
        raise ValueError("predicted throughput is not finite")
