"""Products of matrices: with constants, of two values, in stacks; attention made of them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from zoo.case import add, case


def _after(shape, name, op, *kinds, transposes=0, opset=17) -> None:
    """A case of a dense layer with ReLU and ``op(g, x)`` behind it."""

    def build(g):
        return op(g, g("Relu", g.dense(g.input(*shape), 24)))

    add(name, build, "dense", *kinds, transposes=transposes, opset=opset)


ROWS, TOKENS, HEADS = (16, 8), (2, 10, 8), (1, 4, 10, 8)

_after(ROWS, "gemm", lambda g, x: g("Gemm", x, g.normal(24, 12), g.normal(12)), "dense")
_after((1, 8), "gemm_one_row", lambda g, x: g.dense(x, 10), "dense")
_after(
    ROWS,
    "gemm_trans_b",
    lambda g, x: g("Relu", g("Gemm", x, g.normal(12, 24), g.normal(12), transB=1)),
    "dense",
)
_after(
    ROWS,
    "gemm_trans_a",
    lambda g, x: g("Gemm", x, g.normal(16, 12), g.normal(12), transA=1),
    "dense",
    transposes=1,
)
_after(
    ROWS,
    "gemm_alpha_beta",
    lambda g, x: g("Gemm", x, g.normal(24, 12), g.normal(12), alpha=0.5, beta=2.0),
    "dense",
)
_after(ROWS, "gemm_without_bias", lambda g, x: g("Gemm", x, g.normal(24, 12)), "dense")
_after(
    ROWS,
    "gemm_bias_of_full_size",
    lambda g, x: g("Gemm", x, g.normal(24, 12), g.normal(16, 12)),
    "dense",
)
_after(
    ROWS,
    "gemm_scalar_bias",
    lambda g, x: g("Gemm", x, g.normal(24, 12), g.normal(1)),
    "dense",
)
_after(
    ROWS,
    "gemm_of_two_values",
    lambda g, x: g("Gemm", x, g.dense(x, 24), transB=1),
    "dense",
    "matmul",
    transposes=1,
)
_after(ROWS, "matmul_constant", lambda g, x: g("MatMul", x, g.normal(24, 12)), "dense")
_after(
    ROWS,
    "matmul_constant_left",
    lambda g, x: g("MatMul", g.normal(12, 16), x),
    "matmul",
)
_after(
    (24, 8),
    "matmul_by_itself",
    lambda g, x: g("Relu", g("MatMul", x, x)),
    "matmul",
)
_after(
    ROWS,
    "gram_matrix",
    lambda g, x: g("MatMul", x, g("Transpose", x, perm=[1, 0])),
    "matmul",
    transposes=1,
)
_after(
    TOKENS,
    "matmul_of_tokens_with_constant",
    lambda g, x: g("MatMul", x, g.normal(24, 12)),
    "dense",
)
_after(
    TOKENS,
    "matmul_constant_stack",
    lambda g, x: g("MatMul", x, g.normal(2, 24, 12)),
    "batch_matmul",
)
_after(
    TOKENS,
    "batch_matmul_3d",
    lambda g, x: g("MatMul", x, g("Transpose", x, perm=[0, 2, 1])),
    "batch_matmul",
    transposes=1,
)
_after(
    HEADS,
    "batch_matmul_4d",
    lambda g, x: g("MatMul", g("Transpose", x, perm=[0, 1, 3, 2]), x),
    "batch_matmul",
    transposes=1,
)
_after(
    HEADS,
    "dense_of_rank4",
    lambda g, x: g.dense(x, 12),
    "dense",
)
_after(
    TOKENS,
    "einsum_with_constant",
    lambda g, x: g("Einsum", x, g.normal(24, 12), equation="bik,kj->bij"),
    "dense",
)
_after(
    HEADS,
    "einsum_of_heads",
    lambda g, x: g("Einsum", x, x, equation="bhid,bhjd->bhij"),
    "batch_matmul",
    transposes=1,
)


@case("dense", "dense")
def vector_matrix(g):
    """Values of rank 1: both layers are matrix-vector products."""
    x = g("Relu", g("Add", g("MatMul", g.input(16), g.normal(16, 32, scale=0.25)), g.normal(32)))
    return g("MatMul", x, g.normal(32, 8, scale=0.2))


@case("matmul")
def matmul_of_two_inputs(g):
    return g("Relu", g("MatMul", g.input(12, 16), g.input(16, 20)))


@case("batch_matmul")
def batch_matmul_of_two_inputs(g):
    return g("MatMul", g.input(3, 12, 16), g.input(3, 16, 20))


@case("batch_matmul")
def batch_matmul_broadcast(g):
    """Stacks [4, 1] and [3] make one of [4, 3]."""
    return g("MatMul", g.input(4, 1, 8, 16), g.input(3, 16, 8))


@case("conv2d", "batch_matmul", "conv2d", transposes=2)
def matmul_over_columns(g):
    """Each row of each map times a constant matrix."""
    x = g.conv(g.input(1, 4, 12, 12))
    return g.conv(g("MatMul", x, g.normal(1, 8, 12, 12, scale=0.3)))


def heads_of(g, x, n, perm):
    b, t, width = g.shape(x)
    return g("Transpose", g("Reshape", x, np.array([b, t, n, width // n])), perm=perm)


def self_attention(g, x, n=4, mask=None):
    """Multi-head attention of tokens [B, T, width]."""
    width = g.shape(x)[-1]
    q, v = (heads_of(g, g.dense(x, width), n, [0, 2, 1, 3]) for _ in range(2))
    k = heads_of(g, g.dense(x, width), n, [0, 2, 3, 1])
    scores = g("Div", g("MatMul", q, k), (width // n) ** 0.5)
    if mask is not None:
        scores = g("Where", mask, scores, -1e4)
    y = g("MatMul", g("Softmax", scores, axis=-1), v)
    y = g("Reshape", g("Transpose", y, perm=[0, 2, 1, 3]), [0, 0, width])
    return g("Add", x, g.dense(y, width))


ATTENTION = ("dense",) * 4 + ("batch_matmul",) * 2


@case(*ATTENTION, transposes=4)
def attention(g):
    return self_attention(g, g.input(1, 12, 32))


@case(*ATTENTION, transposes=4)
def attention_causal(g):
    """The mask is a lower triangle that is computed from a constant."""
    x = g.input(2, 12, 32)
    ones = g("Trilu", np.ones((12, 12), np.float32), upper=0)
    return self_attention(g, x, mask=g("Cast", ones, to=TensorProto.BOOL))


@case(*ATTENTION, transposes=4)
def attention_bool_mask(g):
    """Which tokens count is an input."""
    x, mask = g.input(1, 12, 32), g.input(1, 12, dtype=np.bool_)
    return self_attention(g, x, mask=g("Unsqueeze", mask, [1, 2]))


@case("dense", *ATTENTION, transposes=4)
def embedded_ids(g):
    ids = g.input(1, 12, dtype=np.int64)
    x = g("Add", g("Gather", g.normal(50, 32), ids), g.normal(12, 32))
    return g.dense(self_attention(g, x), 50)


@case("conv2d", *ATTENTION, transposes=6)
def patches_as_tokens(g):
    """A vision transformer's first layers: maps become tokens."""
    x = g.conv(g.input(1, 3, 16, 16), 32, 4, strides=[4, 4], pads=[0] * 4)
    x = g("Transpose", g("Reshape", x, [0, 32, -1]), perm=[0, 2, 1])
    return self_attention(g, g("Add", x, g.normal(1, 16, 32)))


@case("conv2d", "dense", "conv2d", transposes=4)
def tokens_and_back(g):
    x = g.conv(g.input(1, 4, 8, 8), 16)
    x = g("Transpose", g("Reshape", x, [1, 16, 64]), perm=[0, 2, 1])
    x = g("Transpose", g.dense(x, 16), perm=[0, 2, 1])
    return g.conv(g("Reshape", x, [1, 16, 8, 8]))
