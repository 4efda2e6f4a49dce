"""3x3 convolutions with fewer multiplications: minimal filtering F(4 x 4, 3 x 3).

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016: the input is cut
into tiles of 6 x 6, which are transformed; at each of the 36 places of a tile, products with the
weights of all channels sum up, which is a product of two matrices; these are transformed back into
4 x 4 outputs a tile. So a convolution becomes three functions. The matrix products are one batched
one, a layer that is tuned; the transformations have schedules of their own (`winograd_schedule`).
Which convolutions gain: docs/decisions/0023-minimal-filtering.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tvm
from tvm import relax, te, tirx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

M, SIDE = 4, 6
"""Outputs and inputs of a tile, along each side."""

INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
"""B^T of the paper's section 4.3."""

WEIGHTS = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
"""G."""

OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
"""A^T."""

TRANSFORM, INVERSE = "winograd_transform", "winograd_inverse"
"""Names of the two functions, of which those in the network begin with them."""

OPAQUE, ANCHOR = 8, 4
"""TVM's patterns of functions into which nothing is fused, and only what follows."""


def transformed_weights(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """G g G^T of a kernel [3, 3, C, K], as matrices [36, C, K]."""
    g = np.array(WEIGHTS)
    found = np.einsum("ei,fj,ijck->efck", g, g, kernel.astype(np.float64))
    return np.ascontiguousarray(found.reshape(-1, *kernel.shape[2:]).astype(np.float32))


def transform(data: te.Tensor, out: Sequence[int], padding: Sequence[int]) -> te.Tensor:
    """B^T d B of all tiles of an input [N, H, W, C], as matrices [36, tiles, C].

    Args:
        data: the input.
        out: height and width of the output.
        padding: above and left of the input.
    """
    batch, height, width, channels = (int(n) for n in data.shape)
    rows, columns = (math.ceil(n / M) for n in out)

    def padded(y, x, tile, c):
        row = tile // columns % rows * M + y - padding[0]
        column = tile % columns * M + x - padding[1]
        inside = tirx.all(row >= 0, row < height, column >= 0, column < width)
        value = data[tile // (rows * columns), row, column, c]
        return tirx.if_then_else(inside, value, tirx.const(0.0, "float32"))

    shape = (batch * rows * columns, channels)
    tiles = te.compute((SIDE, SIDE, *shape), padded, name="winograd_tiles")
    half = te.compute(
        (SIDE, SIDE, *shape),
        lambda e, x, tile, c: _times(INPUT, e, lambda y: tiles[y, x, tile, c]),
        name="winograd_half",
    )
    return te.compute(
        (SIDE * SIDE, *shape),
        lambda ef, tile, c: _times(INPUT, ef % SIDE, lambda x: half[ef // SIDE, x, tile, c]),
        name=TRANSFORM,
    )


def inverse(products: te.Tensor, batch: int, out: Sequence[int]) -> te.Tensor:
    """A^T p A of all products [36, tiles, K], as an output [batch, *out, K]."""
    rows, columns = (math.ceil(n / M) for n in out)
    _, tiles, channels = (int(n) for n in products.shape)
    half = te.compute(
        (M, SIDE, tiles, channels),
        lambda y, f, tile, k: _times(OUTPUT, y, lambda e: products[e * SIDE + f, tile, k]),
        name="winograd_half",
    )

    def output(n, y, x, k):
        tile = (n * rows + y // M) * columns + x // M
        return _times(OUTPUT, x % M, lambda f: half[y % M, f, tile, k])

    return te.compute((batch, *out, channels), output, name=INVERSE)


def _times(
    matrix: Sequence[Sequence[float]], row: tirx.PrimExpr, value: Callable[[int], tirx.PrimExpr]
) -> tirx.PrimExpr:
    """A row of a matrix times values. Once loops are unrolled, what is not this row's is gone."""
    sums = [_sum(factors, value) for factors in matrix]
    found = sums[-1]
    for number in range(len(sums) - 2, -1, -1):
        found = tirx.Select(row == number, sums[number], found)
    return found


def _sum(factors: Sequence[float], value: Callable[[int], tirx.PrimExpr]) -> tirx.PrimExpr:
    parts = [
        value(i) if factor == 1 else value(i) * tirx.const(float(factor), "float32")
        for i, factor in enumerate(factors)
        if factor != 0
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def gains(call: relax.Call, kernel: relax.Expr) -> bool:
    """Whether a convolution is expected to be faster so, on the target that is current.

    Args:
        call: of the convolution, channels first.
        kernel: its weights [K, C, 3, 3].
    """
    attributes = call.attrs
    if (
        not isinstance(kernel, tvm.ir.GenericConst)
        or str(kernel.ty.dtype) != "float32"
        or len(kernel.ty.shape) != 4
        or int(attributes.groups) != 1
        or any(int(n) != 1 for n in (*attributes.strides, *attributes.dilation))
    ):
        return False
    outputs, inputs, *window = (int(n) for n in kernel.ty.shape)
    if window != [3, 3] or inputs % LANES or outputs % LANES:
        return False
    batch, _, *out = (int(n) for n in call.ty.shape)
    cores = int(tvm.target.Target.current().attrs.get("num-cores", 1))
    return speedup(batch, out, inputs, outputs, cores) > WORTH


LANES = 8
"""Channels come in multiples of so many, which fill vectors."""

WORTH = 1.15
"""So many times faster it has to be expected to be."""

EFFICIENCY = 0.65
"""Of a machine's arithmetic, what a tuned layer reaches."""

A_BYTE_OF_WEIGHTS = 3.0
"""Operations that one core does while a byte comes from memory, which all cores share."""

A_BYTE_BETWEEN = 6.0
"""Operations that all cores do in the time of a byte between layers: near to them, transformed."""


def speedup(batch: int, out: Sequence[int], inputs: int, outputs: int, cores: int) -> float:
    """By which factor a convolution is expected to be faster so than as it is.

    Args:
        batch, out: images, and height and width of the output.
        inputs, outputs: channels.
        cores: that share the memory.
    """
    pixels = batch * math.prod(out)
    tiles = batch * math.prod(math.ceil(n / M) for n in out)
    places, pairs = SIDE * SIDE, inputs * outputs

    def cost(products: float, weights: float, between: float) -> float:
        loaded = A_BYTE_OF_WEIGHTS * cores * 4 * weights
        return max(2 * products / EFFICIENCY, loaded) + A_BYTE_BETWEEN * 4 * between

    ends = pixels * (inputs + outputs)
    transformed = 2 * places * tiles * (inputs + outputs)  # written once, read once
    direct = cost(9 * pixels * pairs, 9 * pairs, ends)
    return direct / cost(places * tiles * pairs, places * pairs, ends + transformed)
