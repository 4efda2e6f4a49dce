"""The loop nest of a configuration, walked iteration by iteration: what features must say of it."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dgtl.core.gpus import GPUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dgtl.core.records import Access, Task
    from dgtl.core.space import DesignSpace

BUFFERS = ("data", "weight", "out")

REGISTERS = {"znver4": (32, 64), "haswell": (16, 32), "nehalem": (16, 16), "neoverse-n1": (32, 16)}
"""Vector registers of processors, and bytes of one."""


@dataclass(frozen=True)
class Loop:
    """One loop of the tiled nest."""

    axis: int
    part: int
    """Which factor of its axis's tile, from the outermost."""
    factor: int
    step: int
    """What one iteration adds to the index of the axis."""
    level: int
    """Where it stands in the structure."""


def loops_of(task: Task, space: DesignSpace, config) -> list[Loop]:
    """All loops from the outermost to the innermost."""
    factors_of = {a: tile_factors(task, space, config, a) for a in range(len(task.axes))}
    seen = {"S": 0, "R": 0}
    loops = []
    for level, kind in enumerate(space.structure):
        for axis, described in enumerate(task.axes):
            if described.kind != kind:
                continue
            factors = factors_of[axis]
            part = seen[kind]
            step = math.prod(factors[part + 1 :])
            loops.append(Loop(axis, part, factors[part], step, level))
        seen[kind] += 1
    return loops


def tile_factors(task: Task, space: DesignSpace, config, axis: int) -> list[int]:
    """Factors of an axis, outermost first; without a knob it is one loop, the outermost."""
    levels = space.structure.count(task.axes[axis].kind)
    for knob, choice in zip(space.knobs, config, strict=True):
        if knob.role == "tile" and knob.axis == axis:
            parts = knob.options[choice]
            places = knob.levels or range(levels)
            return [
                math.prod(f for f, place in zip(parts, places, strict=True) if place == level)
                for level in range(levels)
            ]
    return [task.axes[axis].extent] + [1] * (levels - 1)


def walk(task: Task, loops: Iterable[Loop]) -> Iterator[tuple[int, ...]]:
    """The axes' indices at every iteration of some loops, the others held at 0."""
    loops = list(loops)
    for counters in itertools.product(*(range(loop.factor) for loop in loops)):
        index = [0] * len(task.axes)
        for loop, counter in zip(loops, counters, strict=True):
            index[loop.axis] += counter * loop.step
        yield tuple(index)


def iterations(task: Task, loops: Iterable[Loop]) -> int:
    return sum(1 for _ in walk(task, loops))


def touched(task: Task, access: Access, loops: Iterable[Loop]) -> set[tuple[int, ...]]:
    """Elements of a buffer that some loops touch."""
    return {
        tuple(sum(c * i for c, i in zip(row, index, strict=True)) for row in access.strides)
        for index in walk(task, loops)
    }


def n_bytes(task: Task, access: Access, loops: Iterable[Loop]) -> int:
    """Bytes of the smallest box that holds what some loops touch.

    A stride may leave gaps in it: they are fetched all the same.
    """
    elements = touched(task, access, loops)
    spans = [max(d) - min(d) + 1 for d in zip(*elements, strict=True)]
    return math.prod(spans) * access.item_bytes


def role_axes(task: Task, kind: str, role: int) -> list[int]:
    """Axes of the role-th kind, counted from the innermost; the third has all that are left."""
    axes = [a for a, axis in enumerate(task.axes) if axis.kind == kind][::-1]
    return axes[2:] if role == 3 else axes[role - 1 : role]


def nest_columns(task: Task, space: DesignSpace, config) -> dict[str, float]:
    """Columns that all hardware shares: shape, tiles, boundaries."""
    loops = loops_of(task, space, config)
    found: dict[str, float] = {}
    for kind in "SR":
        for role in (1, 2, 3):
            name, axes = f"{kind.lower()}{role}", role_axes(task, kind, role)
            extent = math.prod(task.axes[a].extent for a in axes)
            found[f"extent_{name}"] = math.log2(extent)
            for part in range(space.structure.count(kind)):
                factors = [p.factor for p in loops if p.axis in axes and p.part == part]
                found[f"tile_{name}_{part}"] = math.log2(math.prod(factors))
    sizes = [math.prod(a.shape) * a.item_bytes for a in task.accesses]
    for buffer, size in zip(BUFFERS, sizes, strict=True):
        found[f"bytes_{buffer}"] = math.log2(size)
    whole = iterations(task, loops)
    found["flops"] = math.log2(2 * whole)
    found["intensity"] = math.log2(2 * whole / sum(sizes))
    found["stride"] = math.log2(max(c for row in task.accesses[0].strides for c in row))
    found["depthwise"] = float(task.kind == "depthwise_conv2d")
    found["padded"] = float("location" in space.values(config))
    found["cores"] = math.log2(task.hardware.num_cores)
    for b in range(1, len(space.structure)):
        inside = [loop for loop in loops if loop.level >= b]
        at = f"{space.structure[:b]}|{space.structure[b:]}"
        count = iterations(task, inside)
        touches = [n_bytes(task, access, inside) for access in task.accesses]
        found[f"iterations_{at}"] = math.log2(count)
        for buffer, size in zip(BUFFERS, touches, strict=True):
            found[f"{buffer}_{at}"] = math.log2(size)
        found[f"bytes_{at}"] = math.log2(sum(touches))
        found[f"intensity_{at}"] = math.log2(2 * count / sum(touches))
    return found


def cpu_columns(task: Task, space: DesignSpace, config) -> dict[str, float]:
    """Columns of a CPU: vectors, parallel jobs, unrolling, and the producer of the data."""
    chosen, loops = space.values(config), loops_of(task, space, config)
    cores = task.hardware.num_cores
    innermost = [p for p in loops if p.level == len(space.structure) - 1]
    row = role_axes(task, "S", 1)[0]
    vector = next(p.factor for p in innermost if p.axis == row)
    count, width = REGISTERS[json.loads(task.hardware.target)["mcpu"]]
    lanes = width // task.accesses[-1].item_bytes
    # One register holds so many neighbours in the row; the last one may be partly empty.
    registers = {i // lanes for i in range(vector)}
    outputs = {
        (*(v for a, v in enumerate(index) if a != row), index[row] // lanes)
        for index in walk(task, innermost)
    }
    jobs = 1
    for loop in (p for p in loops if p.part < 2 and task.axes[p.axis].kind == "S"):
        if jobs * loop.factor > 16 * cores:
            break
        jobs *= loop.factor
    busiest = max(len(range(core, jobs, cores)) for core in range(cores))

    (steps,) = chosen.get("unroll", (0,))
    unrolled = 1.0
    for b in range(1, len(space.structure)):
        inside = [loop for loop in loops if loop.level >= b]
        # A vector is one instruction; vectorising goes up to 64 elements.
        body = iterations(task, inside) / min(vector, 64)
        if body <= max(steps, 1):
            unrolled = max(unrolled, body)
    found = {
        "vector": math.log2(vector),
        "vector_waste": math.log2(len(registers) * lanes / vector),
        "accumulators": math.log2(32 * len(outputs) / count),
        "parallel": math.log2(jobs),
        "imbalance": math.log2(busiest * cores / jobs),
        "unroll": math.log2(1 + steps),
        "unrolled": math.log2(unrolled),
        **{f"sketch_{s}": float(chosen.get("sketch", (0,))[0] == s) for s in range(3)},
        **dict.fromkeys(("producer_inline", "producer_root"), 0.0),
        **dict.fromkeys(("producer_bytes", "producer_repeats"), 0.0),
    }
    if "location" in chosen:
        (location,) = chosen["location"]
        outside = loops if location == -2 else loops[: location + 1]
        inside = loops[len(outside) :]
        data = task.accesses[0]
        size = n_bytes(task, data, inside)
        computed = iterations(task, outside) * size
        whole = math.prod(data.shape) * data.item_bytes
        found |= {
            "producer_inline": float(location == -2),
            "producer_root": float(location == -1),
            "producer_bytes": math.log2(size),
            "producer_repeats": math.log2(computed / whole),
        }
    return found


def gpu_columns(task: Task, space: DesignSpace, config) -> dict[str, float]:
    """Columns of a GPU: spatial levels are blocks, virtual threads, threads and what is inside."""
    chosen, loops = space.values(config), loops_of(task, space, config)
    cores = task.hardware.num_cores
    spatial = [p for p in loops if task.axes[p.axis].kind == "S"]
    reduction = [p for p in loops if task.axes[p.axis].kind == "R"]
    blocks, vthreads, threads = (
        iterations(task, [p for p in spatial if p.part == part]) for part in range(3)
    )
    inner = iterations(task, [p for p in spatial if p.part > 2])
    stages = iterations(task, [p for p in reduction if p.part == 0])
    waves = max(len(range(core, blocks, cores)) for core in range(cores))
    warps = len({thread // 32 for thread in range(threads)})

    stage = [p for p in loops if p.part > 0]
    item = task.accesses[0].item_bytes
    data, weight = (n_bytes(task, access, stage) for access in task.accesses[:2])
    # The axis along which the output is contiguous in memory.
    last = next(a for a, c in enumerate(task.accesses[-1].strides[-1]) if c)
    row = len({index[last] for index in walk(task, stage)})
    segments = {i * item // 128 for i in range(row)}
    (steps,) = chosen.get("unroll", (0,))
    body = inner * vthreads * iterations(task, [p for p in reduction if p.part > 0])

    def along(part: int) -> int:
        return math.prod(p.factor for p in spatial if p.axis == last and p.part == part)

    moved = blocks * stages
    gpu = GPUS.get(task.hardware.name)
    device = (gpu.lanes, gpu.clock_mhz, gpu.bandwidth_gb_s, gpu.l2_mb, gpu.shared_kb) if gpu else ()
    facts = ("lanes", "clock", "bandwidth", "l2", "shared")
    known = {f"device_{n}": math.log2(v) for n, v in zip(facts, device, strict=False)}
    return {
        **(known or {f"device_{fact}": 0.0 for fact in facts}),
        "vector_load_data": math.log2(chosen.get("vector_load", (1,))[0]),
        "vector_load_weight": math.log2(chosen.get("vector_load_2", (1,))[0]),
        **{f"sketch_{s}": float(chosen.get("sketch", (0,))[0] == s) for s in range(3)},
        "blocks": math.log2(blocks),
        "block_imbalance": math.log2(waves * cores / blocks),
        "threads": math.log2(threads),
        "warp_waste": math.log2(warps * 32 / threads),
        "vthreads": math.log2(vthreads),
        "outputs_per_thread": math.log2(inner * vthreads),
        "shared_data": math.log2(data),
        "shared_weight": math.log2(weight),
        "shared": math.log2(data + weight),
        "stages": math.log2(stages),
        "loads_per_thread": math.log2((data + weight) / item / threads),
        "stage_intensity": math.log2(2 * iterations(task, stage) / (data + weight)),
        "traffic_data": math.log2(moved * data),
        "traffic_weight": math.log2(moved * weight),
        "traffic": math.log2(moved * (data + weight)),
        "traffic_intensity": math.log2(2 * iterations(task, loops) / (moved * (data + weight))),
        "thread_x": math.log2(along(2)),
        "warp_x": math.log2(min(along(2), 32)),
        "vthread_x": math.log2(along(1)),
        "inner_x": math.log2(along(3) * along(4)),
        "row": math.log2(row),
        "row_waste": math.log2(len(segments) * 128 / (row * item)),
        "unroll": math.log2(1 + steps),
        "unroll_explicit": float(chosen.get("unroll_explicit", (0,))[0]),
        "body": math.log2(body),
        "unrolled": math.log2(body) if body <= max(steps, 1) else 0.0,
    }
