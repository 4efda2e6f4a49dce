"""Random networks: blocks of the zoo's operators, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from zoo.activations import UNARY
from zoo.graph import Graph
from zoo.movements import channel_shuffle, resize
from zoo.normalizations import batch_norm
from zoo.windows import squeeze_excitation

if TYPE_CHECKING:
    import onnx

GROW = {"exp", "pow2", "square"}
"""Faster than their argument: several of them overflow."""
JUMP = {"floor", "sign", "thresholded_relu", "cast_to_int_and_back", "cast_to_float16_and_back"}
"""Where they jump, two right implementations differ by more than rounding."""
ACTIVATIONS = sorted(set(UNARY) - GROW - JUMP)


def _activation(g, x, draw):
    return UNARY[draw(st.sampled_from(ACTIVATIONS))](g, x)


def _conv(g, x, draw):
    stride = draw(st.sampled_from([1, 2] if min(g.shape(x)[2:]) > 3 else [1]))
    kernel = draw(st.sampled_from([1, 3, 5]))
    channels = draw(st.sampled_from([4, 8, 12, 16]))
    return g.conv(x, channels, kernel, strides=[stride] * 2, bias=draw(st.booleans()))


def _grouped(g, x, draw):
    c = g.shape(x)[1]
    return g.conv(x, c, 3, group=draw(st.sampled_from([n for n in (2, 4, c) if c % n == 0])))


def _residual(g, x, draw):
    y = g.conv(_activation(g, g.conv(x, 8), draw), g.shape(x)[1])
    return g(draw(st.sampled_from(["Add", "Sub", "Max", "Min"])), y, x)


def _concat(g, x, draw):
    ways = [_activation(g, g.conv(x, 4 * draw(st.integers(1, 2)), 1), draw) for _ in range(2)]
    return g("Concat", *ways, axis=1)


def _pool(g, x, draw):
    if min(g.shape(x)[2:]) < 2:
        return x
    op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    pads = [draw(st.integers(0, 1))] * 4
    return g(op, x, kernel_shape=[2, 2], strides=[draw(st.integers(1, 2))] * 2, pads=pads)


def _resize(g, x, draw):
    if max(g.shape(x)[2:]) > 16:
        return x
    mode = draw(st.sampled_from(["nearest", "linear"]))
    return resize(g, x, mode, draw(st.sampled_from(["asymmetric", "half_pixel"])))


BLOCKS = [
    _activation,
    _conv,
    _grouped,
    _residual,
    _concat,
    _pool,
    _resize,
    lambda g, x, draw: squeeze_excitation(g, x, draw(st.sampled_from(["Sigmoid", "HardSigmoid"]))),
    lambda g, x, draw: batch_norm(g, x),
    lambda g, x, draw: channel_shuffle(g, x),
]


@st.composite
def random_chain(draw, blocks: int = 5) -> onnx.ModelProto:
    """A network of up to ``blocks`` blocks behind a convolution, with a dense layer in the end
    or without. All are valid, finite, and continuous in their input."""
    g = Graph(seed=draw(st.integers(0, 2**16)))
    x = g.conv(g.input(1, draw(st.integers(1, 4)), *draw(st.tuples(*[st.integers(8, 14)] * 2))), 8)
    for block in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=blocks)):
        x = block(g, x, draw)
    end = draw(st.sampled_from(["maps", "pooled", "flat"]))
    if end == "maps":
        return g.model(x)
    return g.model(g.dense(g("Flatten", g("GlobalAveragePool", x) if end == "pooled" else x), 10))
