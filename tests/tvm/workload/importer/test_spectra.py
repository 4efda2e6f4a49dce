"""Fourier transforms written out compute what ONNX Runtime's do."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import constant, model, node, value

from dgtl.tvm.workload.importer.graph import normal_form
from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.importer.spectra import OPERATORS, waves, written_out


def assert_the_same(nodes, shape, weights=(), *, opset=17) -> None:
    given_ = normal_form(
        model(nodes, [value("x", shape)], [value("y", None)], weights, opset=opset)
    )
    written = written_out(given_)
    assert not {n.op_type for n in written.graph.node} & OPERATORS
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected, actual = (
        onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0]
        for m in (given_, written)
    )
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())


@given(length=st.integers(1, 40), outputs=st.integers(1, 40))
def test_waves_are_those_of_numpy(length, outputs):
    outputs = min(outputs, length)
    x = np.random.default_rng(length).standard_normal((length, 2))
    found = np.einsum("nc,nkcd->kd", x, waves(length, outputs))
    expected = np.fft.fft(x[:, 0] + 1j * x[:, 1])[:outputs]
    np.testing.assert_allclose(found[:, 0] + 1j * found[:, 1], expected, atol=1e-9 * length)
    back = np.einsum("nc,nkcd->kd", x, waves(length, length, inverse=True))
    expected = np.fft.ifft(x[:, 0] + 1j * x[:, 1])
    np.testing.assert_allclose(back[:, 0] + 1j * back[:, 1], expected, atol=1e-9 * length)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        *((parts, {"axis": axis}) for parts in (1, 2) for axis in (1, 2)),
        *((parts, {"axis": 1, "inverse": 1}) for parts in (1, 2)),
        (1, {"axis": -2, "onesided": 1}),
    ],
)
def test_transforms_along_an_axis(parts, told):
    assert_the_same([node("DFT", "x", "y", **told)], [2, 6, 9, parts])


def test_an_axis_that_is_an_input_and_a_length_that_says_nothing_new():
    weights = [constant("axis", 2), constant("n", 9)]
    assert_the_same([node("DFT", "x n axis", "y")], [2, 6, 9, 1], weights, opset=20)


@settings(max_examples=20)
@given(
    shape=st.sampled_from([[2, 50], [1, 50, 1]]),
    step=st.integers(1, 9),
    length=st.integers(2, 20),
    windowed=st.booleans(),
    onesided=st.booleans(),
)
def test_transforms_of_frames(shape, step, length, windowed, onesided):
    weights = [constant("step", step), constant("length", length)]
    weights += [constant("window", np.hanning(length), np.float32)]
    name = "window" if windowed else "_"
    nodes = [node("STFT", f"x step {name} length", "y", onesided=int(onesided))]
    assert_the_same(nodes, shape, weights)


@pytest.mark.parametrize("nodes", [[node("DFT", "x n", "y")]], ids=["of a part"])
def test_what_cannot_be_written_out_is_refused_by_name(nodes):
    given_ = model(nodes, [value("x", [1, 8, 1])], [value("y", None)], [constant("n", 4)])
    with pytest.raises(ValueError, match=r"DFT \(1\)"):
        import_model(given_)
