"""Operators on bytes, as the quantizers of ONNX Runtime leave them, written out in floats.

A product of bytes is one of whole numbers in float32, exact while sums stay below 2^24, which is
scaled and rounded once, as ONNX Runtime does; of other operators the arguments are scaled first.
Definitions: https://onnx.ai/onnx/operators and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper, numpy_helper

from dgtl.tvm.workload.importer.contrib import MICROSOFT
from dgtl.tvm.workload.importer.graph import (
    AXES_ARE_INPUTS,
    OWN,
    Writer,
    attributes_of,
    opset_of,
    replaced,
)

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

OF_FLOATS = {
    "QLinearAdd": "Add",
    "QLinearAveragePool": "AveragePool",
    "QLinearConcat": "Concat",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearMul": "Mul",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
    "QLinearWhere": "Where",
}
"""Operators whose arguments are scaled first, and what they then are."""

PRODUCTS = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul", "QGemm": "Gemm"}
"""Products of two arguments of bytes."""

TO_FLOATS = {"MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
"""Products whose scales may be computed, and whose results are floats."""

OF_BITS = "MatMulNBits"
"""A product with weights of few bits, a scale and a zero point for each block of a column."""

KINDS = {*OF_FLOATS, *PRODUCTS, *TO_FLOATS, OF_BITS}
DOMAINS = (*OWN, MICROSOFT)


def written_out(model: onnx.ModelProto, remarks: list[str]) -> onnx.ModelProto:
    """A model without operators on bytes, the model itself where there is none.

    Those stay of which a scale or a zero point is computed, and those that TVM has.

    Args:
        model: any.
        remarks: is told how many are computed in float32.
    """
    if not any(node.op_type in KINDS for node in model.graph.node):
        return model
    constants = {w.name: w for w in model.graph.initializer}
    opset, found = opset_of(model), 0

    def write(node: onnx.NodeProto) -> Writer | None:
        nonlocal found
        if node.op_type not in KINDS or node.domain not in DOMAINS:
            return None
        operator = _Operator(node, constants, opset)
        try:
            written = operator.written()
        except _ComputedError:
            return None
        found += written
        return operator.writer if written else None

    result = replaced(model, write)
    if not found:
        return model
    of_bits = sum(n.op_type == OF_BITS for n in model.graph.node)
    of_bits -= sum(n.op_type == OF_BITS for n in result.graph.node)
    if of_bits:
        times = "once" if of_bits == 1 else f"{of_bits} times"
        remarks.append(f"weights of few bits ({OF_BITS}, {times}) become floats")
    if on_bytes := found - of_bits:
        which = "one operator" if on_bytes == 1 else f"{on_bytes} operators"
        remarks.append(f"{which} on bytes: computed in float32, and rounded to the same bytes")
    return result


class _ComputedError(Exception):
    """Something that has to be a constant is not."""


class _Operator:
    """One node of a model, and what takes its place.

    Args:
        node: of one of `KINDS`.
        constants: weights of the model by their names.
        opset: of the model.
    """

    def __init__(self, node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], opset: int):
        self.node, self.constants, self.opset = node, constants, opset
        self.attributes = attributes_of(node)
        self.writer = Writer(next(filter(None, node.output), "none"))

    def written(self) -> bool:
        """Writes what takes the node's place; whether it could.

        Raises:
            _ComputedError: a scale or a zero point is no constant.
        """
        kind, inputs = self.node.op_type, [*self.node.input, *[""] * 9]
        if self.attributes.pop("channels_last", 0):
            return False
        match kind:
            case "QLinearConv":
                self._product(inputs[:3], inputs[3:6], inputs[6:8], inputs[8])
            case "QLinearMatMul":
                self._product(inputs[:3], inputs[3:6], inputs[6:8])
            case "QGemm":
                self._product(inputs[:3], inputs[3:6], inputs[7:9], inputs[6])
            case "MatMulIntegerToFloat":
                self._to_float(inputs[:2], inputs[2:4], inputs[4:6], inputs[6])
            case "DynamicQuantizeMatMul":
                self._dynamic(*inputs[:5])
            case "MatMulNBits":
                return self._of_bits(*inputs[:6])
            case "QLinearConcat":
                self._of_floats([], list(self.node.input[2:]), inputs[:2])
            case "QLinearWhere":
                self._of_floats(inputs[:1], inputs[1:7], inputs[7:9])
            case "QLinearAdd" | "QLinearMul":
                self._of_floats([], inputs[:6], inputs[6:8])
            case "QLinearSoftmax":
                of_one_axis = self.attributes.pop("opset", 1) >= AXES_ARE_INPUTS
                if self.attributes.get("axis", -1) != -1 and not (
                    of_one_axis and self.opset >= AXES_ARE_INPUTS
                ):
                    return False
                self._of_floats([], inputs[:3], inputs[3:5])
            case _:
                self._of_floats([], inputs[:3], inputs[3:5])
        return True

    def _of_floats(self, first: list[str], arguments: list[str], y: list[str]) -> None:
        """The operator on floats: after ``first`` arguments with scales and zero points, as y's."""
        triples = [arguments[place : place + 3] for place in range(0, len(arguments), 3)]
        names = [self._op("DequantizeLinear", *triple) for triple in triples]
        kind = OF_FLOATS[self.node.op_type]
        result = self._op(kind, *first, *names, **self.attributes)
        self._op("QuantizeLinear", result, *y, name=self.node.output[0])

    def _product(self, a: list[str], b: list[str], y: list[str], bias: str = "") -> None:
        """A product of whole numbers, scaled; without a scale of ``y`` that is the result.

        Args:
            a, b: name, scale and zero point of each argument.
            y: scale and zero point of the result.
            bias: whole numbers that are added to the product.
        """
        kind = PRODUCTS[self.node.op_type]
        scale = self._value(a[1]) * self._value(b[1]) / self._value(y[0], 1.0)
        scale = self._along(scale * np.float32(self.attributes.pop("alpha", 1.0)), b[0])
        names = [self._whole(a[0], a[2]), self._whole(b[0], b[2])]
        if bias:
            names.append(self.writer.constant(self._value(bias)))
        product = self._op(kind, *names, **self.attributes)
        factor = self.writer.constant(scale)
        if not y[0]:
            self._op("Mul", product, factor, name=self.node.output[0])
            return
        scaled = self._op("Mul", product, factor)
        one = self.writer.constant(np.ones((), np.float32))
        self._op("QuantizeLinear", scaled, one, y[1], name=self.node.output[0])

    def _along(self, numbers: NDArray[np.float32], weights: str) -> NDArray[np.float32]:
        """Numbers of a kernel's channels, to multiply a result [N, channels, ...] with.

        Of matrices they are of the last axis, as they are.
        """
        if numbers.size == 1:
            return numbers.reshape(())
        if self.node.op_type == "QLinearConv":
            return numbers.reshape(-1, *[1] * (len(self._constant(weights).dims) - 2))
        return numbers

    def _whole(self, x: str, zero: str) -> str:
        """An argument without its zero point: whole numbers in float32."""
        middle = self._value(zero)
        if x in self.constants:
            values = self._value(x)
            if middle.size > 1 and self.node.op_type == "QLinearConv":
                middle = middle.reshape(-1, *[1] * (values.ndim - 1))
            return self.writer.constant(values - middle)
        if middle.size > 1:
            raise _ComputedError
        real = self._op("Cast", x, to=helper.TensorProto.FLOAT)
        return self._op("Sub", real, self.writer.constant(middle.reshape(())))

    def _to_float(
        self, arguments: list[str], scales: list[str], zeros: list[str], bias: str
    ) -> None:
        """A product of whole numbers in float32, scaled by what may be computed, and a bias."""
        product = self._op("MatMulInteger", *arguments, *zeros)
        real = self._op("Cast", product, to=helper.TensorProto.FLOAT)
        self._with_bias("Mul", real, self._op("Mul", *scales), bias)

    def _dynamic(self, a: str, b: str, scale: str, zero: str, bias: str) -> None:
        """A product with an argument in float32, of which bytes are made."""
        made = [f"{self.writer.stem}/{part}" for part in ("bytes", "scale", "zero")]
        quantize = "DynamicQuantizeLinear"
        self.writer.nodes.append(helper.make_node(quantize, [a], made, f"{made[0]}/{quantize}"))
        self._to_float([made[0], b], [made[1], scale], [made[2], zero], bias)

    def _of_bits(self, a: str, b: str, scales: str, zeros: str, groups: str, bias: str) -> bool:
        """A product with weights [N, blocks, bytes of a block]; False where blocks are mixed."""
        if groups:
            return False
        bits, n, k, size = (self.attributes[name] for name in ("bits", "N", "K", "block_size"))
        packed, scale = (numpy_helper.to_array(self._constant(name)) for name in (b, scales))
        blocks = -(-k // size)
        middle: NDArray[Any] = np.full((n, blocks), 2 ** (bits - 1))
        if zeros:
            middle = numpy_helper.to_array(self._constant(zeros)).reshape(n, -1)
            middle = _unpacked(middle, bits) if middle.dtype == np.uint8 else middle
        values = _unpacked(packed.reshape(n, -1), bits).reshape(n, blocks, size)
        factors = scale.reshape(n, blocks, 1).astype(np.float32)
        weights = (values - middle[:, :blocks, None].astype(np.float32)) * factors
        columns = weights.reshape(n, -1)[:, :k].T.astype(scale.dtype)
        self._with_bias("MatMul", a, self.writer.constant(np.ascontiguousarray(columns)), bias)
        return True

    def _with_bias(self, kind: str, a: str, b: str, bias: str) -> None:
        """The node's result: that of an operator, and a bias where there is one."""
        name = self.node.output[0]
        result = self._op(kind, a, b, name="" if bias else name)
        if bias:
            self._op("Add", result, bias, name=name)

    def _op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """A node whose last inputs may be missing; by a new name if none is given."""
        while not inputs[-1]:
            inputs = inputs[:-1]
        return self.writer.op(kind, *inputs, name=name or None, **attributes)

    def _constant(self, name: str) -> onnx.TensorProto:
        if name not in self.constants:
            raise _ComputedError
        return self.constants[name]

    def _value(self, name: str, default: float = 0.0) -> NDArray[np.float32]:
        """A constant in float32; ``default`` where it is not given."""
        if not name:
            return np.asarray(default, np.float32)
        return numpy_helper.to_array(self._constant(name)).astype(np.float32)


def _unpacked(packed: NDArray[Any], bits: int) -> NDArray[Any]:
    """Whole numbers [rows, n] of bytes [rows, m], the lowest bits of each first."""
    parts = [packed >> shift & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(len(packed), -1)
