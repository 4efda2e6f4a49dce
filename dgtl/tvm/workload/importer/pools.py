"""Converters of pools, of windows and of regions.

TVM 0.27 pads pools otherwise than ONNX Runtime (half a step less below an even length, windows
that start after the end), knows no places of what is greatest, and moves regions before their
scale.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend as tvm_onnx

from dgtl.tvm.workload.importer.elements import dtype_of, extents

SAME = (b"SAME_UPPER", b"SAME_LOWER")


def same(mode, size, stride, window):
    """Padding at both ends of an axis for as many outputs as there are strides in it."""
    return halves(mode, max((-(-size // stride) - 1) * stride + window - size, 0))


def begins_and_ends(pads):
    """Padding of every axis as ONNX writes it: begins, then ends."""
    return [begin for begin, _ in pads] + [end for _, end in pads]


def halves(mode, total):
    """Padding at both ends; which has the larger half of an odd one, the mode says."""
    begin = (total + (mode == b"SAME_LOWER")) // 2
    return begin, total - begin


def explicit(attr, size):
    """Says all padding of a pool in its attributes: begins, then ends."""
    dims = len(size)
    attr["strides"] = [int(s) for s in attr.get("strides", [1] * dims)]
    attr["dilations"] = [int(d) for d in attr.get("dilations", [1] * dims)]
    pads = [int(p) for p in attr.get("pads", [0] * 2 * dims)]
    mode, ceil = attr.pop("auto_pad", b"NOTSET"), attr.pop("ceil_mode", 0)
    for i, (n, s, k, d) in enumerate(
        zip(size, attr["strides"], attr["kernel_shape"], attr["dilations"], strict=True)
    ):
        window = (k - 1) * d + 1
        if mode in SAME:
            pads[i], pads[dims + i] = same(mode, n, s, window)
        elif ceil:
            # The last window starts within what is not padded at its end.
            full = -(-(n + pads[i] + pads[dims + i] - window) // s)
            last = min(full, (n + pads[i] - 1) // s)
            pads[dims + i] = max(last * s + window - n - pads[i], 0)
    attr["pads"] = pads


class AveragePool(tvm_onnx.AveragePool):
    """With all padding explicit, but where what is added for the last window does not count."""

    @classmethod
    def _impl_v1(cls, bb, inputs, attr, params):
        if not (attr.get("ceil_mode", 0) and attr.get("count_include_pad", 0)):
            explicit(attr, extents(inputs[0])[2:])
        return super()._impl_v1(bb, inputs, attr, params)


class MaxPool(tvm_onnx.MaxPool):
    """With the places of what is greatest, where they are asked for."""

    @classmethod
    def _impl_v1(cls, bb, inputs, attr, params):
        explicit(attr, extents(inputs[0])[2:])
        pooled = bb.normalize(super()._impl_v1(bb, inputs, attr, params))
        if attr["tvm_custom"]["num_outputs"] == 1:
            return pooled
        return relax.Tuple([pooled, cls._places(bb, inputs[0], extents(pooled)[2:], attr)])

    @staticmethod
    def _places(bb, x, outputs, attr):
        """Of one element of the windows after another whether it is greater; the first counts."""
        batch, channels, *size = extents(x)
        dims = len(size)
        stride, apart, pads = attr["strides"], attr["dilations"], attr["pads"]
        width = [0] * 4 + [p for pair in zip(pads[:dims], pads[dims:], strict=True) for p in pair]
        least = -math.inf if "float" in dtype_of(x) else int(np.iinfo(dtype_of(x)).min)
        wide = bb.normalize(relax.op.nn.pad(x, width, "constant", least))
        # How much further the next element along an axis is: the last axis is dense, or the first.
        order = range(dims) if attr.get("storage_order", 0) else range(dims)[::-1]
        further, steps = 1, [0] * dims
        for axis in order:
            steps[axis], further = further, further * size[axis]
        best = place = None
        for element in itertools.product(*map(range, attr["kernel_shape"])):
            begin = [e * d for e, d in zip(element, apart, strict=True)]
            end = [b + (o - 1) * s + 1 for b, o, s in zip(begin, outputs, stride, strict=True)]
            axes = list(range(2, 2 + dims))
            part = bb.normalize(relax.op.strided_slice(wide, axes, begin, end, stride))
            here = relax.const(sum(b * s for b, s in zip(begin, steps, strict=True)), "int64")
            if best is None:
                best, place = part, here
                continue
            greater = bb.normalize(relax.op.greater(part, best))
            place = bb.normalize(relax.op.where(greater, here, place))
            best = bb.normalize(relax.op.maximum(part, best))
        first = np.arange(batch * channels).reshape(batch, channels, *[1] * dims) * math.prod(size)
        for axis, (o, s, p, step) in enumerate(
            zip(outputs, stride, pads[:dims], steps, strict=True)
        ):
            first = first + ((np.arange(o) * s - p) * step).reshape(-1, *[1] * (dims - axis - 1))
        return bb.normalize(relax.op.add(place, relax.const(first, "int64")))


class MaxUnpool(tvm_onnx.MaxUnpool):
    """With padding of two sides, and the shape that is asked for."""

    @classmethod
    def _impl_v9(cls, bb, inputs, attr, params):
        data, places, wanted = (*inputs, None)[:3]
        batch, channels, *size = extents(data)
        dims = len(size)
        pads, stride = attr.get("pads", [0] * 2 * dims), attr.get("strides", [1] * dims)
        shape = [batch, channels] + [
            (n - 1) * s + k - b - e
            for n, s, k, b, e in zip(
                size, stride, attr["kernel_shape"], pads[:dims], pads[dims:], strict=True
            )
        ]
        if wanted is not None:
            wanted = tvm_onnx.get_constant(wanted, params)
            if not isinstance(wanted, tvm.ir.GenericConst):
                raise ValueError("a shape that is not constant")
            shape = wanted.value.numpy().tolist()
        zeros = relax.const(np.zeros(math.prod(shape)), dtype_of(data))
        flat = (bb.normalize(relax.op.reshape(x, [-1])) for x in (places, data))
        full = bb.normalize(relax.op.scatter_elements(zeros, *flat, axis=0))
        return relax.op.reshape(full, shape)


class RoiAlign(tvm_onnx.RoiAlign):
    """With its regions moved by half an element after they are scaled; TVM does it before."""

    @classmethod
    def _impl(cls, bb, inputs, attr, params, default_mode):
        data, regions, images = inputs
        if attr.get("coordinate_transformation_mode", default_mode) == b"half_pixel":
            less = relax.const(0.5 - 0.5 / attr.get("spatial_scale", 1.0), dtype_of(regions))
            regions = bb.normalize(relax.op.add(regions, less))
        return super()._impl(bb, [data, regions, images], attr, params, default_mode)


CONVERTERS = {
    "AveragePool": AveragePool,
    "MaxPool": MaxPool,
    "MaxUnpool": MaxUnpool,
    "RoiAlign": RoiAlign,
}
