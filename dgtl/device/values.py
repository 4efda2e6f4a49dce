"""Arguments of a kernel, and how far its result is from the one expected."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray[Any, Any]

WRONG_ABOVE = 1e-3
"""Error from which a result counts as wrong: sums of 4,608 float32 products in another order differ
by about 1e-6."""

WRONG_ABOVE_IN_HALVES = 5e-2
"""The same where numbers have ten bits: the sums differ by about 1e-2."""


def random_values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Values that an argument may have: normal numbers, fair bits, bytes of any value.

    Wider whole numbers are 0 or 1, for they may be places in a table of any length.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.standard_normal(shape, dtype=np.float32).astype(kind)
    if kind.kind in "iu" and kind.itemsize == 1:
        limits = np.iinfo(kind)
        return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
    return rng.integers(0, 2, shape).astype(kind)


def unwritten(shape: tuple[int, ...], dtype: str) -> Array:
    """An output before a kernel runs: nan where the type has one, and no likely value else."""
    kind = np.dtype(dtype)
    return np.full(shape, np.nan if kind.kind == "f" else kind.type(85), kind)


def scale_of(expected: Array) -> float:
    """Largest absolute value that is finite, what errors are relative to."""
    values = expected.astype(np.float64)
    return max(float(np.abs(values[np.isfinite(values)]).max(initial=0.0)), 1e-30)


def differences(
    expected: Array, actual: Array, scale: float | None = None, noise: float = 0.0
) -> tuple[float, float]:
    """Largest difference beyond ``noise`` relative to ``scale`` (`scale_of`), and what is flipped.

    Flipped is what fraction of true and false, of whole numbers, and of nan or inf where the other
    has none or another; of bytes, which are rounded numbers, those that differ by more than one.
    """
    if not expected.size:
        return 0.0, 0.0
    if expected.dtype.kind in "iu" and expected.dtype.itemsize == 1:
        return 0.0, float(np.mean(np.abs(expected.astype(int) - actual.astype(int)) > 1))
    if expected.dtype.kind not in "fc":
        return 0.0, float(np.mean(expected != actual))
    e, a = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(e) & np.isfinite(a)
    same = finite | (e == a) | (np.isnan(e) & np.isnan(a))
    largest = max(float(np.abs(e[finite] - a[finite]).max(initial=0.0)) - noise, 0.0)
    return largest / (scale_of(expected) if scale is None else scale), float(np.mean(~same))


def error_of(expected: Array, actual: Array, scale: float | None = None) -> float:
    """One number for `differences`: the larger of both.

    It is inf for results that cannot be compared, and for a nan where none is expected: that is
    what an element holds that was never written.
    """
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return math.inf
    if expected.dtype.kind == "f" and (np.isnan(actual) & ~np.isnan(expected)).any():
        return math.inf
    return max(differences(expected, actual, scale))


NETWORK_WRONG_ABOVE = 0.1
"""The same for whole networks, of whatever type: who made the network may ask for less."""


def wrong_above(tensors: Sequence[tuple[Any, str]]) -> float:
    """Error from which a result counts as wrong, by the types of all that goes in and out.

    Args:
        tensors: shape and dtype of every argument, the output included.
    """
    types = [np.dtype(dtype) for _, dtype in tensors]
    halves = any(kind.kind == "f" and kind.itemsize < 4 for kind in types)
    return WRONG_ABOVE_IN_HALVES if halves else WRONG_ABOVE
