"""Exponentials of vectors: as exact as float32 is, everywhere, and without a call for each."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import scipy.special
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tvm import te, tirx

from dgtl.tvm import arithmetic

N = 256
FUNCTIONS = {
    "exp": (tirx.exp, np.exp),
    "sigmoid": (tirx.sigmoid, scipy.special.expit),
    "tanh": (tirx.tanh, np.tanh),
    "erf": (tirx.erf, scipy.special.erf),
}
TARGET = tvm.target.Target("llvm")


def built(function, dtype: str = "float32", *, vector: bool = True, ours: bool = True):
    x = te.placeholder((N,), dtype, "x")
    y = te.compute((N,), lambda i: function(x[i]), "y")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([x, y]))
    _, inner = schedule.split(schedule.get_loops(schedule.get_sblock("y"))[0], [None, 8])
    if vector:
        schedule.vectorize(inner)
    with arithmetic.vectorised() if ours else contextlib.nullcontext():
        return tvm.compile(schedule.mod, target=TARGET)


def computed(kernel, x: np.ndarray) -> np.ndarray:
    y = tvm.runtime.tensor(np.zeros_like(x))
    kernel["main"](tvm.runtime.tensor(x), y)
    return y.numpy()


@pytest.fixture(scope="module", params=[(n, v) for n in FUNCTIONS for v in (True, False)], ids=str)
def function(request):
    name, vector = request.param
    apply, reference = FUNCTIONS[name]
    return built(apply, vector=vector), reference


@given(x=arrays(np.float32, N, elements=st.floats(-87, 87, width=32)))
@settings(max_examples=30)
def test_values_are_as_exact_as_single_precision(function, x):
    kernel, reference = function
    expected = reference(x.astype(np.float64))
    np.testing.assert_allclose(computed(kernel, x), expected, rtol=5e-7, atol=5e-7)


def test_what_is_endless_or_no_number_stays_so(function):
    kernel, reference = function
    x = np.resize(np.array([np.nan, np.inf, -np.inf, 0.0, -200.0, 200.0], np.float32), N)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(computed(kernel, x), reference(x), rtol=1e-6, atol=1e-6)


def test_other_types_are_as_tvm_computes_them():
    x = np.linspace(-20, 20, N)
    for apply, _ in FUNCTIONS.values():
        ours, theirs = (computed(built(apply, "float64", ours=o), x) for o in (True, False))
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["exp", "erf"])
def test_no_element_calls_the_library_of_mathematics(name):
    apply, _ = FUNCTIONS[name]
    for ours in (True, False):
        code = built(apply, ours=ours).mod.inspect_source("ll")
        called = f"@{name}f(" in code or f"@llvm.{name}." in code
        assert called != ours
