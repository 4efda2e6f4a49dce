"""Pooling, reductions, and what weighs channels by them, between two convolutions."""

from __future__ import annotations

import numpy as np

from zoo.case import add, between, case

SE = ("conv2d", "conv2d", "conv2d", "conv2d")


def squeeze_excitation(g, x, gate="Sigmoid"):
    c = g.shape(x)[1]
    y = g("Relu", g.conv(g("GlobalAveragePool", x), max(c // 4, 1), 1))
    return g("Mul", x, g(gate, g.conv(y, c, 1)))


def squeeze_excitation_by_gemm(g, x):
    b, c, *_ = g.shape(x)
    y = g("ReduceMean", x, axes=[2, 3], keepdims=0)
    y = g("Sigmoid", g.dense(g("Relu", g.dense(y, c // 4)), c))
    return g("Mul", x, g("Reshape", y, np.array([b, c, 1, 1])))


WINDOWS = {
    "max_pool": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "max_pool_padded": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}),
    "max_pool_asymmetric": ("MaxPool", {"kernel_shape": [3, 2], "pads": [1, 0, 0, 1]}),
    "max_pool_ceil": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max_pool_dilated": ("MaxPool", {"kernel_shape": [3, 3], "dilations": [2, 2]}),
    "max_pool_same": (
        "MaxPool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    "average_pool": ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "average_pool_pads_left_out": (
        "AveragePool",
        {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 0},
    ),
    "average_pool_pads_counted": (
        "AveragePool",
        {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1},
    ),
    "average_pool_ceil": (
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    ),
    "global_average_pool": ("GlobalAveragePool", {}),
    "global_max_pool": ("GlobalMaxPool", {}),
    "reduce_mean_kept": ("ReduceMean", {"axes": [2, 3], "keepdims": 1}),
    "reduce_max_kept": ("ReduceMax", {"axes": [-2, -1], "keepdims": 1}),
    "reduce_mean_of_channels": ("ReduceMean", {"axes": [1], "keepdims": 1}),
}
for _name, (_op, _attributes) in WINDOWS.items():
    between(_name, lambda g, x, op=_op, a=_attributes: g(op, x, **a))

between(
    "max_pool_with_unread_indices",
    lambda g, x: g("MaxPool", x, outputs=2, kernel_shape=[2, 2], strides=[2, 2])[0],
)


def _unpooled(g, x):
    """As SegNet has it."""
    size = {"kernel_shape": [2, 2], "strides": [2, 2]}
    y, places = g("MaxPool", x, outputs=2, **size)
    return g("MaxUnpool", g("Relu", y), places, **size)


between("max_unpool", _unpooled, transposes=3)
between("reduce_sum", lambda g, x: g("ReduceSum", x, [3], keepdims=1))
between("reduce_mean_opset18", lambda g, x: g("ReduceMean", x, [2, 3], keepdims=1), opset=18)
between(
    "spatial_attention",
    lambda g, x: g(
        "Concat",
        g("ReduceMean", x, axes=[1], keepdims=1),
        g("ReduceMax", x, axes=[1], keepdims=1),
        axis=1,
    ),
)
between("squeeze_excitation", squeeze_excitation, *SE)
between(
    "squeeze_excitation_hard",
    lambda g, x: squeeze_excitation(g, x, gate="HardSigmoid"),
    *SE,
)
between(
    "squeeze_excitation_by_gemm", squeeze_excitation_by_gemm, "conv2d", "dense", "dense", "conv2d"
)
between(
    "weighed_by_softmax",
    lambda g, x: g("Mul", x, g("Softmax", g("GlobalAveragePool", x), axis=1)),
)


def _head(name, op, *kinds, transposes=0, opset=17) -> None:
    """A case of a convolution with ReLU and ``op(g, x)`` as the end of the network."""

    def build(g):
        return op(g, g("Relu", g.conv(g.input(1, 4, 8, 8))))

    add(name, build, "conv2d", *kinds, transposes=transposes, opset=opset)


_head("pooled_classifier", lambda g, x: g.dense(g("Flatten", g("GlobalAveragePool", x))), "dense")
_head(
    "reduced_classifier",
    lambda g, x: g.dense(g("ReduceMean", x, axes=[2, 3], keepdims=0)),
    "dense",
)
_head(
    "reduced_max_classifier",
    lambda g, x: g.dense(g("ReduceMax", x, axes=[2, 3], keepdims=0)),
    "dense",
)
_head(
    "reduced_sum_classifier",
    lambda g, x: g.dense(g("ReduceSum", x, [2, 3], keepdims=0)),
    "dense",
)
_head("flat_classifier", lambda g, x: g.dense(g("Flatten", x)), "dense", transposes=1)
_head(
    "reshaped_classifier",
    lambda g, x: g.dense(g("Reshape", x, [1, -1])),
    "dense",
    transposes=1,
)
_head(
    "reshaped_by_shape",
    lambda g, x: g.dense(
        g(
            "Reshape",
            x,
            g("Concat", g("Unsqueeze", g("Gather", g("Shape", x), 0), [0]), [-1], axis=0),
        )
    ),
    "dense",
    transposes=1,
)
_head(
    "softmax_head",
    lambda g, x: g("Softmax", g.dense(g("Flatten", g("GlobalAveragePool", x)))),
    "dense",
)
_head(
    "log_softmax_head",
    lambda g, x: g("LogSoftmax", g.dense(g("Flatten", g("GlobalAveragePool", x))), axis=1),
    "dense",
)
_head("arg_max_of_channels", lambda g, x: g("ArgMax", x, axis=1, keepdims=0))
_head(
    "arg_max_of_classes",
    lambda g, x: g("ArgMax", g.dense(g("Flatten", x)), axis=-1),
    "dense",
    transposes=1,
)
_head(
    "top_k",
    lambda g, x: g("TopK", g.dense(g("Flatten", g("GlobalMaxPool", x))), [3], outputs=2),
    "dense",
)
_head(
    "scalar_output",
    lambda g, x: g("ReduceMean", x, keepdims=0),
)


@case("conv1d", "conv1d", "dense")
def pooled_1d(g):
    x = g("MaxPool", g("Relu", g.conv(g.input(1, 4, 32))), kernel_shape=[4], strides=[4])
    x = g("AveragePool", g("Relu", g.conv(x, 16)), kernel_shape=[2], strides=[2])
    return g.dense(g("Flatten", g("GlobalAveragePool", x)))


@case("conv3d", "conv3d", "dense")
def pooled_3d(g):
    x = g("MaxPool", g.conv(g.input(1, 4, 8, 8, 8)), kernel_shape=[2] * 3, strides=[2] * 3)
    return g.dense(g("Flatten", g("GlobalAveragePool", g("Relu", g.conv(x)))))


@case("conv2d", "conv2d", transposes=2, opset=18)
def fold_of_patches(g):
    """The columns of a window put back into an image, as PyTorch's fold is exported."""
    columns = g("Reshape", g.conv(g.input(1, 4, 12, 12)), np.array([1, 32, 36]))
    sizes = np.array([12, 12]), np.array([2, 2])
    return g.conv(g("Col2Im", columns, *sizes, strides=[2, 2]))
