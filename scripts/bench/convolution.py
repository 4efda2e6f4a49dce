"""The layer that the benchmarks share: 3x3 convolution of ResNet-18, 56x56, 64 to 64 channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tvm

from dgtl.tvm import hardware as machine
from dgtl.tvm.workload.networks import Layer
from dgtl.tvm.workload.sketches import ScheduleSpace
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    from dgtl.core.records import Task

LAYER = Layer("conv2d", 56, 64, 64, 3, 1, 1)


def load(cores: int | None = None) -> tuple[Task, ScheduleSpace]:
    """The layer's task and design space for kernels on ``cores`` of this machine; None: all."""
    hardware = machine.detect(cores)
    target = tvm.target.Target(hardware.target)
    for function in extract(lower(LAYER.model(0), target), hardware):
        if function.task is not None:
            return function.task, ScheduleSpace(function.mod, target)
    raise AssertionError("a convolution is always a task")
