"""A made-up machine with a smooth, known throughput, for comparing tuners without TVM."""

from __future__ import annotations

import functools

import numpy as np

from dgtl.core.history import SourceTask
from dgtl.core.knob import Knob
from dgtl.core.records import Access, Axis, Hardware, Status, Task, Trial
from dgtl.core.space import DesignSpace
from dgtl.features.problem import Problem
from dgtl.methods.loop import Budget, tune

HARDWARE = Hardware("made-up", '{"kind": "llvm"}', 4)


def dense(rows: int, columns: int, depth: int) -> Task:
    """A matrix product [rows, depth] x [depth, columns]."""
    axes = (Axis("i", rows, "S"), Axis("j", columns, "S"), Axis("k", depth, "R"))
    accesses = (
        Access("data", (rows, depth), ((1, 0, 0), (0, 0, 1)), 4, False, False),
        Access("weight", (depth, columns), ((0, 0, 1), (0, 1, 0)), 4, True, False),
        Access("out", (rows, columns), ((1, 0, 0), (0, 1, 0)), 4, False, True),
    )
    flops = 2.0 * rows * columns * depth
    return Task(
        f"dense_{rows}x{columns}x{depth}", "dense", "dense", axes, accesses, flops, HARDWARE
    )


def space_of(task: Task) -> DesignSpace:
    """Four-part tiles of spatial axes, two-part tiles of the reduction, sketch and unrolling."""
    parts = {"S": 4, "R": 2}
    tiles = [
        Knob.tile(f"tile_{axis.name}", a, axis.extent, parts[axis.kind], 64)
        for a, axis in enumerate(task.axes)
    ]
    sketch = Knob.choice("sketch", "sketch", (0, 1, 2))
    unroll = Knob.choice("unroll", "unroll", (0, 16, 64, 512))
    return DesignSpace((sketch, *tiles, unroll), "SSRSRS")


def gflops(space: DesignSpace, key: str) -> float:
    """At most 100: inner tiles of 4 x 16, reduction 8, unrolling 64 and sketch 1 are best."""
    chosen = space.values(space.parse(key))
    i, j, k = (np.log2(chosen[f"tile_{axis}"]) for axis in "ijk")
    miss = (
        0.5 * (i[3] - 2) ** 2
        + 0.5 * (j[3] - 4) ** 2
        + 0.3 * (i[2] - 1) ** 2
        + 0.3 * (j[2] - 1) ** 2
        + 0.3 * (k[1] - 3) ** 2
        + 0.5 * (chosen.get("sketch", (1,)) != (1,))
        + 0.2 * abs(np.log2(1 + chosen.get("unroll", (63,))[0]) - 6)
    )
    return float(100 * 2 ** (-0.5 * miss))


class Machine:
    """A `dgtl.measure.protocol.Measurer` of `gflops`; one in eleven fails, or all."""

    def __init__(self, space: DesignSpace, *, broken: bool = False):
        self._space = space
        self._broken = broken

    def measure(self, task, configs, *, best_s, on_trial=None):
        return [self._trial(task, key) for key in configs]

    def _trial(self, task: Task, key: str) -> Trial:
        if self._broken or int(self._space.parse(key).sum()) % 11 == 3:
            return Trial(task.key, key, Status.RUN_ERROR, error="made up")
        latency_s = task.flops / 1e9 / gflops(self._space, key)
        times_s = tuple(latency_s * spread for spread in (0.99, 1.0, 1.01))
        unroll = self._space.values(self._space.parse(key)).get("unroll", (0,))[0]
        build_s = 0.1 + unroll / 512
        return Trial(task.key, key, Status.OK, run_times_s=times_s, build_s=build_s)

    def close(self) -> None:
        pass


TASK = dense(64, 256, 128)
SPACE = space_of(TASK)
TINY_TASK = dense(2, 3, 2)
"""Its space is smaller than a batch."""


def tiny_space() -> DesignSpace:
    tiles = [
        Knob.tile(f"tile_{a.name}", i, a.extent, 4 if a.kind == "S" else 2, 64)
        for i, a in enumerate(TINY_TASK.axes)
    ]
    return DesignSpace(tuple(tiles), "SSRSRS")


@functools.cache
def sources(n: int = 120) -> tuple[SourceTask, ...]:
    """Other shapes with ``n`` random trials each."""
    found = []
    for seed, shape in enumerate([(32, 256, 64), (64, 64, 128), (128, 512, 32), (16, 96, 192)]):
        task = dense(*shape)
        space = space_of(task)
        keys = space.keys(space.sample_distinct(np.random.default_rng(seed), n))
        trials = Machine(space).measure(task, keys, best_s=np.inf)
        found.append(SourceTask(task, space, tuple(trials)))
    return tuple(found)


def run(
    method,
    seed: int,
    trials: int,
    *,
    batch: int = 64,
    broken: bool = False,
    task: Task = TASK,
    space: DesignSpace = SPACE,
) -> list[Trial]:
    """The trials of a tuning."""
    tuner = method.tuner(Problem(task, space), np.random.SeedSequence(seed))
    machine = Machine(space, broken=broken)
    return tune(Problem(task, space), tuner, machine, Budget(trials, batch))


def best(trials: list[Trial], task: Task = TASK) -> float:
    """Best throughput [GFLOPS]; 0 if nothing ran."""
    return max((task.gflops(trial.latency_s) for trial in trials if trial.ok), default=0.0)
