"""From an ONNX model to its tasks: TVM's own fused functions with weights."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import tvm
from tvm import relax
from tvm.relax import transform as T
from tvm.s_tir import meta_schedule as ms
from tvm.sym import detect_linear_equation
from tvm_ffi import structural_hash

from dgtl.core.records import Access, Axis, Hardware, Task, shape_key
from dgtl.tvm.workload.onnx_to_relax import to_relax

if TYPE_CHECKING:
    import onnx


@dataclasses.dataclass(frozen=True)
class FusedFunction:
    """One fused function of a network.

    Args:
        mod: the function alone, as ``main``.
        name: TVM's name for it.
        weight: how often the network calls it.
        task: what tuners see of it; None where nothing is worth tuning (pooling and the like).
    """

    mod: tvm.ir.IRModule
    name: str
    weight: int
    task: Task | None


def lower(model: onnx.ModelProto, target: tvm.target.Target) -> tvm.ir.IRModule:
    """The network as one Relax function over fused TIR functions, NHWC inside.

    Weights are marked as free in layout, so that a schedule may choose how they lie in memory.

    Args:
        model: with fixed shapes, of operators that TVM has: see `dgtl.tvm.workload.onnx_import`.
        target: what for.

    Raises:
        ValueError: the model cannot be imported.
    """
    mod = to_relax(model)
    passes = [
        T.DecomposeOpsForInference(),
        T.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"]}),
        T.FoldConstant(),
        T.LegalizeOps(),
        T.AnnotateTIROpPattern(),
        T.FoldConstant(),
        T.FuseOps(),
        T.FuseTIR(),
        T.DeadCodeElimination(),
        T.AttachAttrLayoutFreeBuffers(),
    ]
    with target:
        return tvm.transform.Sequential(passes)(mod)


def extract(network: tvm.ir.IRModule, hardware: Hardware) -> list[FusedFunction]:
    """All fused functions of a lowered network, in the order of their first call.

    Functions that differ in name only are one, with their weights added.
    """
    target = tvm.target.Target(hardware.target)
    calls = _call_order(network)
    found = []
    for extracted in ms.relax_integration.extract_tasks(network, target, {}):
        mod = extracted.dispatched[0]
        name, weight = str(extracted.task_name), int(extracted.weight)
        found.append(FusedFunction(mod, name, weight, _task(mod, name, weight, hardware)))
    return sorted(found, key=lambda f: calls.get(f.name, len(calls)))


def _call_order(network: tvm.ir.IRModule) -> dict[str, int]:
    order: dict[str, int] = {}

    def visit(expr: relax.Expr) -> None:
        callee = expr.args[0] if isinstance(expr, relax.Call) and expr.args else None
        if isinstance(callee, tvm.ir.GlobalVar):
            order.setdefault(callee.name_hint, len(order))

    relax.analysis.post_order_visit(network["main"], visit)
    return order


def main_block(mod: tvm.ir.IRModule) -> tvm.s_tir.schedule.SBlockRV | None:
    """The block that a tiling is about: the multiply-accumulate with the largest iteration space.

    None if the function has no reduction over two inputs (pooling, transposition).
    """
    sch = tvm.s_tir.Schedule(mod, debug_mask="none")
    best, most = None, 0
    for block_rv in sch.get_child_blocks(sch.get_sblock("root")):
        block = sch.get(block_rv)
        extents = [int(v.dom.extent) for v in block.iter_vars]
        reduces = any(v.iter_type == 2 for v in block.iter_vars)
        if reduces and len(block.reads) == 2 and math.prod(extents) > most:
            best, most = block, math.prod(extents)
    return best


def _task(mod: tvm.ir.IRModule, name: str, weight: int, hardware: Hardware) -> Task | None:
    block = main_block(mod)
    if block is None:
        return None
    axes, accesses = loops_of(mod, block)
    kind = _kind(axes, accesses)
    flops = 2.0 * math.prod(axis.extent for axis in axes)
    digest = f"{structural_hash(mod) & 0xFFFFFFFF:08x}"
    key = f"{shape_key(kind, axes, accesses)}/{digest}@{hardware.name}/{hardware.num_cores}"
    return Task(key, name, kind, axes, accesses, flops, hardware, weight)


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
    variables = [v.var for v in block.iter_vars]
    regions = [(r, False) for r in block.reads] + [(w, True) for w in block.writes]
    accesses = tuple(
        Access(
            buffer=region.source.name,
            shape=tuple(int(n) for n in region.source.shape),
            strides=tuple(_coefficients(r.min, variables) for r in region.region),
            item_bytes=tvm.DataType(str(region.source.ty.dtype)).itemsize,
            constant=region.source.name in constant,
            write=write,
        )
        for region, write in regions
    )
    return axes, accesses


def _coefficients(index: tvm.ir.PrimExpr, variables: list) -> tuple[int, ...]:
    linear = detect_linear_equation(index, variables)
    if not linear:
        raise ValueError(f"index {index} is not an affine function of the loops")
    return tuple(int(c) for c in linear[:-1])


def _kind(axes: tuple[Axis, ...], accesses: tuple[Access, ...]) -> str:
    if len(accesses[0].shape) < 4:
        return "dense"
    # Depthwise: the output channel indexes the input too, so that nothing is summed over channels.
    channel = max(i for i, axis in enumerate(axes) if axis.kind == "S")
    reads_channel = any(row[channel] for row in accesses[0].strides)
    return "depthwise_conv2d" if reads_channel else "conv2d"
