"""Recurrent layers of ONNX, which TVM has no operator for, unrolled over a fixed length.

The products of all steps with the input are one product; what is left of a step is one product with
the state before, and elementwise operators. Equations as in the operators' definitions,
https://onnx.ai/onnx/operators, LSTM, GRU and RNN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dgtl.tvm.workload.importer.graph import (
    AXES_ARE_INPUTS,
    OWN,
    Writer,
    attributes_of,
    inferred,
    opset_of,
    replaced,
    shapes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ACTIVATIONS = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}
"""What the layers apply unless told otherwise, for one direction."""

QUANTIZED = "DynamicQuantizeLSTM"
"""https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md"""

PLAIN = ("Sigmoid", "Tanh", "Relu", "Softsign", "Softplus")
"""Activations that are operators without parameters."""


def unrolled(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without recurrent layers, as far as their length and settings are known.

    The model itself where there is none. Those left have lengths that vary within the batch, or
    activations with parameters.
    """
    if opset_of(model) < AXES_ARE_INPUTS or not any(
        node.op_type in ACTIVATIONS for node in model.graph.node
    ):
        return model
    known = shapes(inferred(model))
    constants = {w.name: w for w in model.graph.initializer}

    def write(node: onnx.NodeProto) -> Writer | None:
        if node.op_type not in ACTIVATIONS or node.domain not in OWN:
            return None
        layer = _Layer.of(node, known, constants)
        return None if layer is None else layer.written()

    return replaced(model, write)


def dequantized(model: onnx.ModelProto, remarks: list[str]) -> onnx.ModelProto:
    """A model whose LSTM layers with weights of bytes have those in float32.

    Of these, ONNX Runtime's own DynamicQuantizeLSTM, TVM and ONNX's shape inference know nothing.
    What it rounds to bytes before each product is not rounded then. Those stay whose weights are
    not known.
    """
    constants = {w.name: w for w in model.graph.initializer}
    found = 0

    def write(node: onnx.NodeProto) -> Writer | None:
        nonlocal found
        if node.op_type != QUANTIZED or node.domain in OWN:
            return None
        x, w, r, *others = node.input
        parts = [(w, *node.input[8:10]), (r, *node.input[10:12])]
        if not all(name in constants for names in parts for name in names):
            return None
        found += 1
        writer = Writer(f"{next(filter(None, node.output))}/float")  # the LSTM is written out, too
        plain = [
            writer.constant(_weights(*(numpy_helper.to_array(constants[n]) for n in names)))
            for names in parts
        ]
        lstm = helper.make_node(
            "LSTM", [x, *plain, *others[:5]], node.output, node.name, **attributes_of(node)
        )
        writer.nodes.append(lstm)
        return writer

    if all(node.op_type != QUANTIZED for node in model.graph.node):
        return model
    written = replaced(model, write)
    if found:
        times = f"{found} times" if found > 1 else "once"
        remarks.append(
            f"{QUANTIZED} ({times}) is computed in float32: ONNX Runtime rounds what goes into it"
        )
    return written


def _weights(
    quantized: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any]
) -> NDArray[np.float32]:
    """Weights [directions, gates, width] of bytes [directions, width, gates].

    Args:
        quantized: the bytes.
        scale, zero_point: of a direction [directions], or of each gate [directions, gates].
    """
    directions = len(quantized)
    scale, zero_point = (part.reshape(directions, 1, -1) for part in (scale, zero_point))
    values = (quantized.astype(np.float32) - zero_point.astype(np.float32)) * scale
    return np.ascontiguousarray(values.transpose(0, 2, 1), np.float32)


class _Layer:
    """One recurrent layer as it is written out.

    Args:
        node: the layer.
        shape: of its input; steps, batch, width.
        dtype: of its input.
        attributes: of the node.
    """

    @classmethod
    def of(
        cls,
        node: onnx.NodeProto,
        known: dict[str, tuple[int, ...]],
        constants: dict[str, onnx.TensorProto],
    ) -> _Layer | None:
        """The layer, or None for one that cannot be written out."""
        attributes = attributes_of(node)
        shape, recurrence = known.get(node.input[0], ()), known.get(node.input[2], ())
        if len(shape) != 3 or not all(shape) or len(recurrence) != 3 or not recurrence[2]:
            return None
        if attributes.get("layout", 0):
            shape = (shape[1], shape[0], shape[2])
        functions = [a.decode().capitalize() for a in attributes.get("activations", ())]
        if any(f not in PLAIN for f in functions):
            return None
        if len(node.input) > 4 and node.input[4]:
            lengths = constants.get(node.input[4])
            if lengths is None or (numpy_helper.to_array(lengths) != shape[0]).any():
                return None
        weight = constants.get(node.input[2])
        dtype = np.float32 if weight is None else numpy_helper.to_array(weight).dtype.type
        return cls(node, shape, recurrence[2], dtype, attributes)

    def __init__(
        self,
        node: onnx.NodeProto,
        shape: tuple[int, ...],
        hidden: int,
        dtype: Any,
        attributes: dict[str, Any],
    ):
        self.writer = Writer(next(filter(None, node.output)))
        self._op, self._constant = self.writer.op, self.writer.constant
        self._node, self._dtype = node, dtype
        self._steps, self._batch, _ = shape
        self._hidden = hidden
        self._kind = node.op_type
        self._batch_first = bool(attributes.get("layout", 0))
        self._clip = attributes.get("clip")
        self._coupled = bool(attributes.get("input_forget", 0))
        self._linear_before_reset = bool(attributes.get("linear_before_reset", 0))
        direction = attributes.get("direction", b"forward").decode()
        self._reversed = {"forward": [False], "reverse": [True]}.get(direction, [False, True])
        default = ACTIVATIONS[self._kind] * len(self._reversed)
        given = [a.decode().capitalize() for a in attributes.get("activations", ())]
        self._functions = given or default
        self._inputs = [*node.input, *[""] * (8 - len(node.input))]

    def written(self) -> Writer:
        """The nodes in its place."""
        x = self._inputs[0]
        if self._batch_first:
            x = self._op("Transpose", x, perm=[1, 0, 2])
        all_steps, last, cells = [], [], []
        for direction, backwards in enumerate(self._reversed):
            steps, cell = self._direction(x, direction, backwards)
            # Of a reversed layer the last step is that of the first element.
            last.append(self._op("Unsqueeze", steps[0 if backwards else -1], self._axes(0)))
            parts = [self._op("Unsqueeze", h, self._axes(0, 1)) for h in steps]
            all_steps.append(self._op("Concat", *parts, axis=0))
            if cell is not None:
                cells.append(self._op("Unsqueeze", cell, self._axes(0)))
        names = [*self._node.output, "", "", ""]
        outputs = [(names[0], all_steps, 1, [2, 0, 1, 3]), (names[1], last, 0, [1, 0, 2])]
        if cells:
            outputs.append((names[2], cells, 0, [1, 0, 2]))
        for name, parts, axis, batch_first in outputs:
            if name and self._batch_first:
                joined = self._op("Concat", *parts, axis=axis)
                self._op("Transpose", joined, name=name, perm=batch_first)
            elif name:
                self._op("Concat", *parts, name=name, axis=axis)
        return self.writer

    def _direction(self, x: str, direction: int, backwards: bool) -> tuple[list[str], str | None]:
        """States of all steps in the order of the input, and the last cell state of an LSTM."""
        _, w, r, b, _, h0, c0, p = self._inputs
        index = self._constant(np.asarray(direction, np.int64))
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[self._kind]
        width = gates * self._hidden

        def of_direction(value: str) -> str:
            return self._op("Gather", value, index, axis=0)

        project = self._op("Transpose", of_direction(w), perm=[1, 0])
        recur = self._op("Transpose", of_direction(r), perm=[1, 0])
        if b:
            both = of_direction(b)
            on_input, on_state = self._part(both, 0, width), self._part(both, width, 2 * width)
        else:
            on_input = on_state = self._constant(np.zeros(width, self._dtype))
        state = self._state(h0, direction)
        cell = self._state(c0, direction) if self._kind == "LSTM" else None
        peepholes = of_direction(p) if p else None
        n = len(ACTIVATIONS[self._kind])
        functions = self._functions[n * direction : n * (direction + 1)]
        projected = self._op("Add", self._op("MatMul", x, project), on_input)
        step: Callable[..., tuple[str, str | None]] = {
            "LSTM": self._lstm,
            "GRU": self._gru,
            "RNN": self._rnn,
        }[self._kind]
        states: dict[int, str] = {}
        order = range(self._steps)
        for t in reversed(order) if backwards else order:
            at = self._op("Gather", projected, self._constant(np.asarray(t, np.int64)), axis=0)
            state, cell = step(at, state, cell, recur, on_state, functions, peepholes)
            states[t] = state
        return [states[t] for t in order], cell

    def _state(self, given: str, direction: int) -> str:
        if not given:
            return self._constant(np.zeros((self._batch, self._hidden), self._dtype))
        index = self._constant(np.asarray(direction, np.int64))
        return self._op("Gather", given, index, axis=1 if self._batch_first else 0)

    def _lstm(self, x, h, c, recur, bias, functions, peepholes) -> tuple[str, str | None]:
        f, g, last = functions
        total = self._sum(x, self._op("MatMul", h, recur), bias)
        i, o, forget, new = (self._gate(total, k) for k in range(4))
        if peepholes is not None:
            p_i, p_o, p_f = (self._gate(peepholes, k) for k in range(3))
            i = self._sum(i, self._op("Mul", p_i, c))
            forget = self._sum(forget, self._op("Mul", p_f, c))
        i = self._apply(f, i)
        forget = self._one_minus(i) if self._coupled else self._apply(f, forget)
        cell = self._sum(self._op("Mul", forget, c), self._op("Mul", i, self._apply(g, new)))
        if peepholes is not None:
            o = self._sum(o, self._op("Mul", p_o, cell))
        return self._op("Mul", self._apply(f, o), self._op(last, cell)), cell

    def _gru(self, x, h, _, recur, bias, functions, peepholes) -> tuple[str, str | None]:
        f, g = functions
        n = self._hidden
        x_zr, x_h = self._part(x, 0, 2 * n), self._part(x, 2 * n, 3 * n)
        b_zr, b_h = self._part(bias, 0, 2 * n), self._part(bias, 2 * n, 3 * n)
        if self._linear_before_reset:
            product = self._sum(self._op("MatMul", h, recur), bias)
            zr = self._apply(f, self._sum(x_zr, self._part(product, 0, 2 * n)))
            z, r = self._gate(zr, 0), self._gate(zr, 1)
            reset = self._op("Mul", r, self._part(product, 2 * n, 3 * n))
        else:
            r_zr, r_h = self._part(recur, 0, 2 * n), self._part(recur, 2 * n, 3 * n)
            zr = self._apply(f, self._sum(x_zr, self._op("MatMul", h, r_zr), b_zr))
            z, r = self._gate(zr, 0), self._gate(zr, 1)
            reset = self._sum(self._op("MatMul", self._op("Mul", r, h), r_h), b_h)
        new = self._apply(g, self._sum(x_h, reset))
        kept = self._op("Mul", z, h)
        return self._sum(self._op("Mul", self._one_minus(z), new), kept), None

    def _rnn(self, x, h, _, recur, bias, functions, peepholes) -> tuple[str, str | None]:
        return self._apply(functions[0], self._sum(x, self._op("MatMul", h, recur), bias)), None

    def _apply(self, function: str, x: str) -> str:
        """An activation, its argument clipped where the layer says so."""
        if self._clip is not None:
            bounds = (self._constant(np.asarray(s * self._clip, self._dtype)) for s in (-1, 1))
            x = self._op("Clip", x, *bounds)
        return self._op(function, x)

    def _one_minus(self, x: str) -> str:
        return self._op("Sub", self._constant(np.asarray(1, self._dtype)), x)

    def _sum(self, first: str, *others: str) -> str:
        for other in others:
            first = self._op("Add", first, other)
        return first

    def _gate(self, x: str, number: int) -> str:
        return self._part(x, number * self._hidden, (number + 1) * self._hidden)

    def _part(self, x: str, begin: int, end: int) -> str:
        """Elements of the last axis."""
        return self._op("Slice", x, self._axes(begin), self._axes(end), self._axes(-1))

    def _axes(self, *values: int) -> str:
        return self._constant(np.asarray(values, np.int64))
