"""Convolutions of every form."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from zoo.case import add, case


def _after(shape, name, *kinds, opset=17, **convolution) -> None:
    """A case of an ordinary convolution with ReLU and the one in question behind it."""

    def build(g):
        return g.conv(g("Relu", g.conv(g.input(*shape), 8)), **convolution)

    add(name, build, f"conv{len(shape) - 2}d", *kinds, opset=opset)


LINE, PLANE, VOLUME = (1, 4, 20), (1, 4, 14, 14), (1, 4, 8, 8, 8)

_after(LINE, "conv1d", "conv1d", channels=16)
_after(LINE, "conv1d_strided", "conv1d", channels=16, kernel=5, strides=[2])
_after(LINE, "conv1d_dilated_causal", "conv1d", dilations=[2], pads=[4, 0])
_after(LINE, "grouped_conv1d", "grouped_conv1d", channels=16, group=4)
_after(LINE, "depthwise_conv1d", "depthwise_conv1d", group=8)
_after(LINE, "conv1d_transpose", "conv1d_transpose", op="ConvTranspose", kernel=4, strides=[2])

_after(PLANE, "conv2d", "conv2d", channels=16)
_after(PLANE, "conv2d_without_bias", "conv2d", bias=False)
_after(PLANE, "conv2d_1x1", "conv2d", channels=32, kernel=1)
_after(PLANE, "conv2d_1x1_strided", "conv2d", channels=16, kernel=1, strides=[2, 2])
_after(PLANE, "conv2d_strided", "conv2d", channels=16, strides=[2, 2])
_after(PLANE, "conv2d_unequal_strides", "conv2d", channels=16, strides=[2, 1])
_after(PLANE, "conv2d_dilated", "conv2d", dilations=[2, 2])
_after(PLANE, "conv2d_unequal_kernel", "conv2d", kernel=(1, 7))
_after(PLANE, "conv2d_even_kernel", "conv2d", kernel=2, strides=[2, 2], pads=[0, 0, 0, 0])
_after(PLANE, "conv2d_asymmetric_pads", "conv2d", strides=[2, 2], pads=[0, 0, 1, 1])
_after(PLANE, "conv2d_same_upper", "conv2d", strides=[2, 2], auto_pad="SAME_UPPER")
_after(PLANE, "conv2d_same_lower", "conv2d", kernel=4, auto_pad="SAME_LOWER")
_after(PLANE, "conv2d_valid", "conv2d", kernel=5, auto_pad="VALID")
_after(PLANE, "conv2d_odd_channels", "conv2d", channels=13)
_after(PLANE, "conv2d_one_output", "conv2d", channels=1)
_after(PLANE, "conv2d_opset9", "conv2d", opset=9, channels=16)
_after((2, 4, 10, 14), "conv2d_batch2_not_square", "conv2d", channels=16)

_after(PLANE, "grouped_conv2d", "grouped_conv2d", channels=16, group=4)
_after(PLANE, "grouped_conv2d_strided", "grouped_conv2d", channels=16, group=2, strides=[2, 2])
_after(PLANE, "grouped_conv2d_1x1", "grouped_conv2d", channels=16, kernel=1, group=4)
_after(PLANE, "depthwise_conv2d", "depthwise_conv2d", group=8)
_after(PLANE, "depthwise_conv2d_strided", "depthwise_conv2d", group=8, kernel=5, strides=[2, 2])
_after(PLANE, "depthwise_conv2d_dilated", "depthwise_conv2d", group=8, dilations=[2, 2])
_after(PLANE, "depthwise_conv2d_multiplier2", "depthwise_conv2d", group=8, channels=16)
_after(PLANE, "depthwise_conv2d_multiplier3", "depthwise_conv2d", group=8, channels=24)

_after(VOLUME, "conv3d", "conv3d", channels=16)
_after(VOLUME, "conv3d_strided", "conv3d", kernel=(1, 3, 3), strides=[1, 2, 2])
_after(VOLUME, "grouped_conv3d", "grouped_conv3d", channels=16, group=4)
_after(VOLUME, "depthwise_conv3d", "depthwise_conv3d", group=8)


def _transposed(name, kind="conv2d_transpose", **convolution) -> None:
    _after(PLANE, name, kind, op="ConvTranspose", **convolution)


_transposed("conv2d_transpose", kernel=2, strides=[2, 2], pads=[0] * 4)
_transposed("conv2d_transpose_stride1")
_transposed("conv2d_transpose_4x4", channels=16, kernel=4, strides=[2, 2], pads=[1] * 4)
_transposed("conv2d_transpose_output_padding", strides=[2, 2], output_padding=[1, 1])
_transposed("conv2d_transpose_without_bias", strides=[2, 2], bias=False)
_transposed("conv2d_transpose_dilated", dilations=[2, 2])
_transposed("grouped_conv2d_transpose", "grouped_conv2d_transpose", strides=[2, 2], group=4)
_transposed("depthwise_conv2d_transpose", "depthwise_conv2d_transpose", strides=[2, 2], group=8)
_after(
    VOLUME, "conv3d_transpose", "conv3d_transpose", op="ConvTranspose", kernel=2, strides=[2] * 3
)


@case("conv2d", "conv2d")
def dynamic_weight(g):
    """The second kernel is an input: nothing of it is free in layout."""
    x, kernel = g.input(1, 4, 12, 12), g.input(8, 8, 3, 3)
    return g.conv(g("Relu", g.conv(x)), weight=kernel, bias=False)


@case("conv2d", "dense", "conv2d")
def computed_weight(g):
    """A kernel that a dense layer makes of another input."""
    x, code = g.input(1, 4, 12, 12), g.input(1, 6)
    kernel = g("Reshape", g.dense(code, 4 * 8 * 9), [4, 8, 3, 3])
    return g.conv(g.conv(x), 4, weight=kernel)


@case("conv2d", "conv2d")
def float16_inside(g):
    g.dtype = np.dtype(np.float16)
    x = g("Cast", g.input(1, 4, 12, 12), to=TensorProto.FLOAT16)
    return g("Cast", g.conv(g("Relu", g.conv(x))), to=TensorProto.FLOAT)


@case("conv2d", "dense")
def float16_throughout(g):
    g.dtype = np.dtype(np.float16)
    x = g("Relu", g.conv(g.input(1, 4, 12, 12, dtype=np.float16)))
    return g.dense(g("Flatten", g("GlobalAveragePool", x)))


@case("conv2d", "depthwise_conv2d", "conv2d", "conv2d")
def shared_weights(g):
    """Two layers of the same kernel and bias, on values of different sizes."""
    kernel, bias = g.weight(g.normal(8, 8, 3, 3, scale=0.2)), g.weight(g.normal(8))
    x = g.conv(g.input(1, 4, 16, 16))
    y = g("Conv", x, kernel, bias, pads=[1] * 4)
    z = g("Conv", g.conv(x, group=8, strides=[2, 2]), kernel, bias, pads=[1] * 4)
    return y, z


@case("conv2d", "conv2d", opset=8)
def weights_among_the_inputs(g):
    """As files before IR version 4 have it."""
    g.ir_version = 3
    return g.conv(g("Relu", g.conv(g.input(1, 4, 12, 12))))


@case("conv2d", "conv2d", "conv2d", "conv2d", "conv2d")
def repeated_layers(g):
    """Equal layers, of which a task is made once."""
    x = g.conv(g.input(1, 4, 12, 12))
    for _ in range(4):
        x = g("Relu", g.conv(x))
    return x


@case("conv1d", "conv2d")
def conv1d_into_conv2d(g):
    x = g.conv(g.input(1, 4, 16), 8)
    return g.conv(g("Unsqueeze", x, [2]), kernel=(1, 3))


@case("conv2d")
def conv2d_integer(g):
    """As dynamic quantisation writes it."""
    x = g.input(1, 4, 12, 12, dtype=np.uint8)
    kernel = np.clip(40 * g.normal(8, 4, 3, 3), -128, 127).astype(np.int8)
    y = g("ConvInteger", x, kernel, np.uint8(1), np.int8([-3]), pads=[1] * 4)
    return g("Mul", g("Cast", y, to=TensorProto.FLOAT), 0.01)


@case("conv2d", "conv2d")
def conv2d_of_bytes(g):
    """As static quantisation writes it; weights so small that no processor's sums saturate."""
    x = g("QuantizeLinear", g.input(1, 4, 12, 12), 0.03, np.uint8(128))
    kernel = np.clip(25 * g.normal(8, 4, 3, 3), -60, 60).astype(np.int8)
    scales, zeros = g.positive(8) * np.float32(0.01), np.zeros(8, np.int8)
    given = (0.03, np.uint8(128), kernel, scales, zeros, 0.1, np.uint8(120))
    y = g("QLinearConv", x, *given, np.arange(-400, 400, 100, np.int32), pads=[1] * 4)
    return g.conv(g("DequantizeLinear", y, 0.1, np.uint8(120)))
