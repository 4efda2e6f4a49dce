"""Activations and other elementwise operators between two convolutions."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from zoo.case import between, case

UNARY = {
    "relu": lambda g, x: g("Relu", x),
    "relu6": lambda g, x: g("Clip", x, 0.0, 6.0),
    "clip_below": lambda g, x: g("Clip", x, -0.5),
    "clip_above": lambda g, x: g("Clip", x, None, 0.5),
    "max_min_of_scalars": lambda g, x: g("Min", g("Max", x, 0.0), 6.0),
    "hard_swish": lambda g, x: g("HardSwish", x),
    "hard_swish_decomposed": lambda g, x: g(
        "Div", g("Mul", x, g("Clip", g("Add", x, 3.0), 0.0, 6.0)), 6.0
    ),
    "hard_swish_by_hard_sigmoid": lambda g, x: g("Mul", x, g("HardSigmoid", x, alpha=1 / 6)),
    "hard_sigmoid": lambda g, x: g("HardSigmoid", x),
    "leaky_relu": lambda g, x: g("LeakyRelu", x, alpha=0.1),
    "prelu_per_channel": lambda g, x: g("PRelu", x, g.positive(g.shape(x)[1], 1, 1)),
    "prelu_scalar": lambda g, x: g("PRelu", x, g.positive(1)),
    "sigmoid": lambda g, x: g("Sigmoid", x),
    "silu": lambda g, x: g("Mul", x, g("Sigmoid", x)),
    "gelu_by_erf": lambda g, x: g(
        "Mul", g("Mul", x, g("Add", g("Erf", g("Div", x, math.sqrt(2))), 1.0)), 0.5
    ),
    "gelu_by_tanh": lambda g, x: g(
        "Mul",
        g("Mul", x, 0.5),
        g(
            "Add",
            g("Tanh", g("Mul", g("Add", x, g("Mul", g("Pow", x, 3.0), 0.044715)), 0.79788456)),
            1.0,
        ),
    ),
    "mish_decomposed": lambda g, x: g("Mul", x, g("Tanh", g("Softplus", x))),
    "elu": lambda g, x: g("Elu", x),
    "selu": lambda g, x: g("Selu", x),
    "celu": lambda g, x: g("Celu", x, alpha=2.0),
    "softplus": lambda g, x: g("Softplus", x),
    "softsign": lambda g, x: g("Softsign", x),
    "tanh": lambda g, x: g("Tanh", x),
    "exp": lambda g, x: g("Exp", x),
    "sqrt_abs": lambda g, x: g("Sqrt", g("Abs", x)),
    "log": lambda g, x: g("Log", g("Add", g("Abs", x), 1.0)),
    "neg": lambda g, x: g("Neg", x),
    "reciprocal": lambda g, x: g("Reciprocal", g("Add", g("Abs", x), 0.5)),
    "pow2": lambda g, x: g("Pow", x, 2.0),
    "square": lambda g, x: g("Mul", x, x),
    "doubled": lambda g, x: g("Add", x, x),
    "thresholded_relu": lambda g, x: g("ThresholdedRelu", x, alpha=0.5),
    "floor": lambda g, x: g("Floor", x),
    "sin": lambda g, x: g("Sin", x),
    "erf": lambda g, x: g("Erf", x),
    "sign": lambda g, x: g("Sign", x),
    "where_greater": lambda g, x: g("Where", g("Greater", x, 0.0), x, g("Mul", x, 0.3)),
    "where_scalar": lambda g, x: g("Where", g("Less", x, 0.0), 0.0, x),
    "dropout": lambda g, x: g("Dropout", x),
    "identity": lambda g, x: g("Identity", x),
    "cast_to_int_and_back": lambda g, x: g(
        "Cast", g("Cast", x, to=TensorProto.INT32), to=TensorProto.FLOAT
    ),
    "cast_to_float16_and_back": lambda g, x: g(
        "Cast", g("Cast", x, to=TensorProto.FLOAT16), to=TensorProto.FLOAT
    ),
    "add_scalar": lambda g, x: g("Add", x, 1.5),
    "scalar_minus": lambda g, x: g("Sub", 1.0, x),
    "add_rank1_scalar": lambda g, x: g("Add", x, [0.5]),
    "add_per_channel_1c11": lambda g, x: g("Add", x, g.normal(1, g.shape(x)[1], 1, 1)),
    "mul_per_channel_c11": lambda g, x: g("Mul", x, g.normal(g.shape(x)[1], 1, 1)),
    "add_per_column": lambda g, x: g("Add", x, g.normal(g.shape(x)[3])),
    "sub_full_size": lambda g, x: g("Sub", x, g.normal(*g.shape(x))),
    "div_per_place": lambda g, x: g("Div", x, g.positive(1, 1, *g.shape(x)[2:])),
}
"""Operators that keep the shape, on (g, x)."""

for name, op in UNARY.items():
    between(name, op)

between("relu6_opset9", lambda g, x: g("Clip", x, min=0.0, max=6.0), opset=9)
between("mish", lambda g, x: g("Mish", x), opset=18)
between("gelu", lambda g, x: g("Gelu", x), opset=20)
between("gelu_tanh", lambda g, x: g("Gelu", x, approximate="tanh"), opset=20)
between("relu_opset22", lambda g, x: g("Relu", x), opset=22)


def _binary(name, op, opset=17) -> None:
    """``op(g, a, b)`` of two convolutions, and a third behind it."""

    def build(g):
        x = g.input(1, 4, 12, 12)
        return g.conv(op(g, g.conv(x), g.conv(x, kernel=1)))

    build.__name__ = name
    case("conv2d", "conv2d", "conv2d", opset=opset)(build)


_binary("add_of_two", lambda g, a, b: g("Relu", g("Add", a, b)))
_binary("sub_of_two", lambda g, a, b: g("Sub", a, b))
_binary("mul_of_two", lambda g, a, b: g("Mul", a, b))
_binary("gated", lambda g, a, b: g("Mul", a, g("Sigmoid", b)))
_binary("div_of_two", lambda g, a, b: g("Div", a, g("Add", g("Abs", b), 1.0)))
_binary("max_of_two", lambda g, a, b: g("Max", a, b))
_binary("min_of_two", lambda g, a, b: g("Min", a, b))
_binary("sum_of_three", lambda g, a, b: g("Sum", a, b, a))
_binary("mean_of_two", lambda g, a, b: g("Mean", a, b))
_binary("where_of_two", lambda g, a, b: g("Where", g("Greater", a, b), a, b))


@case("conv2d", "conv2d", "conv2d")
def residual(g):
    x = g("Relu", g.conv(g.input(1, 4, 12, 12)))
    return g("Relu", g("Add", g.conv(g("Relu", g.conv(x))), x))


@case("conv2d", "conv2d", "conv2d")
def residual_before_activation(g):
    """The shortcut is added first: ``x + f(relu(x))``."""
    x = g.conv(g.input(1, 4, 12, 12))
    return g("Relu", g("Add", x, g.conv(g("Relu", g.conv(g("Relu", x))))))


@case("conv2d", "conv2d", "conv2d")
def residual_broadcast(g):
    """One value for each channel is added to all places."""
    x = g.conv(g.input(1, 4, 12, 12))
    return g.conv(g("Add", x, g.conv(g("GlobalAveragePool", x), kernel=1)))


@case("conv2d", "conv2d")
def input_as_residual(g):
    x = g.input(1, 8, 12, 12)
    return g("Add", g.conv(g("Relu", g.conv(x))), x)


@case("conv2d", "conv2d")
def constant_node(g):
    x = g.conv(g.input(1, 4, 12, 12))
    return g.conv(g("Mul", x, g("Constant", value_floats=[0.5])))


@case("conv2d", "conv2d")
def constant_of_shape(g):
    x = g.conv(g.input(1, 4, 12, 12))
    return g.conv(g("Add", x, g("ConstantOfShape", np.array(g.shape(x)))))


@case("conv2d", "conv2d")
def normalised_input(g):
    """The mean and deviation of the pictures are part of the model."""
    x = g("Div", g("Sub", g.input(1, 3, 12, 12), g.normal(1, 3, 1, 1)), g.positive(1, 3, 1, 1))
    return g.conv(g("Relu", g.conv(x)))
