"""Which resizes are written out; what they compute is in the zoo."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import constant, model, node, value

from dgtl.tvm.deploy.reference import run
from dgtl.tvm.workload.importer.graph import shapes
from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.importer.resize import written_out
from dgtl.tvm.workload.importer.to_relax import to_relax


def test_a_node_without_inputs_may_stand_beside_a_resize():
    nodes = [
        node("RandomNormal", "", "r", shape=[1, 1, 4, 4]),
        node("Resize", "x _ scales", "y", mode="nearest"),
    ]
    scales = constant("scales", [1, 1, 2, 2], np.float32)
    outputs = [value("y", [1, 1, 8, 8]), value("r", [1, 1, 4, 4])]
    given = model(nodes, [value("x", [1, 1, 4, 4])], outputs, [scales])
    assert [n.op_type for n in written_out(given).graph.node] == ["RandomNormal", "Resize"]


def test_a_kept_ratio_that_makes_a_fraction_of_a_step_is_refused_by_name():
    ratio = {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"}
    nodes = [node("Resize", "x _ _ sizes", "y", mode="nearest", **ratio)]
    x = value("x", [1, 1, 6, 5])
    given = model(nodes, [x], [value("y", None)], [constant("sizes", [3, 3])], opset=19)
    # Three fifths of six rows is no whole number.
    with pytest.raises(ValueError, match=r"a kind of operator: Resize \(1\)"):
        import_model(given)


def test_sizes_of_some_axes_may_be_computed():
    nodes = [
        node("Shape", "x", "shape", start=2),
        node("Mul", "shape two", "sizes"),
        node("Resize", "x _ _ sizes", "y", mode="linear", axes=[2, 3]),
    ]
    x = value("x", [1, 1, 6, 5])
    given = model(nodes, [x], [value("y", None)], [constant("two", [2, 3])], opset=18)
    imported = import_model(given).model
    assert [n.op_type for n in imported.graph.node] == ["Resize"]
    assert shapes(imported)["y"] == (1, 1, 12, 15)


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_empty_scales_are_none(opset):
    """As Paddle writes a resize to computed sizes; before 13 ONNX Runtime wants them given."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Mul", "shape two", "sizes"),
        node("Constant", "", "none", value=constant("none", [], np.float32)),
        node("Resize", "x none none sizes", "y", mode="nearest"),
    ]
    two = constant("two", [1, 1, 2, 3])
    network = import_model(
        model(nodes, [value("x", [1, 1, 6, 5])], [value("y", None)], [two], opset=opset)
    )
    assert list(network.model.graph.node[-1].input[1:3]) == ["", ""]
    expected = run(network.original, network.inputs)
    np.testing.assert_array_equal(run(network.model, network.inputs), expected)
    to_relax(network.model)
