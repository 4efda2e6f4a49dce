"""Inputs, outputs and names."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from zoo.case import case


@case("conv2d", "conv2d")
def two_inputs(g):
    a, b = g.input(1, 4, 12, 12), g.input(1, 8, 12, 12)
    return g.conv(g("Add", g("Relu", g.conv(a)), b))


@case("conv2d", "dense", "conv2d")
def picture_and_vector(g):
    picture, vector = g.input(1, 4, 12, 12), g.input(1, 16)
    scale = g("Unsqueeze", g.dense(vector, 8), [2, 3])
    return g.conv(g("Mul", g.conv(picture), scale))


@case("conv2d", "conv2d", "dense", transposes=1)
def two_outputs(g):
    x = g("Relu", g.conv(g.input(1, 4, 12, 12)))
    return g.conv(x), g.dense(g("Flatten", x))


@case("conv2d", "conv2d")
def intermediate_output(g):
    """What the first layer gives is read on and is an output too."""
    x = g("Relu", g.conv(g.input(1, 4, 12, 12)))
    return x, g.conv(x)


@case("conv2d")
def output_before_its_activation(g):
    x = g.conv(g.input(1, 4, 12, 12))
    return x, g("Relu", x)


@case("conv2d")
def input_is_output(g):
    x = g.input(1, 4, 12, 12)
    return x, g.conv(x)


@case("conv2d", "conv2d")
def input_passed_through(g):
    x = g.input(1, 4, 12, 12)
    return g.conv(g.conv(x)), g("Identity", x)


@case("conv2d")
def constant_output(g):
    return g.conv(g.input(1, 4, 12, 12)), g("Identity", g.normal(3, 4))


@case("conv2d")
def one_output_twice(g):
    x = g.conv(g.input(1, 4, 12, 12))
    return g("Identity", x), g("Identity", x)


@case("conv2d", "conv2d")
def unused_input(g):
    x, _ = g.input(1, 4, 12, 12), g.input(1, 3)
    return g.conv(g("Relu", g.conv(x)))


@case("conv2d", "conv2d")
def unused_branch(g):
    x = g.conv(g.input(1, 4, 12, 12))
    g("Exp", x)
    return g.conv(x)


@case("conv2d", "conv2d")
def bool_mask(g):
    x, mask = g.input(1, 4, 12, 12), g.input(1, 1, 12, 12, dtype=np.bool_)
    return g.conv(g("Where", mask, g.conv(x), 0.0))


@case("conv2d")
def bool_output(g):
    return g("Greater", g.conv(g.input(1, 4, 12, 12)), 0.0)


@case("conv2d")
def uint8_picture(g):
    x = g("Cast", g.input(1, 3, 12, 12, dtype=np.uint8), to=TensorProto.FLOAT)
    return g("Relu", g.conv(g("Div", x, 255.0)))


@case("conv2d")
def uint8_output(g):
    x = g("Clip", g("Mul", g.conv(g.input(1, 4, 12, 12)), 64.0), 0.0, 255.0)
    return g("Cast", x, to=TensorProto.UINT8)


@case("conv2d", "conv2d")
def channels_last(g):
    """As exporters of TensorFlow write it."""
    x = g("Transpose", g.input(1, 12, 12, 4), perm=[0, 3, 1, 2])
    return g("Transpose", g.conv(g("Relu", g.conv(x))), perm=[0, 2, 3, 1])


@case("dense", "dense")
def ids_of_int32(g):
    x = g("Gather", g.normal(20, 16), g.input(1, 6, dtype=np.int32))
    return g.dense(g("Relu", g.dense(x, 32)), 8)


@case("dense")
def powers_of_whole_numbers(g):
    x = g("Pow", g("Add", g.input(1, 16, dtype=np.int64), 3), g.weight(np.float32(2)))
    return g.dense(g("Cast", x, to=TensorProto.FLOAT), 8)


@case("dense")
def mean_of_embeddings(g):
    x = g("Gather", g.normal(20, 16), g.input(3, 6, dtype=np.int64))
    return g.dense(g("ReduceMean", x, axes=[1], keepdims=0))


@case("conv2d", "conv2d")
def names_with_any_letters(g):
    x = g.input(1, 4, 12, 12, name="größe/输入 1")
    x = g.conv(x, name="größe/卷积 1", weight=g.weight(g.normal(8, 4, 3, 3), "model.0 (weight)"))
    return g.conv(g("Relu", x, name="/features/0/Relu:0"), name="1.выход")


@case("conv2d", "conv2d")
def names_that_are_words_of_languages(g):
    x = g.conv(g.input(1, 4, 12, 12, name="main"), name="def")
    return g.conv(g("Relu", x, name="float"), name="lv0")


@case("conv2d", "conv2d")
def names_that_differ_in_signs_only(g):
    x = g.conv(g.input(1, 4, 12, 12, name="a.b"), name="a/b")
    return g.conv(g("Relu", x, name="a_b"), name="a b")
