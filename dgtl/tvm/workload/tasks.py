"""From an ONNX model to its tasks: TVM's own fused functions with weights."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING

import tvm
from tvm import relax
from tvm.relax import transform as T
from tvm.s_tir import meta_schedule as ms
from tvm_ffi import structural_hash

from dgtl.core.layers import layer_shape
from dgtl.core.records import Hardware, Task, shape_key
from dgtl.tvm.workload.blocks import loops_of, main_block, with_roots
from dgtl.tvm.workload.importer.to_relax import to_relax
from dgtl.tvm.workload.layout import channels_last_layout

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


def lower(
    model: onnx.ModelProto, target: tvm.target.Target, *, winograd: bool = False
) -> tvm.ir.IRModule:
    """The network as one Relax function over fused TIR functions, NHWC inside.

    Weights are marked as free in layout, so that a schedule may choose how they lie in memory.

    Args:
        model: with fixed shapes, of operators that TVM has: see `dgtl.tvm.workload.importer.model`.
        target: what for.
        winograd: as of `dgtl.tvm.workload.layout.channels_last_layout`.

    Raises:
        ValueError: the model cannot be imported.
    """
    mod = to_relax(model)
    passes = [
        T.DecomposeOpsForInference(),
        functools.partial(channels_last_layout, winograd=winograd),
        T.FoldConstant(),
        T.LegalizeOps(),
        T.AnnotateTIROpPattern(),
        T.FoldConstant(),
        T.FuseOps(),
        T.FuseTIR(),
        with_roots,
        T.DeadCodeElimination(),
        T.AttachAttrLayoutFreeBuffers(),
    ]
    with target:
        for apply in passes:
            mod = apply(mod)
    return mod


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
        found.append(FusedFunction(mod, name, weight, task_of(mod, name, weight, hardware)))
    return sorted(found, key=lambda f: calls.get(f.name, len(calls)))


def _call_order(network: tvm.ir.IRModule) -> dict[str, int]:
    order: dict[str, int] = {}

    def visit(expr: relax.Expr) -> None:
        callee = expr.args[0] if isinstance(expr, relax.Call) and expr.args else None
        if isinstance(callee, tvm.ir.GlobalVar):
            order.setdefault(callee.name_hint, len(order))

    relax.analysis.post_order_visit(network["main"], visit)
    return order


def task_of(mod: tvm.ir.IRModule, name: str, weight: int, hardware: Hardware) -> Task | None:
    """What tuners see of a function; None where nothing is worth tuning."""
    block = main_block(mod)
    if block is None:
        return None
    axes, accesses = loops_of(mod, block)
    layer = layer_shape(axes, accesses)
    kind = "contraction" if layer is None else layer.kind
    flops = 2.0 * math.prod(axis.extent for axis in axes)
    digest = f"{structural_hash(mod) & 0xFFFFFFFF:08x}"
    key = f"{shape_key(kind, axes, accesses)}/{digest}@{hardware.name}/{hardware.num_cores}"
    return Task(key, name, kind, axes, accesses, flops, hardware, weight)
