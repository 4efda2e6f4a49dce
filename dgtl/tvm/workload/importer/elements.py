"""Converters of ONNX operators that compare, count, place and scale single elements.

Of these TVM 0.27 refuses some settings or types of values, and compiles what is constant.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend as tvm_onnx

if TYPE_CHECKING:
    from collections.abc import Callable


class Gather(tvm_onnx.Gather):
    """With constant places as they count from the front, which TVM compiles a comparison for."""

    @classmethod
    def _impl_v13(cls, bb, inputs, attr, params):
        x, places = inputs
        if isinstance(x, tvm.ir.GenericConst | relax.ShapeExpr) or not isinstance(
            places, tvm.ir.GenericConst
        ):
            return super()._impl_v13(bb, inputs, attr, params)
        axis, where = attr.get("axis", 0), places.value.numpy()
        from_front = np.where(where < 0, where + extents(x)[axis], where)
        return relax.op.take(x, relax.const(from_front, dtype_of(places)), axis)


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


class Equal(tvm_onnx.Equal):
    """Of truth values too."""

    @classmethod
    def _impl_v13(cls, bb, inputs, attr, params):
        known = all(isinstance(x, tvm.ir.GenericConst | relax.ShapeExpr) for x in inputs)
        if known or dtype_of(inputs[0]) != "bool":
            return super()._impl_v13(bb, inputs, attr, params)
        return relax.op.logical_not(bb.normalize(relax.op.logical_xor(*inputs)))


class BatchNormalization(tvm_onnx.BatchNormalization):
    """With constant statistics as a product and a sum.

    TVM makes six operators of it, and compiles each of those on constants to fold it: 20 s of
    DenseNet-121.
    """

    @classmethod
    def _impl_v15(cls, bb, inputs, attr, params):
        x, *told = inputs
        if not all(isinstance(value, tvm.ir.GenericConst) for value in told):
            return super()._impl_v15(bb, inputs, attr, params)
        scale, bias, mean, variance = (value.value.numpy().astype(np.float64) for value in told)
        factor = scale / np.sqrt(variance + attr.get("epsilon", 1e-5))
        column = [-1, *[1] * (len(extents(x)) - 2)]
        for function, by in (
            (relax.op.multiply, factor),
            (relax.op.add, bias - mean * factor),
        ):
            x = bb.normalize(function(x, relax.const(by.reshape(column), dtype_of(x))))
        return x


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
        places = inputs[0]
        depth, values = (tvm_onnx.get_constant(x, params) for x in inputs[1:])
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


def around(converter: type, before: Callable[..., Any], after: Callable[..., Any]) -> type:
    """A converter that does something more, in all its versions.

    Args:
        converter: of an operator.
        before: of its first input, what is taken instead.
        after: of its result, its first input and its attributes, the result.
    """

    def version(impl):
        def more(cls, bb, inputs, attr, params):
            x = inputs[0]
            operands = tvm_onnx.onnx_input([bb.normalize(before(x)), *inputs[1:]])
            given = dict(attr)  # they change theirs
            return after(bb.normalize(impl(bb, operands, attr, params)), x, given)

        return classmethod(more)

    versions = {
        name: version(getattr(converter, name))
        for name in dir(converter)
        if name.startswith("_impl_v")
    }
    return type(converter.__name__, (converter,), versions)


def _by_way_of(name: str, types: dict[str, str]) -> type:
    """An operator that computes some types of values as others, which TVM has of it."""

    def before(x):
        dtype = dtype_of(x)
        return relax.op.astype(x, types[dtype]) if dtype in types else x

    def after(result, x, attr):
        dtype = dtype_of(x)
        return relax.op.astype(result, dtype) if dtype in types else result

    return around(getattr(tvm_onnx, name), before, after)


def _within(name: str) -> type:
    """A place that is in the tensor: TVM has one before it where all values are the type's end."""

    def after(place, x, attr):
        return relax.op.clip(place, 0, extents(x)[attr.get("axis", 0)] - 1)

    return around(getattr(tvm_onnx, name), lambda x: x, after)


TRUTHS = {"bool": "uint8"}
WHOLE = {"int32": "float64", "int64": "float64"}

CONVERTERS = {
    "BatchNormalization": BatchNormalization,
    "Equal": Equal,
    "EyeLike": EyeLike,
    "Gather": Gather,
    "IsInf": IsInf,
    "OneHot": OneHot,
    **{name: _by_way_of(name, TRUTHS) for name in ("ReduceMax", "ReduceMin")},
    **{
        name: _by_way_of(name, WHOLE)
        for name in ("ReduceMean", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")
    },
    **{name: _within(name) for name in ("ArgMax", "ArgMin")},
}


def extents(x):
    """Shape of a tensor: models come with all shapes known."""
    return [int(n) for n in x.ty.shape]


def dtype_of(x):
    """Name of the type of a tensor's values."""
    return str(x.ty.dtype.dtype)
