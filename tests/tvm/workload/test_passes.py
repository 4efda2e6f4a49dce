"""Functions that pass over memory read in order, and compute what they do unscheduled."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te

from dgtl.core.cpus import vector_registers
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure.workers import _tensors
from dgtl.tvm.workload import blocks, passes

HARDWARE = machine.detect(1)
TARGET = tvm.target.Target(HARDWARE.target)


def function(output: te.Tensor, *inputs: te.Tensor) -> tvm.ir.IRModule:
    return tvm.IRModule({"main": te.create_prim_func([*inputs, output])})


def shuffled(pixels: int, channels: int, groups: int, offset: int, part: int) -> tvm.ir.IRModule:
    """Some of the channels of a channel shuffle."""
    x = te.placeholder((2, pixels, channels), name="x")
    each = channels // groups
    y = te.compute(
        (2, pixels, part),
        lambda n, p, c: x[n, p, (c + offset) % groups * each + (c + offset) // groups % each],
    )
    return function(y, x)


def concatenated(pixels: int, widths: tuple[int, ...]) -> tvm.ir.IRModule:
    inputs = [te.placeholder((pixels, n), name=f"x{i}") for i, n in enumerate(widths)]

    def element(p, c):
        found, begin = inputs[-1][p, c - sum(widths[:-1])], sum(widths[:-1])
        for tensor, width in zip(reversed(inputs[:-1]), reversed(widths[:-1]), strict=True):
            begin -= width
            found = tvm.tirx.if_then_else(c < begin + width, tensor[p, c - begin], found)
        return found

    return function(te.compute((pixels, sum(widths)), element), *inputs)


def mean(shape: tuple[int, ...]) -> tvm.ir.IRModule:
    x = te.placeholder(shape, name="x")
    rows, columns = (te.reduce_axis((0, n)) for n in shape[1:3])
    total = te.compute(
        (shape[0], shape[3]), lambda n, c: te.sum(x[n, rows, columns, c], axis=[rows, columns])
    )
    return function(te.compute((shape[0], shape[3]), lambda n, c: total[n, c] / 3.0), x)


def largest(size: int, channels: int, window: int) -> tvm.ir.IRModule:
    """Maxima of windows that overlap, beyond whose edge there is nothing."""
    x = te.placeholder((1, size, size, channels), name="x")
    least = tvm.tirx.const(-1e30, "float32")

    def padded(n, h, w, c):
        inside = tvm.tirx.all(h >= 1, h <= size, w >= 1, w <= size)
        return tvm.tirx.if_then_else(inside, x[n, h - 1, w - 1, c], least)

    wide = te.compute((1, size + 2, size + 2, channels), padded)
    rows, columns = (te.reduce_axis((0, window)) for _ in range(2))
    n = (size + 2 - window) // 2 + 1
    y = te.compute(
        (1, n, n, channels),
        lambda b, h, w, c: te.max(wide[b, 2 * h + rows, 2 * w + columns, c], axis=[rows, columns]),
    )
    return function(y, x)


def transposed(rows: int, columns: int) -> tvm.ir.IRModule:
    x = te.placeholder((rows, columns), name="x")
    return function(te.compute((columns, rows), lambda c, r: x[r, c] + 1.0), x)


def computed(mod: tvm.ir.IRModule) -> np.ndarray:
    rng = np.random.default_rng(0)
    *inputs, (shape, dtype) = _tensors(mod, remove_preproc=False)
    arguments = [rng.standard_normal(shape).astype(dtype) for shape, dtype in inputs]
    output = tvm.runtime.tensor(np.full(shape, np.nan, dtype))
    kernel = tvm.compile(mod, target=TARGET)["main"]
    kernel(*(tvm.runtime.tensor(argument) for argument in arguments), output)
    return output.numpy()


def text_of(mod: tvm.ir.IRModule) -> str:
    scheduled = passes.schedule(mod, TARGET)
    assert scheduled is not None
    return scheduled.mod.script()


def test_a_channel_shuffle_is_read_in_order():
    text = text_of(shuffled(784, 116, 2, 0, 58))
    loops = re.findall(r"in (T\.\w+|range)\((?:T\.int64\()?(\d+)", text)
    assert loops == [("T.parallel", "1568"), ("T.unroll", "1"), ("range", "29"), ("T.unroll", "2")]


def test_a_concatenation_is_split_where_its_tensors_meet():
    text = text_of(concatenated(1024, (64, 64)))
    loops = re.findall(r"in (T\.\w+|range)\((?:T\.int64\()?(\d+)", text)
    assert loops[:3] == [("T.parallel", "1024"), ("T.unroll", "2"), ("range", "64")]


def test_a_mean_adds_up_vectors_of_channels():
    text = text_of(mean((1, 28, 28, 96)))
    lanes = min(blocks.VECTORS * vector_registers(HARDWARE.target).n_bytes // 4, 32)
    assert re.search(rf"in T.parallel\((T.int64\()?{96 // lanes}\)", text)
    sums = text[text.index("T.grid(") :]
    assert re.search(rf"T.vectorized\((T.int64\()?{lanes}\)", sums[: sums.index("update")])


@pytest.mark.parametrize(
    "mod",
    [transposed(64, 96), shuffled(64, 58, 2, 0, 29), mean((1, 8, 8, 6))],
    ids=["a transposition", "a remainder that is left", "few channels"],
)
def test_what_is_not_read_in_order_is_left_to_tvm(mod):
    assert passes.schedule(mod, TARGET) is None


def test_a_product_is_no_pass():
    """Where nothing ran of a layer, or its space cannot be made, it has TVM's schedule."""
    x, w = te.placeholder((64, 32), name="x"), te.placeholder((32, 64), name="w")
    k = te.reduce_axis((0, 32))
    y = te.compute((64, 64), lambda i, j: te.sum(x[i, k] * w[k, j], axis=k))
    assert passes.schedule(function(y, x, w), TARGET) is None


def test_a_small_pass_wakes_no_threads():
    assert "parallel" not in text_of(concatenated(16, (64, 64)))


MOVED = st.one_of(
    st.builds(
        lambda pixels, groups, each, offset: shuffled(
            pixels, groups * each, groups, offset % (groups * each // 2 + 1), groups * each // 2
        ),
        st.integers(1, 40),
        st.integers(1, 8),
        st.integers(2, 40),
        st.integers(0, 320),
    ),
    st.builds(
        lambda pixels, widths: concatenated(pixels, tuple(widths)),
        st.integers(1, 40),
        st.lists(st.integers(1, 80), min_size=1, max_size=4),
    ),
    st.builds(transposed, st.integers(1, 20), st.integers(1, 20)),
    st.builds(
        lambda n, h, w, c: mean((n, h, w, 8 * c)),
        st.integers(1, 3),
        st.integers(1, 20),
        st.integers(1, 20),
        st.integers(1, 20),
    ),
    st.builds(largest, st.integers(3, 20), st.sampled_from([8, 24, 32, 40]), st.integers(1, 3)),
)


@pytest.mark.slow
@settings(max_examples=30)
@given(MOVED)
def test_any_pass_computes_what_it_does_unscheduled(mod):
    scheduled = passes.schedule(mod, TARGET)
    if scheduled is not None:
        np.testing.assert_allclose(computed(scheduled.mod), computed(mod), rtol=1e-5, atol=1e-5)
