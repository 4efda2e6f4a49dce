"""Small tasks, spaces and trials that tests share: no TVM, no files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core.history import SourceTask
from dgtl.core.knob import Knob
from dgtl.core.records import Access, Axis, Hardware, Status, Task, Trial
from dgtl.core.space import DesignSpace
from dgtl.results.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

HARDWARE = Hardware("toy-cpu", '{"kind": "llvm", "mcpu": "toy", "num-cores": 4}', 4)
FAILURES = [status for status in Status if status is not Status.OK]


def dense(rows: int = 4, columns: int = 16, depth: int = 8, hardware: Hardware = HARDWARE) -> Task:
    """A matrix product [rows, depth] x [depth, columns] of float32."""
    axes = (Axis("i", rows, "S"), Axis("j", columns, "S"), Axis("k", depth, "R"))
    accesses = (
        Access("data", (rows, depth), ((1, 0, 0), (0, 0, 1)), 4, False, False),
        Access("weight", (depth, columns), ((0, 0, 1), (0, 1, 0)), 4, True, False),
        Access("out", (rows, columns), ((1, 0, 0), (0, 1, 0)), 4, False, True),
    )
    key = f"dense_{rows}x{columns}x{depth}@{hardware.name}/{hardware.num_cores}"
    flops = 2.0 * rows * columns * depth
    return Task(key, "fused_dense_add", "dense", axes, accesses, flops, hardware)


def conv2d(
    size: int = 8, inputs: int = 4, outputs: int = 16, kernel: int = 3, stride: int = 1
) -> Task:
    """A convolution NHWC x HWIO without padding of its own, ``size`` the output's."""
    extents = (1, size, size, outputs, kernel, kernel, inputs)
    axes = tuple(
        Axis(name, extent, kind)
        for name, extent, kind in zip(
            ("nn", "yy", "xx", "ff", "ry", "rx", "rc"), extents, "SSSSRRR", strict=True
        )
    )
    read = (size - 1) * stride + kernel

    def row(**coefficients: int) -> tuple[int, ...]:
        return tuple(coefficients.get(axis.name, 0) for axis in axes)

    n, y, x, c = row(nn=1), row(yy=stride, ry=1), row(xx=stride, rx=1), row(rc=1)
    accesses = (
        Access("pad_temp", (1, read, read, inputs), (n, y, x, c), 4, False, False),
        Access(
            "weight",
            (kernel, kernel, inputs, outputs),
            (row(ry=1), row(rx=1), row(rc=1), row(ff=1)),
            4,
            True,
            False,
        ),
        Access(
            "out", (1, size, size, outputs), (n, row(yy=1), row(xx=1), row(ff=1)), 4, False, True
        ),
    )
    key = f"conv2d_{'x'.join(map(str, extents))}_{stride}@{HARDWARE.name}/{HARDWARE.num_cores}"
    flops = 2.0 * float(np.prod(extents))
    return Task(key, "fused_conv2d_add_relu", "conv2d", axes, accesses, flops, HARDWARE)


def space_of(task: Task, *, located: bool = False) -> DesignSpace:
    """Knobs as TVM's sketches have them on a CPU (SSRSRS)."""
    tiles = [
        Knob.tile(f"tile_{axis.name}", a, axis.extent, 4 if axis.kind == "S" else 2, 64)
        for a, axis in enumerate(task.axes)
    ]
    knobs = [
        Knob.choice("sketch", "sketch", (0, 1, 2)),
        *tiles,
        Knob.choice("unroll", "unroll", (0, 16, 64, 512)),
    ]
    if located:
        n_loops = sum(4 if axis.kind == "S" else 2 for axis in task.axes)
        knobs.append(Knob.choice("location", "location", (-2, -1, *range(n_loops // 2))))
    return DesignSpace(tuple(knobs), "SSRSRS")


def trial(task: Task, config: str, latency_s: float | None, **fields: object) -> Trial:
    """A trial that ran in ``latency_s`` seconds, or failed if that is None."""
    costs = {"build_s": 0.3, "run_s": 0.1, "wall_s": 0.2, "model_s": 0.05, **fields}
    if latency_s is None:
        return Trial(task.key, config, Status.RUN_ERROR, error="it failed", **costs)
    return Trial(task.key, config, Status.OK, run_times_s=(latency_s,) * 3, **costs)


def latency_s(task: Task, space: DesignSpace, key: str) -> float | None:
    """A made-up machine: better the nearer each knob is to its last option; a few fail."""
    config = space.parse(key)
    if sum(int(i) for i in config) % 11 == 3:
        return None
    share = float(np.mean(config / np.maximum(space.sizes - 1, 1)))
    return task.flops / 1e9 / (1.0 + 100.0 * share)


def recorded(task: Task, space: DesignSpace) -> list[Trial]:
    """Every configuration of a space, tried on the made-up machine by a model that took no time."""
    keys = space.keys(space.at(range(space.size)))
    return [trial(task, key, latency_s(task, space, key), model_s=0.0) for key in keys]


def tuned(task: Task, space: DesignSpace, n: int, seed: int, n_set: int = 0) -> SourceTask:
    """A task with ``n`` random trials on the made-up machine; ``n_set``: tuning set."""
    rng = np.random.default_rng(seed)
    keys = space.keys(space.sample_distinct(rng, n))
    trials = tuple(
        trial(
            task,
            key,
            latency_s(task, space, key),
            stage="tuning_set" if i < n_set else "search",
        )
        for i, key in enumerate(keys)
    )
    return SourceTask(task, space, trials)


def summary(results: Sequence[SourceTask], **changed: Any) -> Summary:
    """Of a run on these tasks; what is not named is of no matter to the test."""
    settings: dict[str, Any] = {
        "workload": "toy",
        "model": "dgp",
        "hardware": HARDWARE,
        "seed": 0,
        "pretrain_s": 0.0,
        "sources": [],
        "untuned_latency_ms": None,
        "latency_ms": 1.0,
    }
    return summarise(results, **{**settings, **changed})
