"""Schedules of the two transformations of minimal filtering, see `dgtl.tvm.workload.winograd`.

A tile is 36 elements of as many matrices, which lie a matrix apart: where that is a multiple of a
page, as in VGG-16, all 36 want the same lines of a core's cache. So where the matrices are larger
than such a cache, a run of tiles, all channels of each, is kept beside, and moved to or from each
matrix in one go: docs/decisions/0028-tiles-in-runs.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import tvm

from dgtl.tvm.workload.blocks import lanes_of
from dgtl.tvm.workload.winograd import INVERSE, SIDE, TRANSFORM, M

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import LoopRV, SBlockRV

NEAR = 1 << 20
"""Bytes of matrices that a core's own cache holds."""

RUN = 512
"""Elements of a matrix that are moved in one go."""

HALF, TILES = "winograd_half", "winograd_tiles"


def schedule(mod: tvm.ir.IRModule, target: tvm.target.Target) -> Schedule | None:
    """The schedule of a function of `transform` or `inverse`; None of any other.

    Runs of tiles in parallel; of each tile so many channels at a time as vector registers hold,
    what is between the two multiplications nearest to them.
    """
    sch = tvm.s_tir.Schedule(mod, debug_mask="none", error_render_level="none")
    names = [sch.get(block).name_hint for block in sch.get_child_blocks(sch.get_sblock("root"))]
    if TRANSFORM in names:
        last, before, nest = TRANSFORM, [HALF, TILES], _transform
    elif INVERSE in names:
        last, before, nest = names[-1], [INVERSE, HALF], _inverse
    else:
        return None
    for name in names:
        if name not in (last, *before):
            sch.compute_inline(sch.get_sblock(name))
    outer = nest(sch, sch.get_sblock(last), target)
    for name in before:
        if name != last:
            block = sch.get_sblock(name)
            sch.set_scope(block, 0, "local")
            sch.compute_at(block, outer[-1])
            _unroll(sch, sch.get_loops(block)[len(outer) :])
    matrices = sch.get(sch.get_sblock(HALF)).reads[0].source
    if last != TRANSFORM and _far(math.prod(int(n) for n in matrices.shape)):
        moved = sch.cache_read(sch.get_sblock(HALF), 0, "local")
        sch.compute_at(moved, outer[0], preserve_unit_loops=True)
        _move(sch, sch.get_loops(moved)[2:])
    return sch


def _transform(sch: Schedule, block: SBlockRV, target: tvm.target.Target) -> list[LoopRV]:
    """Loops around the places of a tile, of which the outer ones are parallel."""
    places, tiles, channels = (int(sch.get(loop).extent) for loop in sch.get_loops(block))
    if not _far(places * tiles * channels):
        place, tile, channel = sch.get_loops(block)
        outer = [sch.fuse(tile)]
    else:
        moved = sch.cache_write(block, 0, "local")
        place, tile, channel = sch.get_loops(moved)
        run, step = sch.split(tile, [None, _run(tiles, channels)])
        sch.reorder(run, place, step, channel)
        _move(sch, [step, channel])
        sch.compute_at(block, run, preserve_unit_loops=True)
        place, tile, channel = sch.get_loops(block)[-3:]
        outer = [run, tile]
    part, lane = sch.split(channel, [None, lanes_of(channels, target)])
    inner = sch.split(place, [SIDE, SIDE])
    sch.reorder(*outer[1:], *([] if outer[1:] else outer), part, *inner, lane)
    _unroll(sch, [*inner, lane])
    sch.parallel(outer[0])
    return [*outer, part]


def _inverse(sch: Schedule, block: SBlockRV, target: tvm.target.Target) -> list[LoopRV]:
    """Loops around the outputs of a tile, of which the outer ones are parallel."""
    n, y, x, channel = sch.get_loops(block)
    channels = int(sch.get(channel).extent)
    (row, y), (column, x) = (sch.split(loop, [None, M]) for loop in (y, x))
    images, rows, columns = (int(sch.get(loop).extent) for loop in (n, row, column))
    far = _far(SIDE**2 * images * rows * columns * channels)
    run, step = sch.split(column, [None, _run(columns, channels) if far else 1])
    part, lane = sch.split(channel, [None, lanes_of(channels, target)])
    sch.reorder(n, row, run, step, part, y, x, lane)
    _unroll(sch, [y, x, lane])
    runs = sch.fuse(n, row, run)
    sch.parallel(runs)
    return [runs, step, part]


def _far(elements: int) -> bool:
    """Whether matrices of so many elements are beyond a core's own cache."""
    return 4 * elements > NEAR


def _run(tiles: int, channels: int) -> int:
    """Tiles of a run, of which there are whole ones."""
    most = max(RUN // channels, 1)
    return max(n for n in range(1, most + 1) if tiles % n == 0)


def _move(sch: Schedule, loops: Sequence[LoopRV]) -> None:
    """Moves what loops are over by vectors."""
    sch.vectorize(sch.split(sch.fuse(*loops), [None, 8])[-1])


def _unroll(sch: Schedule, loops: Sequence[LoopRV]) -> None:
    """Unrolls all loops but the last, which is a vector."""
    for loop in loops[:-1]:
        sch.unroll(loop)
    sch.vectorize(loops[-1])
