"""Layers as AutoTVM's arguments give them: shapes, loops, accesses.

Axes stand as TVM's own tasks have them (batch, height, width, channel; then the reductions), so
that the same layer has the same shape key and its features the same columns, wherever it was tuned;
the layout in memory is in the accesses.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core.records import Access, Axis, shape_key

if TYPE_CHECKING:
    from collections.abc import Sequence

CONV_AXES = ("nn", "yy", "xx", "ff", "ry", "rx", "rc")
NN, YY, XX, FF, RY, RX, RC = range(7)


class UnsupportedError(ValueError):
    """A template or arguments that cannot be described; its text is the reason."""


@dataclasses.dataclass(frozen=True)
class Conv:
    """Shape of a convolution, as a template's arguments give it, layouts unpacked."""

    batch: int
    inputs: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    item_bytes: int
    depthwise: bool

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width with padding (top, left, bottom, right)."""
        top, left, bottom, right = self.padding
        return self.size[0] + top + bottom, self.size[1] + left + right

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        height, width = (
            (p - (k - 1) * d - 1) // s + 1
            for p, k, d, s in zip(self.padded, self.kernel, self.dilation, self.stride, strict=True)
        )
        return height, width

    @property
    def axes(self) -> tuple[Axis, ...]:
        channels = 1 if self.depthwise else self.inputs
        extents = (self.batch, *self.out, self.outputs, *self.kernel, channels)
        return tuple(
            Axis(name, extent, "R" if axis >= RY else "S")
            for axis, (name, extent) in enumerate(zip(CONV_AXES, extents, strict=True))
        )

    @property
    def accesses(self) -> tuple[Access, ...]:
        def row(**coefficients: int) -> tuple[int, ...]:
            return tuple(coefficients.get(name, 0) for name in CONV_AXES)

        channel = row(ff=1, rc=1) if self.depthwise else row(rc=1)
        data = (
            row(nn=1),
            channel,
            row(yy=self.stride[0], ry=self.dilation[0]),
            row(xx=self.stride[1], rx=self.dilation[1]),
        )
        weight = (row(ff=1), row(rc=1), row(ry=1), row(rx=1))
        out = (row(nn=1), row(ff=1), row(yy=1), row(xx=1))
        inputs = 1 if self.depthwise else self.inputs
        n_bytes = self.item_bytes
        data_shape = (self.batch, self.inputs, *self.padded)
        weight_shape = (self.outputs, inputs, *self.kernel)
        out_shape = (self.batch, self.outputs, *self.out)
        return (
            Access("data", data_shape, data, n_bytes, False, False),
            Access("weight", weight_shape, weight, n_bytes, True, False),
            Access("out", out_shape, out, n_bytes, False, True),
        )

    @property
    def kind(self) -> str:
        return "depthwise_conv2d" if self.depthwise else "conv2d"

    @property
    def flops(self) -> float:
        return 2.0 * math.prod(axis.extent for axis in self.axes)

    @property
    def shape_key(self) -> str:
        return shape_key(self.kind, self.axes, self.accesses)

    @property
    def variant(self) -> str:
        """What tells tasks of one ``shape_key`` apart: padding and element."""
        return f"{self.size}{self.padding}{self.item_bytes}"


@dataclasses.dataclass(frozen=True)
class Dense:
    """Data [m, k] times weight [n, k]."""

    m: int
    n: int
    k: int
    item_bytes: int

    kind = "dense"

    @property
    def axes(self) -> tuple[Axis, ...]:
        return Axis("i0", self.m, "S"), Axis("i1", self.n, "S"), Axis("k", self.k, "R")

    @property
    def accesses(self) -> tuple[Access, ...]:
        m, n, k = (1, 0, 0), (0, 1, 0), (0, 0, 1)
        return (
            Access("data", (self.m, self.k), (m, k), self.item_bytes, False, False),
            Access("weight", (self.n, self.k), (n, k), self.item_bytes, True, False),
            Access("out", (self.m, self.n), (m, n), self.item_bytes, False, True),
        )

    @property
    def flops(self) -> float:
        return 2.0 * self.m * self.n * self.k

    @property
    def shape_key(self) -> str:
        return shape_key(self.kind, self.axes, self.accesses)

    @property
    def variant(self) -> str:
        return str(self.item_bytes)


@dataclasses.dataclass(frozen=True)
class WinogradProduct:
    """The batched matrix product of a Winograd convolution: what its template tunes.

    Data [b, k, x] times weight [b, k, y], with b points of the transform, x tiles of the output and
    y channels. Shape key and operations are those of the direct convolution.
    """

    conv: Conv

    kind = "conv2d"

    @property
    def tile(self) -> int:
        """Outputs that one tile makes, per direction; 4 or 2, as TVM chooses on GPUs."""
        return 4 if self.conv.size[0] % 8 == 0 else 2

    @property
    def axes(self) -> tuple[Axis, ...]:
        points = (self.tile + self.conv.kernel[0] - 1) ** 2
        height, width = (math.ceil(n / self.tile) for n in self.conv.out)
        tiles = self.conv.batch * height * width
        outputs, inputs = self.conv.outputs, self.conv.inputs
        return (
            Axis("b", points, "S"),
            Axis("x", tiles, "S"),
            Axis("y", outputs, "S"),
            Axis("k", inputs, "R"),
        )

    @property
    def accesses(self) -> tuple[Access, ...]:
        n_b, n_x, n_y, n_k = (axis.extent for axis in self.axes)
        b, x, y, k = (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)
        n_bytes = self.conv.item_bytes
        return (
            Access("data_pack", (n_b, n_k, n_x), (b, k, x), n_bytes, False, False),
            Access("kernel_pack", (n_b, n_k, n_y), (b, k, y), n_bytes, True, False),
            Access("bgemm", (n_b, n_y, n_x), (b, y, x), n_bytes, False, True),
        )

    @property
    def flops(self) -> float:
        return self.conv.flops

    @property
    def shape_key(self) -> str:
        return self.conv.shape_key

    @property
    def variant(self) -> str:
        return self.conv.variant


Layer = Conv | Dense | WinogradProduct


def parse_conv(args: Sequence[Any], *, depthwise: bool = False) -> Conv:
    """The convolution of a template's arguments: tensors, strides, padding, dilation...

    Raises:
        UnsupportedError: grouped, with a channel multiplier, in another layout, or inconsistent.
    """
    (shape, item_bytes), (weight, _) = parse_tensor(args[0]), parse_tensor(args[1])
    layouts = [a for a in args[5:] if isinstance(a, str) and "N" in a and "C" in a]
    if any(not layout.startswith("NCHW") for layout in layouts):
        raise UnsupportedError("layouts other than NCHW are not supported")
    if len(shape) == 5:  # NCHWc with OIHWio weights: channels come as chunks and blocks.
        n, chunks, height, width, block = shape
        shape = (n, chunks * block, height, width)
        o_chunks, i_chunks, k_h, k_w, i_block, o_block = weight
        weight = (o_chunks * o_block, i_chunks * i_block, k_h, k_w)
    batch, inputs, height, width = shape
    outputs, per_group, k_h, k_w = weight
    if depthwise and (per_group != 1 or outputs != inputs):
        raise UnsupportedError("depthwise convolutions with a multiplier are not supported")
    if not depthwise and per_group != inputs:
        raise UnsupportedError("grouped convolutions are not supported")
    dilation = _pair(args[4])
    spans = ((k_h - 1) * dilation[0] + 1, (k_w - 1) * dilation[1] + 1)
    conv = Conv(
        batch=batch,
        inputs=inputs,
        outputs=outputs,
        size=(height, width),
        kernel=(k_h, k_w),
        stride=_pair(args[2]),
        padding=_padding(args[3], spans),
        dilation=dilation,
        item_bytes=item_bytes,
        depthwise=depthwise,
    )
    extents = (batch, inputs, outputs, *conv.kernel, *conv.stride, *dilation, *conv.out)
    if min(extents) < 1 or min(conv.padding) < 0:
        raise UnsupportedError("shapes of a convolution do not fit")
    return conv


def parse_dense(args: Sequence[Any]) -> Dense:
    """The dense layer of a template's arguments; a packed weight is [n / block, k, block].

    Raises:
        UnsupportedError: the tensors do not fit.
    """
    (data, item_bytes), (weight, _) = parse_tensor(args[0]), parse_tensor(args[1])
    m, k = data
    n, depth = (weight[0] * weight[2], weight[1]) if len(weight) == 3 else weight
    if depth != k:
        raise UnsupportedError("shapes of a dense layer do not fit")
    return Dense(m, n, k, item_bytes)


def parse_tensor(arg: Any) -> tuple[tuple[int, ...], int]:
    """Shape, and bytes of an element."""
    tag, shape, dtype = arg
    if tag != "TENSOR" or any(not isinstance(n, int) or n < 1 for n in shape):
        raise UnsupportedError("tensors of unknown shape are not supported")
    return tuple(shape), 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _pair(arg: Any) -> tuple[int, int]:
    first, second = (arg, arg) if isinstance(arg, int) else arg
    return int(first), int(second)


def _padding(arg: Any, spans: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, bottom, right. TVM's SAME pads by the (dilated) kernel less one, at any stride."""
    if arg == "VALID":
        return 0, 0, 0, 0
    if arg == "SAME":
        height, width = spans[0] - 1, spans[1] - 1
        top, left = (height + 1) // 2, (width + 1) // 2
        return top, left, height - top, width - left
    if isinstance(arg, int) or len(arg) == 2:
        height, width = _pair(arg)
        return height, width, height, width
    top, left, bottom, right = (int(p) for p in arg)
    return top, left, bottom, right
