"""The block that a layer's tiling is about: which tensors it multiplies, how its indices move."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from tvm.ir.expr import TensorLoad
from tvm.ir.prim import expr as prim

from dgtl.core.cpus import vector_registers
from dgtl.core.records import Access, Axis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REDUCTION = 2
"""`iter_type` of a loop that is summed over."""


def with_roots(mod: tvm.ir.IRModule) -> tvm.ir.IRModule:
    """A lowered network whose functions have a root block, as schedules and TVM's passes want it.

    One that is loops written by hand (a scatter) comes as these loops' block alone.
    """
    for name, function in mod.functions.items():
        if isinstance(function, tvm.tirx.PrimFunc) and function.body.block.name_hint != "root":
            root = tvm.s_tir.SBlock([], [], [], "root", function.body)
            mod[name] = function.with_body(tvm.s_tir.SBlockRealize([], True, root))
    return mod


def main_block(mod: tvm.ir.IRModule) -> tvm.s_tir.SBlock | None:
    """The block that a tiling is about: the multiply-accumulate with the largest iteration space.

    None if the function has no sum of products of two tensors (pooling, transposition).
    """
    sch = tvm.s_tir.Schedule(mod, debug_mask="none")
    best, most = None, 0
    for block_rv in sch.get_child_blocks(sch.get_sblock("root")):
        block = sch.get(block_rv)
        size = math.prod(int(v.dom.extent) for v in block.iter_vars)
        if size > most and operands(block) is not None:
            best, most = block, size
    return best


def loops_of(
    mod: tvm.ir.IRModule, block: tvm.s_tir.schedule.SBlockRV
) -> tuple[tuple[Axis, ...], tuple[Access, ...]]:
    """Loops and buffers of a block of a function, as `Task` describes them."""
    parameters = mod["main"].params
    free = (mod["main"].attrs or {}).get("layout_free_buffers", ())
    constant = {parameters[int(i)].name for i in free}
    axes = tuple(
        Axis(v.var.name.removeprefix("v_"), int(v.dom.extent), "R" if v.iter_type == 2 else "S")
        for v in block.iter_vars
    )
    products = operands(block)
    assert products is not None, "only sums of products are tuned"
    output = block.body
    loads = [(load.source, load.indices, False) for load in products]
    accesses = tuple(
        Access(
            buffer=buffer.name,
            shape=tuple(int(n) for n in buffer.shape),
            strides=tuple(slopes(index, block.iter_vars) for index in indices),
            item_bytes=tvm.DataType(str(buffer.ty.dtype)).itemsize,
            constant=buffer.name in constant,
            write=write,
        )
        for buffer, indices, write in [*loads, (output.buffer, output.indices, True)]
    )
    return axes, accesses


VECTORS = 2
"""Registers of channels at a time, in functions that are not tuned."""


def lanes_of(channels: int, target: tvm.target.Target) -> int:
    """Channels at a time: as many as the registers hold, of which there are whole parts."""
    return math.gcd(channels, VECTORS * vector_registers(str(target)).n_bytes // 4)


def operands(block: tvm.s_tir.SBlock) -> tuple[TensorLoad, TensorLoad] | None:
    """The two loads of a block that sums products of two tensors; None for any other block."""
    value = getattr(block.body, "value", None)
    if not any(v.iter_type == REDUCTION for v in block.iter_vars) or not isinstance(
        value, prim.Add
    ):
        return None
    product = _uncast(value.b if isinstance(value.a, TensorLoad) else value.a)
    if not isinstance(product, prim.Mul):
        return None
    left, right = loads(product.a), loads(product.b)
    return (left[0], right[0]) if len(left) == len(right) == 1 else None


def _uncast(expr: tvm.ir.Expr) -> tvm.ir.Expr:
    return _uncast(expr.value) if isinstance(expr, prim.Cast) else expr


def loads(expr: tvm.ir.Expr) -> list[TensorLoad]:
    """Every load in an expression that is in no other's index."""
    if isinstance(expr, TensorLoad):
        return [expr]
    return [load for part in _parts(expr) for load in loads(part)]


def walked(expr: tvm.ir.Expr) -> Iterator[tvm.ir.Expr]:
    """An expression and all that it is made of, indices of loads included."""
    yield expr
    for part in (*_parts(expr), *getattr(expr, "indices", ())):
        yield from walked(part)


def _parts(expr: tvm.ir.Expr) -> list[tvm.ir.Expr]:
    """What an expression combines."""
    parts = [
        getattr(expr, name) for name in ("a", "b", "value", "condition") if hasattr(expr, name)
    ]
    parts += list(getattr(expr, "args", ()))
    return [part for part in parts if isinstance(part, tvm.ir.Expr)]


def slopes(index: tvm.ir.Expr, loops: Sequence[tvm.tirx.IterVar]) -> tuple[int, ...]:
    """By how much an index moves for a step of each loop.

    For an index that is no affine function of the loops (the channels of a grouped convolution),
    its mean slope over the loop's extent, rounded, but not to zero where it moves.

    Raises:
        ValueError: an index that depends on more than the loops.
    """
    start = {loop.var: 0 for loop in loops}
    origin = int(value(index, start))
    found = []
    for loop in loops:
        last = int(loop.dom.extent) - 1
        # A loop of one element does not move, but the index says by how much it would.
        moved = int(value(index, {**start, loop.var: max(last, 1)})) - origin
        mean = moved / max(last, 1)
        sign = (moved > 0) - (moved < 0)
        found.append(round(mean) or sign)
    return tuple(found)


_INFIX: dict[type, Callable[[Any, Any], Any]] = {
    prim.Add: lambda a, b: a + b,
    prim.Sub: lambda a, b: a - b,
    prim.Mul: lambda a, b: a * b,
    prim.FloorDiv: lambda a, b: a // b,
    prim.FloorMod: lambda a, b: a % b,
    prim.Min: np.minimum,
    prim.Max: np.maximum,
}


def value(expr: tvm.ir.Expr, values: Mapping[tvm.tirx.Var, Any]) -> Any:
    """Value of an integer expression: of one number for each variable, or of an array for some.

    Raises:
        ValueError: it is made of more than whole numbers and these variables.
    """
    if isinstance(expr, prim.IntImm):
        return int(expr.value)
    if isinstance(expr, prim.Cast):
        return value(expr.value, values)
    if (function := _INFIX.get(type(expr))) is not None:
        return function(value(expr.a, values), value(expr.b, values))
    if expr in values:
        return values[expr]
    raise ValueError(f"index {expr} depends on more than the loops")
