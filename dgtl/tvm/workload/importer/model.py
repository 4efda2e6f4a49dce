"""From an ONNX file as people have them to what TVM imports.

Exporters leave open extents, arithmetic on shapes, old operator sets, functions and recurrent
layers in a model; TVM's importer wants none of them. The way is: local functions inlined, shapes
fixed, an old operator set converted, simplified by onnxslim with the shapes known, what TVM has no
operator for written out in others, and cut where shapes depend on values.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import onnx
import onnxslim
from onnx import inliner

from dgtl.tvm.workload.importer import (
    branches,
    contrib,
    quantized,
    recurrent,
    resize_axes,
    rewrites,
)
from dgtl.tvm.workload.importer.constants import folded
from dgtl.tvm.workload.importer.graph import graph_inputs, normal_form, opset_of
from dgtl.tvm.workload.importer.inputs import read_inputs, seeded_inputs, with_constants
from dgtl.tvm.workload.importer.shapes import fix_shapes, input_types
from dgtl.tvm.workload.importer.tail import CONTROL, OF_VALUES, cut_tail
from dgtl.tvm.workload.importer.to_relax import one_line, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


DEEP = 4
"""How deep a loop may lie within others that are written out."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as it is tuned, and what it came from.

    Args:
        model: with fixed shapes, of operators that TVM imports.
        original: as it was given, with the same shapes: what another runtime is asked about.
        inputs: valid values of its inputs, in their order.
        tail: what comes after `model` and is left to ONNX Runtime, where shapes depend on values.
        remarks: what was assumed or left out, for the user.
        winograd: whether convolutions may be computed by minimal filtering on a CPU, see
            `dgtl.tvm.workload.winograd`.
    """

    model: onnx.ModelProto
    original: onnx.ModelProto
    inputs: dict[str, NDArray[Any]]
    tail: onnx.ModelProto | None = None
    remarks: tuple[str, ...] = ()
    winograd: bool = False


def import_model(
    model: onnx.ModelProto,
    *,
    shapes: Mapping[Any, Any] | None = None,
    constants: Mapping[Any, Any] | None = None,
    inputs: Path | None = None,
    seed: int = 0,
) -> Network:
    """Makes a model ready for `to_relax`.

    Args:
        model: any, its weights included.
        shapes: as of `dgtl.tvm.workload.importer.shapes.fix_shapes`.
        constants: as of `dgtl.tvm.workload.importer.inputs.with_constants`.
        inputs: npz file with an array for each other input; None: seeded random values.
        seed: of the latter.

    Raises:
        ValueError: it cannot be imported; one line says why, and where the user can help, how.
    """
    model = _readable(model)
    input_types(model)
    model, remarks = with_constants(model, constants)
    values = None if inputs is None else read_inputs(inputs, model)
    if values is not None:
        shapes = {**{name: list(v.shape) for name, v in values.items()}, **(shapes or {})}
    original, assumed = fix_shapes(model, shapes)
    remarks += assumed
    if any(node.op_type == "If" for node in original.graph.node):
        # ONNX Runtime 1.32 dies of some whose condition is an initializer.
        original = _settled(original, remarks)
    readable = quantized.written_out(recurrent.dequantized(original, remarks), remarks)
    readable = contrib.written_out(readable)
    plain = resize_axes.of_all_axes(rewrites.without_dropout(_newer(readable, remarks)))
    simple = _simplified(plain, remarks)
    for _ in range(DEEP):
        written = rewrites.decomposed(simple)
        if written is simple:
            break
        simple = _simplified(written, remarks)
    try:
        prepared, tail = cut_tail(simple)
    except ValueError:
        # Shapes may be unknown since an operator is: that is then what to say.
        rewrites.check_operators(simple)
        raise
    rewrites.check_operators(prepared)
    if tail is not None:
        if any(node.op_type in CONTROL for node in tail.model.graph.node):
            rewrites.check_operators(simple, CONTROL | OF_VALUES)
        remarks.append(tail.remark)
    if values is None:
        values = seeded_inputs(original, prepared, seed)
    return Network(prepared, original, values, None if tail is None else tail.model, tuple(remarks))


def _readable(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in one form, its own functions inlined.

    Raises:
        ValueError: they cannot be, or it is of operators that are not known.
    """
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= opset_of(model) <= newest:
        raise ValueError(
            f"the model is of operator set {opset_of(model)}: those from 1 to {newest} are known"
        )
    if model.functions:
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:
            raise ValueError(
                f"the functions of the model cannot be inlined: {one_line(error)}"
            ) from error
    return normal_form(model)


def _newer(model: onnx.ModelProto, remarks: list[str]) -> onnx.ModelProto:
    try:
        return rewrites.newer(model)
    except Exception as error:
        remarks.append(
            f"operators of set {opset_of(model)} are taken as they are, for ONNX cannot convert "
            f"them: {one_line(error)}"
        )
        return model


def _simplified(model: onnx.ModelProto, remarks: list[str]) -> onnx.ModelProto:
    """The model without arithmetic on constants and shapes, the rest simplified by onnxslim."""
    return _folded(_slim(_settled(model, remarks), remarks), remarks)


def _settled(model: onnx.ModelProto, remarks: list[str]) -> onnx.ModelProto:
    """The model without arithmetic on constants, and without branches that they decide for."""
    model = _folded(model, remarks)
    while (settled := branches.settled(model)) is not model:
        model = _folded(settled, remarks)
    return model


def _folded(model: onnx.ModelProto, remarks: list[str]) -> onnx.ModelProto:
    try:
        return folded(model)
    except Exception as error:
        remark = f"what it computes of constants stays in the network: {one_line(error)}"
        remarks += [remark] if remark not in remarks else []
        return model


def _slim(model: onnx.ModelProto, remarks: list[str]) -> onnx.ModelProto:
    reasons = []
    for gentler in ([], ["graph_fusion"], ["graph_fusion", "subexpression_elimination"]):
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        try:
            with quiet():
                slim = onnxslim.slim(
                    copied,
                    skip_optimizations=gentler or None,
                    # It puts a Reshape before and after, which what follows is not fused across.
                    skip_fusion_patterns=["FusionGemm"],
                )
            return normal_form(_same_signature(model, slim))
        except Exception as error:
            reasons.append(one_line(error))
    remarks.append(f"the network is taken as it is, for onnxslim cannot simplify it: {reasons[0]}")
    return model


def _same_signature(model: onnx.ModelProto, slim: onnx.ModelProto) -> onnx.ModelProto:
    """The simplified model with the inputs of the model, those without use included."""
    outputs = [output.name for output in model.graph.output]
    if [output.name for output in slim.graph.output] != outputs:
        raise ValueError("its outputs changed")
    inputs = graph_inputs(model)
    if not {v.name for v in graph_inputs(slim)} <= {v.name for v in inputs}:
        raise ValueError("its inputs changed")
    del slim.graph.input[:]
    slim.graph.input.extend(inputs)
    return slim
