"""Converters of ONNX operators that compare, count and place single elements.

Of these TVM 0.27 refuses some settings, or some types of values.
"""

from __future__ import annotations

import math

import numpy as np
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend as tvm_onnx


class IsInf(tvm_onnx.OnnxOpConverter):
    """Of both signs, or of one of them."""

    @classmethod
    def _impl_v10(cls, bb, inputs, attr, params):
        x = inputs[0]
        positive, negative = (attr.get(f"detect_{sign}", 1) for sign in ("positive", "negative"))
        if positive and negative:
            return relax.op.isinf(x)
        # Where neither is looked for, nothing is greater than infinity.
        compare = relax.op.equal if positive or negative else relax.op.greater
        return compare(x, relax.const(-math.inf if negative else math.inf, dtype_of(x)))


class EyeLike(tvm_onnx.OnnxOpConverter):
    """As a constant, of any type."""

    @classmethod
    def _impl_v9(cls, bb, inputs, attr, params):
        dtype = tvm_onnx.get_type(attr["dtype"]) if "dtype" in attr else dtype_of(inputs[0])
        return relax.const(np.eye(*extents(inputs[0]), k=attr.get("k", 0)), dtype)


class OneHot(tvm_onnx.OnnxOpConverter):
    """By a comparison with all places; of any types."""

    @classmethod
    def _impl_v9(cls, bb, inputs, attr, params):
        places, depth, values = inputs[0], *(tvm_onnx.get_constant(x, params) for x in inputs[1:])
        if not isinstance(depth, tvm.ir.GenericConst):
            raise ValueError("a depth that is not constant")
        depth, rank = int(depth.value.numpy().item()), len(extents(places))
        axis = attr.get("axis", -1) % (rank + 1)
        places = bb.normalize(relax.op.expand_dims(relax.op.astype(places, "int64"), axis))
        from_end = bb.normalize(relax.op.add(places, relax.const(depth, "int64")))
        negative = bb.normalize(relax.op.less(places, relax.const(0, "int64")))
        places = bb.normalize(relax.op.where(negative, from_end, places))
        every = np.arange(depth).reshape(-1, *[1] * (rank - axis))
        hot = bb.normalize(relax.op.equal(places, relax.const(every, "int64")))
        off, on = (
            bb.normalize(relax.op.strided_slice(values, [0], [i], [i + 1])) for i in range(2)
        )
        return relax.op.where(hot, on, off)


def of_truths(converter: type) -> type:
    """A reduction that takes truth values too, as whole numbers."""

    class OfTruths(converter):
        @classmethod
        def _impl_v18(cls, bb, inputs, attr, params):
            if dtype_of(inputs[0]) != "bool":
                return super()._impl_v18(bb, inputs, attr, params)
            inputs[0] = bb.normalize(relax.op.astype(inputs[0], "uint8"))
            reduced = super()._impl_v18(bb, inputs, attr, params)
            return relax.op.astype(bb.normalize(reduced), "bool")

    return OfTruths


CONVERTERS = {
    "EyeLike": EyeLike,
    "IsInf": IsInf,
    "OneHot": OneHot,
    **{name: of_truths(getattr(tvm_onnx, name)) for name in ("ReduceMax", "ReduceMin")},
}


def extents(x):
    """Shape of a tensor: models come with all shapes known."""
    return [int(n) for n in x.ty.shape]


def dtype_of(x):
    """Name of the type of a tensor's values."""
    return str(x.ty.dtype.dtype)
