"""Whether a network that was built does what ONNX Runtime does, and where it begins not to."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx
import onnx_models as forms
import pytest
from onnx_models import IMAGE, constant, node, value
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from dgtl.tvm.deploy import reference
from dgtl.tvm.deploy.reference import compare_outputs, differences
from dgtl.tvm.workload import winograd
from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.networks.graph import Graph

HUGE = np.array([1.0, np.inf, -np.inf, np.nan], np.float32)


@pytest.mark.parametrize(
    ("expected", "actual", "found"),
    [
        (np.array([2.0, 4.0]), np.array([2.0, 3.0]), (0.25, 0.0)),
        (HUGE, HUGE, (0.0, 0.0)),
        (HUGE, HUGE[[0, 2, 1, 3]], (0.0, 0.5)),
        (HUGE, np.ones(4, np.float32), (0.0, 0.75)),
        (np.ones(4), np.array([1, 1, 1, np.nan]), (0.0, 0.25)),
        (np.array([True, False]), np.array([True, True]), (0.0, 0.5)),
        (np.array([3, 4]), np.array([3, 4]), (0.0, 0.0)),
        (np.array([3, 4]), np.array([3, 5]), (0.0, 0.5)),
        (np.array([3, 250], np.uint8), np.array([4, 1], np.uint8), (0.0, 0.5)),
        (np.full(3, np.nan), np.full(3, np.nan), (0.0, 0.0)),
        (np.zeros((0, 4)), np.zeros((0, 4)), (0.0, 0.0)),
        (np.float32(2.0), np.float32(2.0), (0.0, 0.0)),
    ],
)
def test_outputs_of_every_type_have_a_difference(expected, actual, found):
    assert differences(np.asarray(expected), np.asarray(actual)) == found


def test_a_value_beside_a_threshold_may_fall_on_its_other_side():
    expected = np.arange(1000) < 500
    actual = np.arange(1000) < 501
    assert compare_outputs([expected], [actual], 1e-2).ok
    assert not compare_outputs([expected], [~expected], 1e-2).ok


@pytest.mark.parametrize(
    "actual", [[], [np.ones((2, 3), np.float32)], [np.ones((3, 2))], [np.ones((3, 2)), 1]]
)
def test_other_numbers_of_outputs_shapes_and_types_are_wrong(actual):
    found = compare_outputs([np.ones((3, 2), np.float32)], actual, 1e-2)
    assert not found.ok
    assert found.relative_error == math.inf
    assert "instead of" in str(found)


def test_networks_of_bytes_and_halves_may_be_further_off():
    assert reference.tolerance(forms.after_conv([], [value("a", IMAGE)])) == 1e-2
    half = [value("x", IMAGE, onnx.TensorProto.FLOAT16)]
    assert reference.tolerance(forms.model([], half, [])) == 1e-1


@pytest.fixture
def network():
    return import_model(
        forms.after_conv(
            [node("Relu", "a", "b"), node("Add", "b one", "y")],
            [value("y", IMAGE)],
            [constant("one", 1.0, np.float32)],
        )
    )


def test_a_network_agrees_with_itself_and_not_with_another(network):
    right = reference.run(network.model, network.inputs)
    assert reference.compare(network, right).ok
    assert not reference.compare(network, [right[0] + 1]).ok


def test_the_node_is_named_where_tvm_begins_to_compute_something_else(
    network, hardware, scratch, monkeypatch
):
    assert reference.first_difference(network, hardware) == ""
    wrong = staticmethod(lambda bb, inputs, attr, params: relax.op.negative(inputs[0]))
    monkeypatch.setattr(onnx_frontend.Relu, "_impl_v13", wrong)
    assert reference.first_difference(network, hardware) == "Relu_b (Relu)"


def test_a_convolution_that_minimal_filtering_computes_wrongly_is_named(
    hardware, scratch, monkeypatch
):
    g = Graph(0, (1, 8, 8, 8))
    x = g.node("Relu", "data")
    y = g.node("Conv", x, g.weight((16, 8, 3, 3), 72), g.bias(16), pads=[1, 1, 1, 1])
    network = dataclasses.replace(import_model(g.model(y)), winograd=True)
    monkeypatch.setattr(winograd, "gains", lambda call, kernel: True)
    assert reference.first_difference(network, hardware) == ""
    right = winograd.transformed_weights
    monkeypatch.setattr(winograd, "transformed_weights", lambda kernel: -right(kernel))
    assert "(Conv)" in reference.first_difference(network, hardware)


def test_what_onnx_runtime_does_not_run_as_given_it_runs_as_imported(network):
    given = forms.after_conv([node("NoSuch", "a", "y")], [value("y", IMAGE)])
    other = dataclasses.replace(network, original=given)
    right = reference.run(network.model, network.inputs)
    np.testing.assert_array_equal(reference.expected_outputs(other)[0], right[0])
    with pytest.raises(reference.UnknownError, match="NoSuch"):
        reference.expected_outputs(dataclasses.replace(other, model=given))


def test_products_of_bytes_are_exact_on_every_processor():
    """Without VNNI those of unsigned and signed bytes saturate by ONNX Runtime's defaults."""
    x, w = np.full((2, 64), 255, np.uint8), np.full((64, 3), 127, np.int8)
    model = forms.model(
        [node("MatMulInteger", "x w", "y")],
        [value("x", [2, 64], onnx.TensorProto.UINT8)],
        [value("y", [2, 3], onnx.TensorProto.INT32)],
        [constant("w", w, np.int8)],
    )
    (found,) = reference.run(model, {"x": x})
    assert np.array_equal(found, x.astype(int) @ w.astype(int))
