"""Small layers, lowered and with their design spaces, that the tests with TVM share."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import numpy as np
import tvm

from dgtl.core.history import TrialLog
from dgtl.core.records import Status, Trial
from dgtl.tvm import hardware as machine
from dgtl.tvm.workload.networks import Layer
from dgtl.tvm.workload.sketches import ScheduleSpace
from dgtl.tvm.workload.tasks import FusedFunction, extract, lower

if TYPE_CHECKING:
    from pathlib import Path

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


SOURCES = (
    Layer("conv2d", 12, 8, 12, 3, 1, 1),
    Layer("depthwise_conv2d", 12, 8, 8, 3, 1, 1),
    Layer("dense", 1, 32, 24),
)
"""What `write_history` is of: layers that no network has."""


def write_history(path: Path) -> None:
    """A history of `SOURCES` on a made-up machine: outer tiles are bad for it."""
    rng = np.random.default_rng(0)
    with TrialLog(path) as log:
        for layer in SOURCES:
            task, space = tuned_function(layer).task, schedules(layer).space
            log.task(task, space)
            configs = space.sample_distinct(rng, 40)
            for config, key in zip(configs, space.keys(configs), strict=True):
                share = float(np.mean(config / np.maximum(space.sizes - 1, 1)))
                latency_s = task.flops / 1e9 / (1.0 + 50.0 * share)
                log.trial(Trial(task.key, key, Status.OK, run_times_s=(latency_s,) * 3))
