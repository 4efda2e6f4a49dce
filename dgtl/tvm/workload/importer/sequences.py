"""Sequences of tensors taken apart: with places that are known, a sequence is a list of names.

TVM has tuples for them, of which it takes some places for others and of some results no length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dgtl.tvm.workload.importer.graph import (
    AXES_ARE_INPUTS,
    Writer,
    attributes_of,
    inferred,
    opset_of,
    reads,
    shapes,
    with_nodes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPERATORS = {
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceInsert",
    "SequenceErase",
    "SequenceAt",
    "SequenceLength",
    "ConcatFromSequence",
    "SplitToSequence",
}


def taken_apart(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without sequences; the model itself where a place or a length is not known."""
    if opset_of(model) < AXES_ARE_INPUTS or not any(
        n.op_type in OPERATORS for n in model.graph.node
    ):
        return model
    try:
        return _Sequences(model).written()
    except _UnknownError:
        return model


class _UnknownError(Exception):
    """What a sequence holds is not known."""


class _Sequences:
    """What is in each sequence of a model, and the nodes without them."""

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.lengths = shapes(inferred(model))
        self.constants = {w.name: w for w in model.graph.initializer}
        self.parts: dict[str, list[str]] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def written(self) -> onnx.ModelProto:
        for node in self.model.graph.node:
            if node.op_type in OPERATORS:
                self._take(node)
            elif any(name in self.parts for name in reads(node)):
                raise _UnknownError
            else:
                self.nodes.append(node)
        if any(output.name in self.parts for output in self.model.graph.output):
            raise _UnknownError
        result = with_nodes(self.model, self.nodes, self.weights)
        del result.graph.value_info[:]
        return result

    def _take(self, node: onnx.NodeProto) -> None:
        result = node.output[0]
        given, writer = attributes_of(node), Writer(result)
        match node.op_type:
            case "SequenceEmpty":
                self.parts[result] = []
            case "SequenceConstruct":
                self.parts[result] = list(node.input)
            case "SequenceInsert":
                parts = self._parts(node)
                parts.insert(self._place(node, 2, len(parts), len(parts) + 1), node.input[1])
                self.parts[result] = parts
            case "SequenceErase":
                parts = self._parts(node)
                del parts[self._place(node, 1, -1, len(parts))]
                self.parts[result] = parts
            case "SequenceAt":
                parts = self._parts(node)
                writer.op("Identity", parts[self._place(node, 1, 0, len(parts))], name=result)
            case "SequenceLength":
                writer.constant(np.int64(len(self._parts(node))), name=result)
            case "ConcatFromSequence":
                parts, axis = self._parts(node), given["axis"]
                if given.get("new_axis", 0):
                    at = writer.constant([axis])
                    parts = [writer.op("Unsqueeze", part, at) for part in parts]
                writer.op("Concat", *parts, name=result, axis=axis)
            case "SplitToSequence":
                self.parts[result] = self._split(node, given, writer)
        self.nodes += writer.nodes
        self.weights += writer.weights

    def _parts(self, node: onnx.NodeProto) -> list[str]:
        if node.input[0] not in self.parts:
            raise _UnknownError
        return list(self.parts[node.input[0]])

    def _value(self, name: str) -> NDArray[Any]:
        if name not in self.constants:
            raise _UnknownError
        return numpy_helper.to_array(self.constants[name])

    def _place(self, node: onnx.NodeProto, i: int, otherwise: int, end: int) -> int:
        """The place that an input says, as Python counts."""
        if i >= len(node.input) or not node.input[i]:
            return otherwise
        place = int(self._value(node.input[i]).item())
        if not -end <= place < end:
            raise _UnknownError
        return place

    def _split(self, node: onnx.NodeProto, given: dict[str, Any], writer: Writer) -> list[str]:
        """The parts of a tensor."""
        x, axis = node.input[0], given.get("axis", 0)
        length = (self.lengths.get(x) or [0])[axis]
        if not length:
            raise _UnknownError
        single = len(node.input) < 2 or not node.input[1]
        sizes = np.array(1) if single else self._value(node.input[1])
        if sizes.ndim == 0:
            full, rest = divmod(length, int(sizes))
            sizes = np.array([int(sizes)] * full + [rest] * (rest > 0))
        parts = [f"{writer.stem}_{i}" for i in range(len(sizes))]
        said = writer.constant(sizes.astype(np.int64))
        writer.nodes.append(helper.make_node("Split", [x, said], parts, writer.stem, axis=axis))
        if single and not given.get("keepdims", 1):
            at = writer.constant([axis])
            parts = [writer.op("Squeeze", part, at) for part in parts]
        return parts
