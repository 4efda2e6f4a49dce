"""Inputs that are constants of the network: what they may be given as."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, numpy_helper
from onnx_models import BOOL, FLOAT, INT64, model, node, value

from dgtl.tvm.workload.importer.inputs import with_constants

HALF, BYTE = TensorProto.FLOAT16, TensorProto.UINT8


def of(shape, kind: int) -> onnx.ModelProto:
    return model(
        [node("Identity", "x", "y"), node("Identity", "c", "d")],
        [value("x", [2, 2]), value("c", shape, kind)],
        [value("y", None), value("d", None, kind)],
    )


@given(arrays.arrays(np.float32, (2, 3), elements=st.floats(-9, 9, width=32)))
def test_nested_lists_are_the_value(expected):
    fixed, _ = with_constants(of([2, 3], FLOAT), {"c": expected.tolist()})
    assert [v.name for v in fixed.graph.input] == ["x"]
    np.testing.assert_array_equal(numpy_helper.to_array(fixed.graph.initializer[-1]), expected)


@pytest.mark.parametrize(
    ("shape", "kind", "given_", "expected"),
    [
        ([], INT64, 16000, np.array(16000)),
        ([1], INT64, 16000, np.array([16000])),
        ([2, 2], FLOAT, 0, np.zeros((2, 2), np.float32)),
        (["N", 2], FLOAT, [[1, 2]], np.array([[1, 2]], np.float32)),
        ([], BOOL, True, np.array(True)),
        ([], BOOL, 0, np.array(False)),
        ([], HALF, 0.1, np.array(0.1, np.float16)),
        (None, INT64, [3, 4], np.array([3, 4])),
    ],
)
def test_a_value_takes_type_and_shape_of_the_input(shape, kind, given_, expected):
    fixed, remarks = with_constants(of(shape, kind), {"c": given_})
    found = numpy_helper.to_array(fixed.graph.initializer[-1])
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert remarks[0].startswith("input c is the constant ")


@pytest.mark.parametrize(
    ("shape", "kind", "constants", "line"),
    [
        ([], INT64, {"z": 1}, "the network has no input z; its inputs are x, c"),
        ([], INT64, {"c": 0.5}, "input c: 0.5 is no value of int64"),
        ([], INT64, {"c": "many"}, "input c: many is no value of int64"),
        ([], BYTE, {"c": 300}, "input c: 300 is no value of uint8"),
        ([2], FLOAT, {"c": [1, [2]]}, "is no value of float32"),
        ([2], FLOAT, {"c": [1, 2, 3]}, "input c is 2 in the network, the value given has shape 3"),
        (["N"], FLOAT, {"c": 1}, "input c is ? in the network, the value given has shape of a"),
        ([], INT64, 16000, "workload.constants=16000: give values by name"),
    ],
)
def test_what_is_no_value_of_an_input_is_refused(shape, kind, constants, line):
    with pytest.raises(ValueError, match="constants") as refused:
        with_constants(of(shape, kind), constants)
    assert line in str(refused.value)


def test_without_constants_a_model_is_as_it_was():
    given_ = of([], INT64)
    assert with_constants(given_, None) == (given_, [])
