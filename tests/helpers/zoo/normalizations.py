"""Normalizations, of channels, of places and of tokens."""

from __future__ import annotations

import numpy as np

from zoo.case import between, case


def batch_norm(g, x):
    c = g.shape(x)[1]
    return g("BatchNormalization", x, g.positive(c), g.normal(c), g.normal(c), g.positive(c))


def group_norm_by_instance_norm(g, x):
    """As exporters write it: groups become channels, then each channel gets scale and shift."""
    shape = g.shape(x)
    y = g("Reshape", x, [0, 4, -1])
    y = g("InstanceNormalization", y, np.ones(4, np.float32), np.zeros(4, np.float32))
    y = g("Mul", g("Reshape", y, np.array(shape)), g.positive(shape[1], 1, 1))
    return g("Add", y, g.normal(shape[1], 1, 1))


def standardised(g, x, axis):
    """Over one axis, step by step."""
    y = g("Sub", x, g("ReduceMean", x, axes=[axis], keepdims=1))
    variance = g("ReduceMean", g("Pow", y, 2.0), axes=[axis], keepdims=1)
    return g("Div", y, g("Sqrt", g("Add", variance, 1e-5)))


def rms_norm(g, x, axis):
    mean = g("ReduceMean", g("Mul", x, x), axes=[axis], keepdims=1)
    return g("Mul", x, g("Reciprocal", g("Sqrt", g("Add", mean, 1e-6))))


between("batch_norm", batch_norm)
between("batch_norm_relu", lambda g, x: g("Relu", batch_norm(g, x)))
between("relu_batch_norm", lambda g, x: batch_norm(g, g("Relu", x)))
between("batch_norm_opset9", lambda g, x: g("Relu", batch_norm(g, x)), opset=9)
between(
    "instance_norm",
    lambda g, x: g("InstanceNormalization", x, g.positive(8), g.normal(8)),
)
between(
    "instance_norm_leaky_relu",
    lambda g, x: g("LeakyRelu", g("InstanceNormalization", x, g.positive(8), g.normal(8))),
)
between(
    "group_norm",
    lambda g, x: g("GroupNormalization", x, g.positive(8), g.normal(8), num_groups=4),
    opset=21,
)
between("group_norm_by_instance_norm", group_norm_by_instance_norm, transposes=2)
between(
    "layer_norm_of_maps",
    lambda g, x: g("LayerNormalization", x, g.positive(8, 12, 12), g.normal(8, 12, 12), axis=1),
)
between("layer_norm_of_channels", lambda g, x: standardised(g, x, axis=1))
between("lrn", lambda g, x: g("LRN", x, size=5))
between("lrn_of_alexnet", lambda g, x: g("LRN", g("Relu", x), size=3, alpha=2e-5, bias=2.0))
between("lp_normalization", lambda g, x: g("LpNormalization", x, axis=1, p=2))
between(
    "lp_normalization_of_zeros",
    lambda g, x: g("LpNormalization", g("Mul", x, 1.0 * (np.arange(12) > 3)), axis=1, p=1),
)
between("l2_by_reduce_l2", lambda g, x: g("Div", x, g("ReduceL2", x, axes=[1], keepdims=1)))
between("rms_norm_of_channels", lambda g, x: rms_norm(g, x, axis=1))


@case("depthwise_conv2d", "conv2d")
def batch_norm_first(g):
    """On the input, with padding behind it: into the kernel it folds only with care."""
    x = batch_norm(g, g.input(1, 8, 12, 12))
    return g.conv(g.conv(x, group=8))


@case("conv2d_transpose", "depthwise_conv2d", "conv2d")
def batch_norm_after_each_kind(g):
    x = g.conv(g.input(1, 4, 8, 8), 8, 2, op="ConvTranspose", strides=[2, 2], pads=[0] * 4)
    x = g("Relu", batch_norm(g, x))
    x = g("Relu", batch_norm(g, g.conv(x, group=8, bias=False)))
    return batch_norm(g, g.conv(x, 16, 1))


@case("conv1d", "conv1d")
def batch_norm_1d(g):
    x = g("Relu", batch_norm(g, g.conv(g.input(1, 4, 20))))
    return g.conv(x)


@case("dense", "dense")
def batch_norm_of_dense(g):
    x = g("Relu", batch_norm(g, g.dense(g.input(4, 16), 32)))
    return g.dense(x)


@case("dense", "dense")
def layer_norm(g):
    x = g.dense(g.input(1, 12, 16), 32)
    return g.dense(g("LayerNormalization", x, g.positive(32), g.normal(32)))


@case("dense", "dense")
def layer_norm_decomposed(g):
    x = standardised(g, g.dense(g.input(1, 12, 16), 32), axis=-1)
    return g.dense(g("Add", g("Mul", x, g.positive(32)), g.normal(32)))


@case("dense", "dense")
def rms_norm_of_tokens(g):
    x = rms_norm(g, g.dense(g.input(1, 12, 16), 32), axis=-1)
    return g.dense(g("Mul", x, g.positive(32)))


@case("depthwise_conv2d", "dense", "dense", transposes=2)
def convnext_block(g):
    """Dense layers over channels that stand last, between two transpositions."""
    x = g.input(1, 16, 10, 10)
    y = g("Transpose", g.conv(x, 16, 7, group=16), perm=[0, 2, 3, 1])
    y = g("LayerNormalization", y, g.positive(16), g.normal(16))
    y = g.dense(y, 32)
    y = g("Mul", g("Mul", y, g("Add", g("Erf", g("Div", y, 2**0.5)), 1.0)), 0.5)
    y = g("Mul", g.dense(y, 16), g.positive(16))
    return g("Add", x, g("Transpose", y, perm=[0, 3, 1, 2]))
