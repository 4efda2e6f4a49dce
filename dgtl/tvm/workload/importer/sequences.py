"""Sequences of tensors taken apart: with places that are known, a sequence is a list of names.

TVM has tuples for them, of which it takes some places for others and of some results no length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dgtl.tvm.workload.importer.graph import attributes_of, opset_of, reads, shapes, with_nodes

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

OPSET = 13
"""From here on axes and lengths of parts are inputs, as they are written here."""


def taken_apart(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without sequences; the model itself where a place or a length is not known."""
    if opset_of(model) < OPSET or not any(n.op_type in OPERATORS for n in model.graph.node):
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
        self.lengths = shapes(onnx.shape_inference.infer_shapes(model))
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
        given = attributes_of(node)
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
                self._append("Identity", [parts[self._place(node, 1, 0, len(parts))]], [result])
            case "SequenceLength":
                self._constant(np.int64(len(self._parts(node))), result)
            case "ConcatFromSequence":
                self._join(node, given)
            case "SplitToSequence":
                self._split(node, given)

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

    def _join(self, node: onnx.NodeProto, given: dict[str, Any]) -> None:
        result, axis, parts = node.output[0], given["axis"], self._parts(node)
        if given.get("new_axis", 0):
            at = self._constant(np.array([axis]), f"{result}_axis")
            long = [f"{result}_{i}" for i in range(len(parts))]
            for part, name in zip(parts, long, strict=True):
                self._append("Unsqueeze", [part, at], [name])
            parts = long
        self._append("Concat", parts, [result], axis=axis)

    def _split(self, node: onnx.NodeProto, given: dict[str, Any]) -> None:
        x, result, axis = node.input[0], node.output[0], given.get("axis", 0)
        length = (self.lengths.get(x) or [0])[axis]
        if not length:
            raise _UnknownError
        single = len(node.input) < 2 or not node.input[1]
        sizes = np.array(1) if single else self._value(node.input[1])
        if sizes.ndim == 0:
            full, rest = divmod(length, int(sizes))
            sizes = np.array([int(sizes)] * full + [rest] * (rest > 0))
        parts = [f"{result}_{i}" for i in range(len(sizes))]
        said = self._constant(sizes.astype(np.int64), f"{result}_sizes")
        self._append("Split", [x, said], parts, axis=axis)
        if single and not given.get("keepdims", 1):
            at = self._constant(np.array([axis]), f"{result}_axis")
            thin = [f"{part}_thin" for part in parts]
            for part, name in zip(parts, thin, strict=True):
                self._append("Squeeze", [part, at], [name])
            parts = thin
        self.parts[result] = parts

    def _append(self, op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, outputs, outputs[0], **attributes))

    def _constant(self, value: Any, name: str) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name
