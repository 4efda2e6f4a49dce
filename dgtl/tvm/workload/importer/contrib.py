"""Operators of ONNX Runtime's own that its optimizer fuses others to, written out in ONNX's.

Files that it has saved are full of them; neither TVM nor ONNX's shape inference knows them.
Definitions: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper

from dgtl.tvm.workload.importer.graph import (
    OWN,
    Writer,
    attributes_of,
    element_types,
    inferred,
    opset_of,
    replaced,
    shapes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

MICROSOFT = "com.microsoft"

LAYER_NORM, MEAN_OF_AXES = 17, 18
"""Operator sets from which on there is LayerNormalization, and ReduceMean takes axes as input."""

EPSILON = 1e-12
"""Of a norm that does not say its own."""

ACTIVATIONS = {
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Elu": ("alpha",),
}
"""Names of the parameters of activations that have some."""


def written_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without these operators, the model itself where there is none.

    Where one needs shapes to be written out, it waits until those before it are.
    """
    while any(_writes(node) for node in model.graph.node):
        complete = inferred(model)
        known, types = shapes(complete), element_types(complete)
        opset = opset_of(model)
        written = 0

        def write(node: onnx.NodeProto) -> Writer | None:
            nonlocal written
            if (how := _writes(node)) is None:
                return None
            fused = _Fused(node, known, types, opset)  # noqa: B023
            done = how(fused)
            written += done
            return fused.writer if done else None

        model = replaced(model, write)
        if not written:
            break
    return model


def _writes(node: onnx.NodeProto) -> Callable[[_Fused], bool] | None:
    """What writes a node out; None where it is none of these."""
    domain = "" if node.domain in OWN else node.domain
    if (domain, node.op_type) == ("", "SimplifiedLayerNormalization"):
        return _Fused.simplified_norm
    return WRITERS.get(node.op_type) if domain == MICROSOFT else None


class _Fused:
    """One such node, and what takes its place.

    Args:
        node: of the model.
        known: shapes of the model's values.
        types: of their elements.
        opset: its operator set.
    """

    def __init__(
        self,
        node: onnx.NodeProto,
        known: dict[str, tuple[int, ...]],
        types: dict[str, int],
        opset: int,
    ):
        self.inputs, self.known = [*node.input, *[""] * 10], known
        self.type = types.get(node.input[0], 0) or TensorProto.FLOAT
        self.outputs = [*node.output, *[""] * 4]
        self.opset = opset
        self.attributes: dict[str, Any] = attributes_of(node)
        self.writer = Writer(next(filter(None, node.output), "none"))

    def conv(self) -> bool:
        """FusedConv: a convolution, what is added to it, and an activation."""
        activation = self.attributes.pop("activation", b"").decode()
        parameters = self.attributes.pop("activation_params", [])
        x, w, bias, added = self.inputs[:4]
        y = self.writer.op("Conv", x, w, *filter(None, [bias]), **self.attributes)
        if added:
            y = self.writer.op("Add", y, added)
        self._activated(y, activation, parameters)
        return True

    def gemm(self) -> bool:
        """FusedGemm: a product and an activation."""
        activation = self.attributes.pop("activation", b"").decode()
        names = ("alpha", "beta", "gamma")
        given = {name: self.attributes.pop(f"activation_{name}", None) for name in names}
        y = self.writer.op("Gemm", *filter(None, self.inputs[:3]), **self.attributes)
        self._activated(y, activation, [given[n] for n in names if given[n] is not None])
        return True

    def matmul(self) -> bool:
        """FusedMatMul and TransposeMatMul: a product of matrices that may lie across."""
        names = []
        for name, side in zip(self.inputs[:2], "AB", strict=True):
            across = self.attributes.get(f"trans{side}", 0)
            outer = self.attributes.get(f"transBatch{side}", 0)
            if not (across or outer):
                names.append(name)
                continue
            if name not in self.known:
                return False
            axes = list(range(len(self.known[name])))
            if outer:  # the first axis of the batch is the last but one
                axes = [*axes[1:-1], axes[0], axes[-1]]
            if across:
                axes[-2:] = axes[:-3:-1]
            names.append(self.writer.op("Transpose", name, perm=axes))
        alpha = self.attributes.get("alpha", 1.0)
        result = self.outputs[0]
        y = self.writer.op("MatMul", *names, name=result if alpha == 1.0 else None)
        if alpha != 1.0:
            self.writer.op("Mul", y, self._number(alpha), name=result)
        return True

    def quick_gelu(self) -> bool:
        """QuickGelu: x sigmoid(alpha x)."""
        x = self.inputs[0]
        scaled = self.writer.op("Mul", x, self._number(self.attributes.get("alpha", 1.702)))
        gate = self.writer.op("Sigmoid", scaled)
        self.writer.op("Mul", x, gate, name=self.outputs[0])
        return True

    def skip_norm(self) -> bool:
        """SkipLayerNormalization: of a sum, which may be a result too."""
        x, skip, gamma, beta, bias = self.inputs[:5]
        self._normalised(self._sum(x, skip, bias), gamma, beta, self.outputs[0], centred=True)
        return not any(self.outputs[1:3])

    def simplified_skip_norm(self) -> bool:
        """SkipSimplifiedLayerNormalization: the same without a mean."""
        x, skip, gamma, bias = self.inputs[:4]
        self._normalised(self._sum(x, skip, bias), gamma, "", self.outputs[0], centred=False)
        return not any(self.outputs[1:3])

    def simplified_norm(self) -> bool:
        """SimplifiedLayerNormalization of the last axis, ONNX's RMSNormalization."""
        x, gamma = self.inputs[:2]
        rank = len(self.known.get(x, ()))
        self.attributes.setdefault("epsilon", 1e-5)
        self._normalised(x, gamma, "", self.outputs[0], centred=False)
        return self.attributes.get("axis", -1) in (-1, rank - 1) and not self.outputs[1]

    def attention(self) -> bool:
        """MultiHeadAttention without what was computed for earlier tokens."""
        query, key, value, bias, padding, added, *past = self.inputs[:10]
        if any(past) or self.attributes.get("unidirectional") or any(self.outputs[1:3]):
            return False
        shape = self.known.get(query, ())
        if len(shape) != 3 or not (key and value) or len(self.known.get(key, ())) != 3:
            return False
        heads, width = self.attributes["num_heads"], shape[-1]
        if bias:
            length = self.known.get(bias, (0,))[0]
            ends = [0, width, 2 * width, length]
            query, key, value = (
                self.writer.op("Add", x, self._part(bias, *ends[place : place + 2]))
                for place, x in enumerate((query, key, value))
            )
        q, v = (self._heads(x, heads, [0, 2, 1, 3]) for x in (query, value))
        k = self._heads(key, heads, [0, 2, 3, 1])
        scale = self.attributes.get("scale", 0.0) or (width // heads) ** -0.5
        scores = self.writer.op("Mul", self.writer.op("MatMul", q, k), self._number(scale))
        if added:
            scores = self.writer.op("Add", scores, added)
        if padding:
            if len(self.known.get(padding, ())) != 2:
                return False
            scores = self._masked(scores, padding)
        weights = self.writer.op("Softmax", scores, axis=-1)
        mixed = self.writer.op("MatMul", weights, v)
        rows = self.writer.op("Transpose", mixed, perm=[0, 2, 1, 3])
        flat = self.writer.constant(np.array([0, 0, -1]))
        self.writer.op("Reshape", rows, flat, name=self.outputs[0])
        return True

    def _masked(self, scores: str, padding: str) -> str:
        """Scores [B, heads, S, T] where those of padding, 0 in [B, T], are next to nothing."""
        least = self.attributes.get("mask_filter_value", -10000.0)
        real = self.writer.op("Cast", padding, to=self.type)
        batch, length = self.known[padding]
        shape = self.writer.constant(np.array([batch, 1, 1, length]))
        kept = self.writer.op("Reshape", real, shape)
        lost = self.writer.op("Sub", self._number(1.0), kept)
        return self.writer.op("Add", scores, self.writer.op("Mul", lost, self._number(least)))

    def _heads(self, x: str, heads: int, axes: list[int]) -> str:
        """[B, S, heads x width] with its heads apart, in an order of these axes."""
        shape = self.writer.constant(np.array([0, 0, heads, -1]))
        return self.writer.op("Transpose", self.writer.op("Reshape", x, shape), perm=axes)

    def _part(self, vector: str, begin: int, end: int) -> str:
        bounds = [self.writer.constant(np.array([place])) for place in (begin, end)]
        return self.writer.op("Slice", vector, *bounds)

    def _sum(self, x: str, skip: str, bias: str) -> str:
        """What is normalised, by the name that the fourth output has."""
        name = self.outputs[3] or None
        total = self.writer.op("Add", x, skip, name=None if bias else name)
        return self.writer.op("Add", total, bias, name=name) if bias else total

    def _normalised(self, x: str, gamma: str, beta: str, name: str, *, centred: bool) -> None:
        epsilon = self.attributes.get("epsilon", EPSILON)
        if centred and self.opset >= LAYER_NORM:
            parts = [x, gamma, *filter(None, [beta])]
            self.writer.op("LayerNormalization", *parts, name=name, epsilon=epsilon, axis=-1)
            return
        if centred:
            x = self.writer.op("Sub", x, self._mean(x))
        square = self._mean(self.writer.op("Mul", x, x))
        size = self.writer.op("Sqrt", self.writer.op("Add", square, self._number(epsilon)))
        y = self.writer.op("Div", x, size)
        y = self.writer.op("Mul", y, gamma, name=None if beta else name)
        if beta:
            self.writer.op("Add", y, beta, name=name)

    def _mean(self, x: str) -> str:
        if self.opset < MEAN_OF_AXES:
            return self.writer.op("ReduceMean", x, axes=[-1])
        return self.writer.op("ReduceMean", x, self.writer.constant(np.array([-1])))

    def _activated(self, y: str, kind: str, parameters: list[float]) -> None:
        name = self.outputs[0]
        if kind == "Clip":
            low = self.writer.op("Max", y, self._number(parameters[0]))
            self.writer.op("Min", low, self._number(parameters[1]), name=name)
            return
        names = ACTIVATIONS.get(kind, ())
        given = dict(zip(names, parameters, strict=False))
        self.writer.op(kind or "Identity", y, name=name, **given)

    def _number(self, value: float) -> str:
        return self.writer.constant(np.asarray(value, helper.tensor_dtype_to_np_dtype(self.type)))


WRITERS = {
    "FusedConv": _Fused.conv,
    "FusedGemm": _Fused.gemm,
    "FusedMatMul": _Fused.matmul,
    "MultiHeadAttention": _Fused.attention,
    "QuickGelu": _Fused.quick_gelu,
    "SkipLayerNormalization": _Fused.skip_norm,
    "SkipSimplifiedLayerNormalization": _Fused.simplified_skip_norm,
    "TransposeMatMul": _Fused.matmul,
}
"""By the names of the operators, what writes them out and says whether it could."""
