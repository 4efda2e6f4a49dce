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
    hollow,
    inferred,
    opset_of,
    replaced,
    shapes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx
    from numpy.typing import ArrayLike

MICROSOFT = "com.microsoft"

LAYER_NORM = 17
"""Operator set from which on there is LayerNormalization."""

AXES_ARE_INPUTS = {"ReduceMean": 18, "ReduceSum": 13, "Unsqueeze": 13}
"""Operator sets from which on these take axes as an input."""

EPSILON = 1e-12
"""Of a norm that does not say its own."""

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)

LEAST = -10000.0
"""What is added to a score that is not to be seen."""

ACTIVATIONS = {
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Elu": ("alpha",),
}
"""Names of the parameters of activations that have some."""


def written_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without these operators, the model itself where there is none.

    Where shapes or types of what goes into one are not known, it waits until those before it are
    written out. The rest stays, as do nodes that say what is not done here.
    """
    if not _left(model):
        return model
    light, before = hollow(model), None
    while (left := _left(light)) and left != before:
        light, before = _once(light), left
    values = {weight.name: weight for weight in model.graph.initializer}
    weights = [values.get(weight.name, weight) for weight in light.graph.initializer]
    del light.graph.initializer[:]
    light.graph.initializer.extend(weights)
    return light


def _left(model: onnx.ModelProto) -> int:
    opset = opset_of(model)
    return sum(_writes(node, opset) is not None for node in model.graph.node)


def _once(model: onnx.ModelProto) -> onnx.ModelProto:
    complete = inferred(model)
    known, types = shapes(complete), element_types(complete)
    types |= {weight.name: weight.data_type for weight in model.graph.initializer}
    opset = opset_of(model)

    def write(node: onnx.NodeProto) -> Writer | None:
        if (how := _writes(node, opset)) is None:
            return None
        if not any(types.get(name) in FLOATS for name in node.input):
            return None
        fused = _Fused(node, known, types, opset)
        return fused.writer if how(fused) else None

    return replaced(model, write)


def _writes(node: onnx.NodeProto, opset: int) -> Callable[[_Fused], bool] | None:
    """What writes a node out; None where it is none of these."""
    if node.domain == MICROSOFT:
        return WRITERS.get(node.op_type)
    if node.domain in OWN and (node.op_type != "LayerNormalization" or opset < LAYER_NORM):
        return NOT_ONNX.get(node.op_type)
    return None


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
        self.type = next(types[name] for name in node.input if types.get(name) in FLOATS)
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

    def norm(self) -> bool:
        """LayerNormalization of the last axis, in models older than that."""
        return self._norm(self.inputs[2], centred=True)

    def simplified_norm(self) -> bool:
        """SimplifiedLayerNormalization of the last axis, which is ONNX's RMSNormalization."""
        return self._norm("", centred=False)

    def _norm(self, beta: str, *, centred: bool) -> bool:
        x, gamma = self.inputs[:2]
        rank = len(self.known.get(x, ()))
        self.attributes.setdefault("epsilon", 1e-5)
        self._normalised(x, gamma, beta, self.outputs[0], centred=centred)
        return self.attributes.get("axis", -1) in (-1, rank - 1) and not any(self.outputs[1:])

    def gelu(self) -> bool:
        """Gelu and BiasGelu: x P(X < x) of a normal X, x with a bias."""
        x = self._biased(self.inputs[0], self.inputs[1])
        part = self.writer.op("Erf", self.writer.op("Mul", x, self._number(0.5**0.5)))
        self._gated(x, part)
        return True

    def fast_gelu(self) -> bool:
        """FastGelu: the same by a hyperbolic tangent, of x with a bias."""
        x = self._biased(self.inputs[0], self.inputs[1])
        cube = self.writer.op("Mul", self.writer.op("Mul", x, x), x)
        bent = self.writer.op("Add", x, self.writer.op("Mul", cube, self._number(0.044715)))
        scaled = self.writer.op("Mul", bent, self._number((2.0 / np.pi) ** 0.5))
        self._gated(x, self.writer.op("Tanh", scaled))
        return True

    def _biased(self, x: str, bias: str) -> str:
        return self.writer.op("Add", x, bias) if bias else x

    def _gated(self, x: str, part: str) -> None:
        """x (1 + part) / 2."""
        gate = self.writer.op("Add", part, self._number(1.0))
        half = self.writer.op("Mul", x, self._number(0.5))
        self.writer.op("Mul", half, gate, name=self.outputs[0])

    def embedding(self) -> bool:
        """EmbedLayerNormalization of words, places and segments."""
        ids, segments, words, places, kinds, gamma, beta, mask, at = self.inputs[:9]
        shape = self.known.get(ids, ())
        if len(shape) != 2 or not all(shape):
            return False
        if not at:
            at = self.writer.constant(np.tile(np.arange(shape[1]), (shape[0], 1)))
        found = [(words, ids), (places, at), *([(kinds, segments)] if segments else [])]
        parts = [self.writer.op("Gather", *pair) for pair in found]
        name = self.outputs[2] or None
        total = self.writer.op("Add", *parts[:2], name=None if segments else name)
        if segments:
            total = self.writer.op("Add", total, parts[2], name=name)
        self._normalised(total, gamma, beta, self.outputs[0], centred=True)
        if mask:  # how many words there are
            self._along("ReduceSum", mask, 1, name=self.outputs[1], keepdims=0)
        else:
            self.writer.constant(np.zeros(shape[0], np.int32), self.outputs[1])
        return True

    def packed_attention(self) -> bool:
        """Attention whose queries, keys and values are one product, without earlier tokens."""
        x, weight, bias, mask, past, added, length = self.inputs[:7]
        shape, sizes = self.known.get(x, ()), self.known.get(weight, ())
        refused = past or length or self.outputs[1] or self.attributes.get("do_rotary")
        if refused or len(shape) != 3 or len(sizes) != 2:
            return False
        widths = self.attributes.get("qkv_hidden_sizes") or [sizes[1] // 3] * 3
        ends = np.cumsum([0, *widths]).tolist()
        rows = self._biased(self.writer.op("MatMul", x, weight), bias)
        q, k, v = (self._part(rows, *ends[place : place + 2]) for place in range(3))
        return self._attended(q, k, v, (*shape[:2], shape[1], widths[0]), mask, added)

    def attention(self) -> bool:
        """MultiHeadAttention, without earlier tokens."""
        query, key, value, bias, mask, added, *past = self.inputs[:10]
        shape, others = self.known.get(query, ()), self.known.get(key, ())
        if any(past) or any(self.outputs[1:3]) or not value or (len(shape), len(others)) != (3, 3):
            return False
        names = [query, key, value]
        if bias:
            ends = [0, shape[2], 2 * shape[2], self.known.get(bias, (0,))[0]]
            parts = [self._part(bias, *ends[place : place + 2]) for place in range(3)]
            names = [self.writer.op("Add", *pair) for pair in zip(names, parts, strict=True)]
        q, k, v = names
        return self._attended(q, k, v, (shape[0], shape[1], others[1], shape[2]), mask, added)

    def _attended(
        self, q: str, k: str, v: str, sizes: tuple[int, int, int, int], mask: str, added: str
    ) -> bool:
        """Softmax of scaled products, masked, times values; False for a mask of another form.

        Args:
            q, k, v: queries [B, S, width], keys [B, T, width], values [B, T, ...].
            sizes: B, S, T and width.
            mask: 0 where nothing is to be seen [B, T] or [B, S, T], or how many are seen [B].
            added: to the scores, [B or 1, heads or 1, S, T].
        """
        batch, rows, columns, width = sizes
        heads = self.attributes["num_heads"]
        q, v = (self._heads(x, heads, [0, 2, 1, 3]) for x in (q, v))
        k = self._heads(k, heads, [0, 2, 3, 1])
        scale = self.attributes.get("scale", 0.0) or (width // heads) ** -0.5
        scores = self.writer.op("Mul", self.writer.op("MatMul", q, k), self._number(scale))
        if added:
            scores = self.writer.op("Add", scores, added)
        if mask:
            shape = self.known.get(mask, ())
            if shape == (batch,):
                places = self.writer.constant(np.arange(columns, dtype=np.int32)[None])
                counts = self._along("Unsqueeze", mask, 1)
                mask = self.writer.op("Less", places, counts)
            elif shape not in ((batch, columns), (batch, rows, columns)):
                return False
            seen = [batch, rows if len(shape) == 3 else 1, columns]
            scores = self._masked(scores, mask, seen)
        if self.attributes.get("unidirectional"):
            later = np.triu(np.ones((rows, columns)), 1 + columns - rows)
            scores = self.writer.op("Add", scores, self._number(later * LEAST))
        weights = self.writer.op("Softmax", scores, axis=-1)
        mixed = self.writer.op("MatMul", weights, v)
        ordered = self.writer.op("Transpose", mixed, perm=[0, 2, 1, 3])
        flat = self.writer.constant(np.array([0, 0, -1]))
        self.writer.op("Reshape", ordered, flat, name=self.outputs[0])
        return True

    def _masked(self, scores: str, mask: str, seen: list[int]) -> str:
        """Scores [B, heads, S, T] where those of a mask's zeros, as [B, S or 1, T], are little."""
        least = self.attributes.get("mask_filter_value", LEAST)
        shape = self.writer.constant(np.array([seen[0], 1, *seen[1:]]))
        kept = self.writer.op("Reshape", self.writer.op("Cast", mask, to=self.type), shape)
        lost = self.writer.op("Sub", self._number(1.0), kept)
        return self.writer.op("Add", scores, self.writer.op("Mul", lost, self._number(least)))

    def _heads(self, x: str, heads: int, axes: list[int]) -> str:
        """[B, S, heads x width] with its heads apart, in an order of these axes."""
        shape = self.writer.constant(np.array([0, 0, heads, -1]))
        return self.writer.op("Transpose", self.writer.op("Reshape", x, shape), perm=axes)

    def _part(self, x: str, begin: int, end: int) -> str:
        """Of the last axis."""
        bounds = [self.writer.constant(np.array([place])) for place in (begin, end, -1)]
        return self.writer.op("Slice", x, *bounds)

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
            x = self.writer.op("Sub", x, self._along("ReduceMean", x, -1))
        square = self._along("ReduceMean", self.writer.op("Mul", x, x), -1)
        size = self.writer.op("Sqrt", self.writer.op("Add", square, self._number(epsilon)))
        y = self.writer.op("Div", x, size)
        y = self.writer.op("Mul", y, gamma, name=None if beta else name)
        if beta:
            self.writer.op("Add", y, beta, name=name)

    def _along(self, op: str, x: str, axis: int, name: str | None = None, **others: Any) -> str:
        if self.opset < AXES_ARE_INPUTS[op]:
            return self.writer.op(op, x, name=name, axes=[axis], **others)
        return self.writer.op(op, x, self.writer.constant(np.array([axis])), name=name, **others)

    def _activated(self, y: str, kind: str, parameters: list[float]) -> None:
        name = self.outputs[0]
        if kind == "Clip":
            low = self.writer.op("Max", y, self._number(parameters[0]))
            self.writer.op("Min", low, self._number(parameters[1]), name=name)
            return
        names = ACTIVATIONS.get(kind, ())
        given = dict(zip(names, parameters, strict=False))
        self.writer.op(kind or "Identity", y, name=name, **given)

    def _number(self, value: ArrayLike) -> str:
        return self.writer.constant(np.asarray(value, helper.tensor_dtype_to_np_dtype(self.type)))


WRITERS = {
    "Attention": _Fused.packed_attention,
    "BiasGelu": _Fused.gelu,
    "EmbedLayerNormalization": _Fused.embedding,
    "FastGelu": _Fused.fast_gelu,
    "FusedConv": _Fused.conv,
    "FusedGemm": _Fused.gemm,
    "FusedMatMul": _Fused.matmul,
    "Gelu": _Fused.gelu,
    "MultiHeadAttention": _Fused.attention,
    "QuickGelu": _Fused.quick_gelu,
    "SkipLayerNormalization": _Fused.skip_norm,
    "SkipSimplifiedLayerNormalization": _Fused.simplified_skip_norm,
    "TransposeMatMul": _Fused.matmul,
}
"""By the names of the operators, what writes them out and says whether it could."""

NOT_ONNX = {
    "LayerNormalization": _Fused.norm,
    "SimplifiedLayerNormalization": _Fused.simplified_norm,
}
"""The same of what ONNX Runtime puts among ONNX's operators, the first before ONNX did."""
