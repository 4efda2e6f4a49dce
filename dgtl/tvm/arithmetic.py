"""Exponentials that a vector unit can compute: how `exp` and `erf` are lowered for CPUs.

LLVM has no vector form of them and calls the C library for every element, 4 ns each:
EfficientNet-B0, whose layers end in x / (1 + exp(-x)), took 29 ms with it and takes 16. Sigmoid,
tanh and softmax become `exp` before it is lowered here. Within a few units in the last place of
float32; other types are computed as TVM does. docs/decisions/0020-exponentials-of-vectors.md.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import tvm
from tvm import tirx

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST, MOST = -87.3, 88.8
"""Below, exp is 0 but for what is not normalised; above, infinite."""

EXP = (
    *(1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3),
    *(4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
)
"""Of (exp(f) - 1 - f) / f^2 for |f| <= ln(2) / 2, the highest power first (Cephes, `expf`)."""

LN2 = (0.693359375, -2.12194440e-4)
"""Its parts: the first has so few digits that its multiples are exact (same source)."""

ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
"""Abramowitz and Stegun, 7.1.26: erf(x) = 1 - t P(t) exp(-x^2) within 1.5e-7, t = 1 / (1 + p x)."""

ERF_P = 0.3275911

_wanted = False


@contextlib.contextmanager
def vectorised() -> Iterator[None]:
    """What is built inside has them; what is built elsewhere is as TVM builds it."""
    global _wanted
    before, _wanted = _wanted, True
    try:
        yield
    finally:
        _wanted = before


def _exp(call: tvm.ir.Call) -> tvm.ir.Expr:
    """exp(x) = 2^n exp(f), n whole."""
    x = call.args[0]
    dtype = str(x.ty.dtype)
    if not (_wanted and dtype.startswith("float32")):
        return tirx.call_llvm_pure_intrin(dtype, "llvm.exp", x)
    whole = dtype.replace("float", "int")

    def number(value: float) -> tvm.ir.Expr:
        return tirx.const(value, dtype)

    # Bound, for whatever stands twice in an expression is compiled twice.
    given, n, f = (tirx.Var(name, dtype) for name in ("given", "n", "f"))
    inside = tirx.max(tirx.min(given, number(MOST)), number(LEAST))
    value = _polynomial(EXP, f, number) * f * f + f + number(1.0)
    power = (n.astype(whole) + tirx.const(127, whole)) << tirx.const(23, whole)
    value = value * tirx.reinterpret(dtype, power)
    value = tirx.Let(f, inside - n * number(LN2[0]) - n * number(LN2[1]), value)
    value = tirx.Let(n, tirx.floor(inside * number(1.4426950408889634) + number(0.5)), value)
    value = tirx.Select(given < number(LEAST), number(0.0), value)
    value = tirx.Select(given.equal(given), value, given)  # what is no number stays none
    return tirx.Let(given, x, value)


def _erf(call: tvm.ir.Call) -> tvm.ir.Expr:
    x = call.args[0]
    dtype = str(x.ty.dtype)
    if not (_wanted and dtype.startswith("float32")):
        return call  # the C library's, as TVM has it

    def number(value: float) -> tvm.ir.Expr:
        return tirx.const(value, dtype)

    given, t = tirx.Var("given", dtype), tirx.Var("t", dtype)
    tail = t * _polynomial(ERF, t, number) * tirx.exp(-given * given)
    size = tirx.Select(given < number(0.0), -given, given)
    value = tirx.Let(t, number(1.0) / (number(1.0) + number(ERF_P) * size), number(1.0) - tail)
    return tirx.Let(given, x, tirx.Select(given < number(0.0), number(-1.0), number(1.0)) * value)


def _polynomial(coefficients, x, number) -> tvm.ir.Expr:
    """By Horner's rule."""
    value = number(coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + number(coefficient)
    return value


tirx.register_intrin_lowering("tirx.exp", target="llvm", f=_exp, level=99)
tirx.register_intrin_lowering("tirx.erf", target="llvm", f=_erf, level=99)
