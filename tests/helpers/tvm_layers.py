"""Small layers, lowered and with their design spaces, that the tests with TVM share."""

from __future__ import annotations

import functools
import os

import tvm

from dgtl.tvm import hardware as machine
from dgtl.tvm.workload.networks import Layer
from dgtl.tvm.workload.sketches import ScheduleSpace
from dgtl.tvm.workload.tasks import FusedFunction, extract, lower

CORES = min(2, len(os.sched_getaffinity(0)))
LAYERS = {
    "conv2d": Layer("conv2d", 14, 8, 16, 3, 2, 1),
    "conv2d_1x1": Layer("conv2d", 8, 16, 24),
    "depthwise_conv2d": Layer("depthwise_conv2d", 10, 12, 12, 3, 1, 1),
    "dense": Layer("dense", 1, 48, 20),
}


@functools.cache
def tuned_function(layer: Layer) -> FusedFunction:
    """The tunable function of a network of one layer."""
    hardware = machine.detect(CORES)
    functions = extract(lower(layer.model(0), tvm.target.Target(hardware.target)), hardware)
    return next(f for f in functions if f.task is not None)


@functools.cache
def schedules(layer: Layer) -> ScheduleSpace:
    """The design space of `tuned_function`."""
    return ScheduleSpace(tuned_function(layer).mod, tvm.target.Target(machine.detect(CORES).target))
