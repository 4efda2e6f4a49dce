"""Schedules of functions that pass over memory: copies, shuffles, concatenations, means, pools.

They multiply nothing, so that what counts is how they read and write. TVM's rules fuse all loops
and vectorise across rows, with the division and remainder of a reshape worked out anew for every
element; and they sum up one channel at a time, whose elements lie far apart. Here rows of the last
axis stay whole and run in parallel. Where a row's index is taken modulo a small number (a channel
shuffle) or has parts from several tensors (a concatenation), its loop is split there, so that each
part is read in order. Sums and maxima of other axes than the last one keep as many channels at a
time as vector registers hold.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tvm
from tvm.ir.prim import expr as prim
from tvm.s_tir import Schedule

from dgtl.tvm.workload.blocks import REDUCTION, lanes_of, loads, main_block, value, walked

if TYPE_CHECKING:
    from tvm.s_tir.schedule import LoopRV, SBlockRV

SHORT = 16
"""Loops of at most so many steps are unrolled where that makes indices plain."""

PARTS = 8
"""A row is split into so many parts at most."""

FEW = 1 << 13
"""With fewer elements than this, waking threads takes longer than the pass."""

MANY = 16
"""So many rows are enough to share among threads."""


def schedule(mod: tvm.ir.IRModule, target: tvm.target.Target) -> Schedule | None:
    """The schedule of a function that passes over memory; None of any other.

    Such a function moves elements, or has one sum, maximum or the like of other axes than the last,
    and element by element what comes before and after it.
    """
    if main_block(mod) is not None:
        return None
    sch = Schedule(mod, debug_mask="none", error_render_level="none")
    try:
        blocks = sch.get_child_blocks(sch.get_sblock("root"))
        reductions = [block for block in blocks if _reduces(sch, block)]
        outputs = {sch.get(block).name_hint for block in sch.get_output_blocks("root")}
        for block in blocks:
            if sch.get(block).name_hint not in outputs and block not in reductions:
                sch.compute_inline(block)
        if not reductions:
            for name in sorted(outputs):
                _rows(sch, sch.get_sblock(name))
            return sch
        (reduction,), (name,) = reductions, outputs
        return _reduced(sch, reduction, sch.get_sblock(name), target)
    except (tvm.s_tir.ScheduleError, ValueError):
        return None


def _reduces(sch: Schedule, block: SBlockRV) -> bool:
    return any(v.iter_type == REDUCTION for v in sch.get(block).iter_vars)


def _rows(sch: Schedule, block: SBlockRV) -> None:
    """A block that moves elements: its rows in parallel, each part of a row in order.

    Raises:
        ValueError: it does not read in order what it writes in order.
    """
    extents = [int(sch.get(loop).extent) for loop in sch.get_loops(block)]
    *outer, row = sch.get_loops(block)
    pixels = extents[-1] <= SHORT and len(outer) > 1
    axis = -2 if pixels else -1
    inner, part = (1, extents[axis]) if pixels else _splits(sch.get(block))
    if not _in_order(sch.get(block), axis, part, inner):
        raise ValueError("vectors are gathered, by TVM's schedule")
    if pixels:
        # Elements of a pixel: pixels in order, each in one go.
        sch.unroll(row)
        outer.pop()
    else:
        parts, _, last = sch.split(row, [None, part // inner, inner])
        sch.unroll(parts)
        sch.unroll(last)
    if outer and math.prod(extents) > FEW:
        sch.parallel(sch.fuse(*outer))


def _in_order(block: tvm.s_tir.SBlock, axis: int, part: int, inner: int) -> bool:
    """Whether along an axis, split so, what is read lies near to each other and evenly apart.

    LLVM vectorises such loops well. It is not asked to vectorise others: of loops with a remainder
    left in them it has made wrong ones.
    """
    loop = block.iter_vars[axis]
    every = np.arange(int(loop.dom.extent))
    values = dict.fromkeys((v.var for v in block.iter_vars), 0) | {loop.var: every}
    for load in loads(_stored(block)):
        moved, step = np.zeros_like(every), 1
        for index, size in zip(reversed(load.indices), reversed(load.source.shape), strict=True):
            try:
                moved += step * value(index, values)
            except ValueError:  # it is read or computed itself, and steps as it will
                if any(isinstance(part, prim.FloorMod) for part in walked(index)):
                    return False
            step *= int(size)
        steps = np.diff(moved.reshape(-1, part // inner, inner), axis=1)
        if steps.size and (np.abs(steps).max() > SHORT or (steps != steps[:, :1]).any()):
            return False
    return True


def _stored(block: tvm.s_tir.SBlock) -> tvm.ir.Expr:
    """What a block computes for each element.

    Raises:
        ValueError: it is loops written by hand, as a scatter is.
    """
    if not hasattr(block.body, "value"):
        raise ValueError("not one expression for each element")
    return block.body.value


def _splits(block: tvm.s_tir.SBlock) -> tuple[int, int]:
    """Where the loop over the last axis is split: its innermost steps, and those of a part.

    Both divide the extent, the first one the second.
    """
    last = block.iter_vars[-1]
    extent = int(last.dom.extent)
    moduli: set[int] = set()
    bounds: set[int] = set()

    for node in walked(_stored(block)):
        if isinstance(node, prim.FloorMod | prim.FloorDiv) and isinstance(node.b, prim.IntImm):
            if any(part.same_as(last.var) for part in walked(node.a)):
                moduli.add(int(node.b.value))
        elif isinstance(node, prim.LT | prim.LE | prim.GT | prim.GE):
            sides = (node.a, node.b)
            bounds.update(int(side.value) for side in sides if isinstance(side, prim.IntImm))
    short = [n for n in moduli if 1 < n <= PARTS and extent % n == 0]
    inner = math.lcm(*short) if short and extent % math.lcm(*short) == 0 else 1
    inner = inner if inner <= SHORT else 1
    ends = [n for n in (*bounds, *moduli) if SHORT <= n < extent]
    part = math.gcd(extent, *ends)
    if part % inner or extent // part > PARTS:
        part = extent
    return inner, part


def _reduced(
    sch: Schedule, reduction: SBlockRV, output: SBlockRV, target: tvm.target.Target
) -> Schedule | None:
    """A sum or the like: channels in registers, all that is summed up inside of them."""
    spatial = [v for v in sch.get(reduction).iter_vars if v.iter_type != REDUCTION]
    if sch.get(reduction).iter_vars[len(spatial) - 1].iter_type == REDUCTION:
        return None
    extents = [int(sch.get(loop).extent) for loop in sch.get_loops(output)][: len(spatial)]
    lanes = lanes_of(extents[-1], target)
    if len(extents) != len(spatial) or lanes < LEAST:
        return None
    alone = sch.get(reduction).name_hint == sch.get(output).name_hint
    *outer, row = sch.get_loops(output)[: len(spatial)]
    part, lane = sch.split(row, [None, lanes])
    if alone:
        summed = sch.get_loops(output)[len(spatial) + 1 :]
        sch.reorder(*outer, part, *summed, lane)
    else:
        sch.set_scope(reduction, 0, "local")
        sch.compute_at(reduction, part, preserve_unit_loops=True)
        sch.vectorize(lane)
        *summed, lane = _summed_and_lane(sch, reduction, len(outer) + 1)
    # What decides over blocks that still have their first values comes ahead of taking these apart.
    if _reads(sch, reduction) > FEW:
        # Of pools rows of pixels, whose places then need no divisions; of others all there is.
        enough = math.prod(extents[:-2]) >= MANY
        sch.parallel(sch.fuse(*(outer[:-1] if enough else [*outer, part])))
    sch.vectorize(lane)
    first = sch.decompose_reduction(reduction, summed[0])
    sch.vectorize(sch.get_loops(first)[-1])
    if math.prod(int(sch.get(loop).extent) for loop in summed) <= SHORT:
        for loop in summed:
            sch.unroll(loop)
    return sch


LEAST = 8
"""Lanes that are worth it."""


def _summed_and_lane(sch: Schedule, reduction: SBlockRV, outer: int) -> list[LoopRV]:
    """Loops of a sum inside of those of its output, the lane moved to the inside."""
    loops, axes = sch.get_loops(reduction)[outer:], sch.get(reduction).iter_vars
    summed = [loop for loop, v in zip(loops, axes, strict=True) if v.iter_type == REDUCTION]
    others = [loop for loop, v in zip(loops, axes, strict=True) if v.iter_type != REDUCTION]
    sch.reorder(*others[:-1], *summed, others[-1])
    return [*summed, others[-1]]


def _reads(sch: Schedule, block: SBlockRV) -> int:
    return math.prod(int(v.dom.extent) for v in sch.get(block).iter_vars)
