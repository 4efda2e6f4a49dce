"""Converters of ONNX operators in the place of some of TVM's.

TVM 0.27 imports these as kernels that are already lowered, which no pass on operators can follow,
or by stacking their inputs in memory. Here they become operators of Relax.
"""

from __future__ import annotations

import contextlib
import functools
import math
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend as tvm_onnx

from dgtl.tvm.workload.importer import elements, pools
from dgtl.tvm.workload.importer.elements import extents

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clip(tvm_onnx.OnnxOpConverter):
    """By maximum and minimum; a bound that is nan is none, as in ONNX Runtime."""

    @classmethod
    def _impl_v1(cls, bb, inputs, attr, params):
        return cls._clip(bb, inputs[0], attr.get("min"), attr.get("max"))

    @classmethod
    def _impl_v11(cls, bb, inputs, attr, params):
        bounds = [None if x is None else tvm_onnx.get_constant(x, params) for x in inputs[1:]]
        return cls._clip(bb, inputs[0], *[*bounds, None, None][:2])

    @staticmethod
    def _clip(bb, x, low, high):
        dtype = x.ty.dtype
        for bound, function in ((low, relax.op.maximum), (high, relax.op.minimum)):
            if bound is None:
                continue
            if isinstance(bound, tvm.ir.GenericConst):
                bound = bound.value.numpy().item()
            if not isinstance(bound, relax.Expr):
                if np.isnan(bound):
                    continue
                bound = relax.const(bound, dtype)
            x = bb.normalize(function(x, bound))
        return x


class Conv(tvm_onnx.Conv):
    """With ``auto_pad`` as padding of the convolution, not as a pass over memory before it."""

    @classmethod
    def _impl_v11(cls, bb, inputs, attr, params):
        mode = attr.get("auto_pad", b"NOTSET")
        if mode in pools.SAME:
            kernel = extents(inputs[1])[2:]
            pads = [
                pools.same(mode, n, s, (k - 1) * d + 1)
                for n, k, s, d in zip(
                    extents(inputs[0])[2:],
                    kernel,
                    attr.get("strides", [1] * len(kernel)),
                    attr.get("dilations", [1] * len(kernel)),
                    strict=True,
                )
            ]
            attr["pads"] = pools.begins_and_ends(pads)
            del attr["auto_pad"]
        return super()._impl_v11(bb, inputs, attr, params)


class ConvInteger(tvm_onnx.OnnxOpConverter):
    """By the convolution of whole numbers, their zero points taken away; TVM has none."""

    @classmethod
    def _impl_v10(cls, bb, inputs, attr, params):
        shapes = [], [-1, *[1] * (len(extents(inputs[1])) - 1)]  # of zero points
        operands = []
        for values, zero, shape in zip(inputs[:2], (inputs[2], inputs[3]), shapes, strict=True):
            values = bb.normalize(relax.op.astype(values, "int32"))
            if zero is not None:
                zero = relax.op.reshape(bb.normalize(relax.op.astype(zero, "int32")), shape)
                values = bb.normalize(relax.op.subtract(values, bb.normalize(zero)))
            operands.append(values)
        return Conv._impl_v11(bb, tvm_onnx.onnx_input(operands), attr, params)


class ConvTranspose(tvm_onnx.ConvTranspose):
    """As a convolution with an output channel for every phase of the stride, and a shuffle of them.

    TVM computes it on the input with zeros put between its elements: at a stride of two in two
    dimensions three of four products are with zero.
    """

    @classmethod
    def _impl_v1(cls, bb, inputs, attr, params):
        data, weight, bias = (*inputs, None)[:3]
        if not isinstance(weight, tvm.ir.GenericConst):
            return super()._impl_v1(bb, inputs, attr, params)
        size = extents(data)[2:]
        kernel = _dilated(weight.value.numpy(), attr.get("dilations", [1] * len(size)))
        groups, stride = int(attr.get("group", 1)), attr.get("strides", [1] * len(size))
        more = attr.get("output_padding", [0] * len(size))
        taken = kernel.shape[2:]
        full = [(i - 1) * s + k + o for i, s, k, o in zip(size, stride, taken, more, strict=True)]
        mode = attr.get("auto_pad", b"NOTSET")
        pads = [int(p) for p in attr.get("pads", [0] * 2 * len(size))]
        if mode in pools.SAME:
            total = [max(f - i * s, 0) for f, i, s in zip(full, size, stride, strict=True)]
            pads = pools.begins_and_ends([pools.halves(mode, n) for n in total])
        begins, ends = pads[: len(size)], pads[len(size) :]
        outputs = [f - b - e for f, b, e in zip(full, begins, ends, strict=True)]
        # Output y of the full result is phase y % s of step y // s, a sum over taps: step - tap.
        taps = [-(-k // s) for k, s in zip(taken, stride, strict=True)]
        first = [b // s for b, s in zip(begins, stride, strict=True)]
        last = [(b + o - 1) // s for b, o, s in zip(begins, outputs, stride, strict=True)]
        before = [t - 1 - f for t, f in zip(taps, first, strict=True)]
        after = [e - (i - 1) for e, i in zip(last, size, strict=True)]
        if min(*before, *after) < 0:
            return super()._impl_v1(bb, inputs, attr, params)
        phases = _phases(kernel, groups, stride, taps)
        conv = (relax.op.nn.conv1d, relax.op.nn.conv2d, relax.op.nn.conv3d)[len(size) - 1]
        steps = bb.normalize(
            conv(data, relax.const(phases, phases.dtype), padding=[*before, *after], groups=groups)
        )
        if bias is not None:
            each = bb.normalize(relax.op.reshape(bias, (1, groups, 1, -1)))
            each = bb.normalize(relax.op.tile(each, (1, 1, math.prod(stride), 1)))
            each = bb.normalize(relax.op.reshape(each, (1, -1, *[1] * len(size))))
            steps = bb.normalize(relax.op.add(steps, each))
        return cls._shuffled(bb, steps, groups, stride, outputs, begins, first)

    @staticmethod
    def _shuffled(bb, steps, groups, stride, outputs, begins, first):
        """From [N, groups * phases * channels, steps...] to [N, groups * channels, outputs...]."""
        n, wide, *size = extents(steps)
        dims = len(size)
        channels = wide // groups // math.prod(stride)
        x = relax.op.reshape(steps, (n, groups, *stride, channels, *size))
        phases = range(2, 2 + dims)
        order = [0, 1, 2 + dims]
        for phase in phases:
            order += [phase + 1 + dims, phase]
        x = relax.op.permute_dims(bb.normalize(x), order)
        long = [i * s for i, s in zip(size, stride, strict=True)]
        x = bb.normalize(relax.op.reshape(bb.normalize(x), (n, groups * channels, *long)))
        begin = [b - f * s for b, f, s in zip(begins, first, stride, strict=True)]
        if not any(begin) and long == outputs:
            return x
        end = [b + o for b, o in zip(begin, outputs, strict=True)]
        return relax.op.strided_slice(x, list(range(2, 2 + dims)), begin, end)


def _dilated(kernel, dilations):
    """A kernel [I, O, k...] with zeros between its elements."""
    taken = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilations, strict=True)]
    wide = np.zeros((*kernel.shape[:2], *taken), kernel.dtype)
    wide[(..., *(slice(None, None, d) for d in dilations))] = kernel
    return wide


def _phases(kernel, groups, stride, taps):
    """From [I, O, k...] to [groups * phases * O, I / groups, taps...], taps reversed."""
    dims = len(stride)
    missing = [t * s - k for t, s, k in zip(taps, stride, kernel.shape[2:], strict=True)]
    kernel = np.pad(kernel, [(0, 0), (0, 0), *((0, m) for m in missing)])
    inputs, outputs = kernel.shape[0] // groups, kernel.shape[1]
    split = [n for t, s in zip(taps, stride, strict=True) for n in (t, s)]
    kernel = kernel.reshape(groups, inputs, outputs, *split)
    taps_at, phases_at = range(3, 3 + 2 * dims, 2), range(4, 4 + 2 * dims, 2)
    kernel = kernel.transpose(0, *phases_at, 2, 1, *taps_at)
    kernel = kernel[(..., *[slice(None, None, -1)] * dims)]
    return np.ascontiguousarray(kernel.reshape(-1, inputs, *taps))


class LRN(tvm_onnx.OnnxOpConverter):
    """By sums of shifted channels, which fuse; TVM's way makes a pool in three dimensions."""

    @classmethod
    def _impl_v1(cls, bb, inputs, attr, params):
        data, size = inputs[0], int(attr["size"])
        dtype, channels = data.ty.dtype, extents(data)[1]
        rank = len(extents(data))
        square = bb.normalize(relax.op.multiply(data, data))
        width = [0, 0, (size - 1) // 2, size // 2, *[0] * 2 * (rank - 2)]
        wide = bb.normalize(relax.op.nn.pad(square, width))
        parts = [
            bb.normalize(relax.op.strided_slice(wide, [1], [i], [i + channels]))
            for i in range(size)
        ]
        total = functools.reduce(lambda a, b: bb.normalize(relax.op.add(a, b)), parts)
        scale = relax.const(attr.get("alpha", 1e-4) / size, dtype)
        scaled = bb.normalize(relax.op.multiply(total, scale))
        shifted = bb.normalize(relax.op.add(scaled, relax.const(attr.get("bias", 1.0), dtype)))
        power = relax.op.power(shifted, relax.const(attr.get("beta", 0.75), dtype))
        return relax.op.divide(data, bb.normalize(power))


class LpNormalization(tvm_onnx.OnnxOpConverter):
    """By a sum and a division, of which zeros stay zeros; TVM has none."""

    @classmethod
    def _impl_v1(cls, bb, inputs, attr, params):
        data, axis = inputs[0], int(attr.get("axis", -1))
        squares = int(attr.get("p", 2)) == 2
        sizes = relax.op.multiply(data, data) if squares else relax.op.abs(data)
        total = bb.normalize(relax.op.sum(bb.normalize(sizes), axis, keepdims=True))
        norm = bb.normalize(relax.op.sqrt(total)) if squares else total
        zero, one = (relax.const(n, data.ty.dtype) for n in (0, 1))
        nothing = bb.normalize(relax.op.equal(norm, zero))
        return relax.op.divide(data, bb.normalize(relax.op.where(nothing, one, norm)))


PAD_MODES = {
    b"constant": "constant",
    b"reflect": "reflect",
    b"edge": "replicate",
    b"wrap": "circular",
}


class Pad(tvm_onnx.Pad):
    """By the operator of Relax."""

    @classmethod
    def _impl_v2(cls, bb, inputs, attr, params):
        before, after = np.split(np.array(attr["pads"]), 2)
        return cls._pad(inputs[0], before, after, attr, attr.get("value", 0.0))

    @classmethod
    def _lower_pad(cls, bb, inputs, attr, params, allowed_modes):
        before, after, value = cls._parse_pads_and_axes([*inputs, None][:4], params)
        return cls._pad(inputs[0], before, after, attr, value)

    @classmethod
    def _pad(cls, data, before, after, attr, value):
        mode = attr.get("mode", b"constant")
        width = [int(n) for pair in zip(before, after, strict=True) for n in pair]
        return relax.op.nn.pad(data, width, PAD_MODES[mode], value)


class Pow(tvm_onnx.Pow):
    """In the type of the base, whatever the exponent's; whole numbers by way of float64."""

    @classmethod
    def _impl_v7(cls, bb, inputs, attr, params):
        if all(isinstance(x, tvm.ir.GenericConst) for x in inputs):
            return super()._impl_v7(bb, inputs, attr, params)
        dtype = str(inputs[0].ty.dtype)
        within = dtype if dtype.startswith("float") else "float64"
        cast = [bb.normalize(relax.op.astype(x, within)) for x in inputs]
        power = super()._impl_v7(bb, tvm_onnx.onnx_input(cast), attr, params)
        return power if within == dtype else relax.op.astype(bb.normalize(power), dtype)


class Tile(tvm_onnx.Tile):
    """By the operator of Relax where the repeats are known."""

    @classmethod
    def _impl_v13(cls, bb, inputs, attr, params):
        repeats = tvm_onnx.get_constant(inputs[1], params)
        if not isinstance(repeats, tvm.ir.GenericConst):
            return super()._impl_v13(bb, inputs, attr, params)
        return relax.op.tile(inputs[0], repeats.value.numpy().tolist())


def _pairwise(converter: type) -> type:
    """An operator of several inputs as a chain of one of two, which fuses."""

    class Pairwise(converter):
        @classmethod
        def _impl_v1(cls, bb, inputs, attr, params):
            if all(isinstance(x, tvm.ir.GenericConst) for x in inputs):
                return super()._impl_v1(bb, inputs, attr, params)
            return cls._impl_dynamic(bb, inputs)

    return Pairwise


CONVERTERS = {
    **elements.CONVERTERS,
    **pools.CONVERTERS,
    "Clip": Clip,
    "Conv": Conv,
    "ConvInteger": ConvInteger,
    "ConvTranspose": ConvTranspose,
    "LRN": LRN,
    "LpNormalization": LpNormalization,
    "Pad": Pad,
    "Pow": Pow,
    "Tile": Tile,
    **{name: _pairwise(getattr(tvm_onnx, name)) for name in ("Max", "Min", "Sum", "Mean")},
}


def converter_map() -> dict[str, type]:
    """Of every ONNX operator that can be imported its converter."""
    return {**_theirs(), **CONVERTERS}


_theirs = tvm_onnx._get_convert_map


@contextlib.contextmanager
def converters() -> Iterator[None]:
    """Within it TVM's importer uses these."""
    with mock.patch.object(tvm_onnx, "_get_convert_map", functools.cache(converter_map)):
        yield
