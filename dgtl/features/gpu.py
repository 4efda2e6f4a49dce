"""What a tiled loop nest becomes on a GPU: blocks, virtual threads, threads, staged memory.

For structures that begin with those three spatial levels and stage the inputs inside of the first
reduction level, as AutoTVM's templates and MetaSchedule's sketches do: every block copies to shared
memory what it reads between two steps of the outer reductions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dgtl.core.gpus import GPUS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dgtl.core.records import Task

KINDS = ("cuda", "nvptx", "rocm", "opencl", "vulkan", "metal")
"""Kinds of target that these columns are for."""

WARP = 32
"""Threads that run in lockstep."""

SEGMENT_BYTES = 128
"""Memory that one access of a whole warp covers at best."""


def ceil(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Least integer not below x, where x comes of float32 logarithms: 9.000001 was 9."""
    return np.ceil(x * np.float32(1 - 1e-5))


def log2_limit(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """What sums of float32 logarithms may reach where a body of `steps` still fits: 16 is 16."""
    return np.log2(np.maximum(steps, 1)) + np.float32(1e-3)


def columns(
    task: Task,
    tiles: list[NDArray[np.float32]],
    stage_extents: list[NDArray[np.float32]],
    staged: list[NDArray[np.float32]],
    unroll_steps: NDArray[np.float32],
    explicit: NDArray[np.float32],
) -> dict[str, NDArray[np.float32] | float]:
    """The columns of N configurations by name: arrays [N], or a number for all.

    Args:
        task: axes and accesses; the output's last dimension is contiguous in memory.
        tiles: per axis, log2 of its factor at every level of its kind [N, levels].
        stage_extents: per axis, log2 of what a block covers between two steps of the outer
            reductions [N].
        staged: per access, log2 of the bytes that this touches [N].
        unroll_steps: limit of the loop bodies to unroll [N].
        explicit: 1 where unrolling is done before the device compiler sees the code [N].
    """
    spatial = [a for a, axis in enumerate(task.axes) if axis.kind == "S"]
    reduction = [a for a, axis in enumerate(task.axes) if axis.kind == "R"]
    last = next(a for a in spatial if task.accesses[-1].strides[-1][a])

    blocks, vthreads, threads = (sum(tiles[a][:, level] for a in spatial) for level in range(3))
    inner = sum(tiles[a][:, 3:].sum(axis=1) for a in spatial)
    stages = sum(tiles[a][:, 0] for a in reduction)
    cores = task.hardware.num_cores
    imbalance = np.log2(ceil(np.exp2(blocks) / cores) * cores) - blocks
    warps = ceil(np.exp2(threads) / WARP)
    warp_waste = np.log2(warps * WARP) - threads

    data, weight = staged[:2]
    shared = np.logaddexp2(data, weight)
    item_bytes = task.accesses[0].item_bytes
    loads = shared - math.log2(item_bytes) - threads
    # Two operations per iteration of a block between two stagings.
    stage_intensity = 1 + sum(stage_extents) - shared
    traffic = [blocks + stages + b for b in (data, weight, shared)]

    # What a warp reads or writes in a row of memory, and what of its segments it does not use.
    row = stage_extents[last]
    row_bytes = np.exp2(row) * item_bytes
    row_waste = np.log2(ceil(row_bytes / SEGMENT_BYTES) * SEGMENT_BYTES / row_bytes)
    body = inner + vthreads + sum(tiles[a][:, 1:].sum(axis=1) for a in reduction)
    unrolled = np.where(body <= log2_limit(unroll_steps), body, 0)

    return {
        **device_columns(task),
        "blocks": blocks,
        "block_imbalance": imbalance,
        "threads": threads,
        "warp_waste": warp_waste,
        "vthreads": vthreads,
        "outputs_per_thread": inner + vthreads,
        "shared_data": data,
        "shared_weight": weight,
        "shared": shared,
        "stages": stages,
        "loads_per_thread": loads,
        "stage_intensity": stage_intensity,
        "traffic_data": traffic[0],
        "traffic_weight": traffic[1],
        "traffic": traffic[2],
        "traffic_intensity": math.log2(task.flops) - traffic[2],
        "thread_x": tiles[last][:, 2],
        "warp_x": np.minimum(tiles[last][:, 2], math.log2(WARP)),
        "vthread_x": tiles[last][:, 1],
        "inner_x": tiles[last][:, 3:].sum(axis=1),
        "row": row,
        "row_waste": row_waste,
        "unroll": np.log2(1 + unroll_steps),
        "unroll_explicit": explicit,
        "body": body,
        "unrolled": unrolled,
    }


def device_columns(task: Task) -> dict[str, float]:
    """What is known of the device, the same for all configurations; zeros where nothing is."""
    names = ("device_lanes", "device_clock", "device_bandwidth", "device_l2", "device_shared")
    gpu = GPUS.get(task.hardware.name)
    if gpu is None:
        return dict.fromkeys(names, 0.0)
    facts = (gpu.lanes, gpu.clock_mhz, gpu.bandwidth_gb_s, gpu.l2_mb, gpu.shared_kb)
    return dict(zip(names, map(math.log2, facts), strict=True))
