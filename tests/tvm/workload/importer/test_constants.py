"""What follows from weights and shapes is computed beforehand, and nothing else is."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx_models import BOOL, INT64, constant, model, node, value, weight

from dgtl.tvm.workload.importer.constants import folded
from dgtl.tvm.workload.importer.graph import normal_form
from dgtl.tvm.workload.importer.model import import_model

X, Y = value("x", [1, 4, 9, 9]), value("y", None)


def standardised() -> onnx.ModelProto:
    """Weights with mean 0 and deviation 1, normalised in every run, as timm's NFNets do."""
    nodes = [
        node("Reshape", "w flat", "r"),
        node("ReduceMean", "r", "m", axes=[0, 2], keepdims=0),
        node("Mul", "r r", "s"),
        node("ReduceMean", "s", "v", axes=[0, 2], keepdims=0),
        node("BatchNormalization", "r one zero m v", "n a b", training_mode=1),
        node("Reshape", "n shape", "k"),
        node("Conv", "x k", "y"),
    ]
    weights = [
        weight("w", 6, 4, 3, 3),
        constant("flat", [1, 6, -1]),
        constant("shape", [6, 4, 3, 3]),
    ]
    weights += [constant("one", np.ones(6), np.float32), constant("zero", np.zeros(6), np.float32)]
    return model(nodes, [X], [Y], weights)


def padded_by_shapes(layers: int = 2) -> onnx.ModelProto:
    """SAME padding worked out from each input's shape, a layer on top of the other."""
    nodes, last = [], "x"
    for i in range(layers):
        nodes += [
            node("Shape", last, f"s{i}"),
            node("Gather", f"s{i} two", f"h{i}"),
            node("Mod", f"h{i} two", f"odd{i}"),
            node("Add", f"odd{i} one", f"p{i}"),
            node("Unsqueeze", f"p{i} axis", f"u{i}"),
            node("Concat", f"none u{i} u{i}", f"end{i}", axis=0),
            node("Pad", f"{last} end{i}", f"d{i}"),
            node("Conv", f"d{i} w", f"y{i}", strides=[2, 2]),
        ]
        last = f"y{i}"
    nodes.append(node("Relu", last, "y"))
    weights = [weight("w", 4, 4, 3, 3), constant("two", 2), constant("one", 1)]
    weights += [constant("axis", [0]), constant("none", [0] * 6)]
    return model(nodes, [X], [Y], weights)


def counted_by_a_loop() -> onnx.ModelProto:
    """A loop over a length that the shape says, whose body reads a weight from outside."""
    body = helper.make_graph(
        [node("Add", "before step", "after"), node("Identity", "go", "goes")],
        "body",
        [value("i", [], INT64), value("go", [], BOOL), value("before", [1])],
        [value("goes", [], BOOL), value("after", [1])],
    )
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s two", "n"),
        node("Loop", "n yes start", "end", body=body),
        node("Mul", "x end", "y"),
    ]
    weights = [constant("two", 2), constant("yes", True, bool), constant("start", [1], np.float32)]
    return model(nodes, [X], [Y], [*weights, constant("step", [0.5], np.float32)])


def given_out() -> onnx.ModelProto:
    """A constant that is an output too."""
    nodes = [node("Neg", "w", "n"), node("Add", "x n", "y")]
    return model(nodes, [X], [Y, value("n", None)], [weight("w", 4, 1, 1)])


FORMS = {
    "standardised": (standardised(), ["Conv"]),
    "padded_by_shapes": (padded_by_shapes(), ["Pad", "Conv", "Pad", "Conv", "Relu"]),
    "counted_by_a_loop": (counted_by_a_loop(), ["Mul"]),
    "given_out": (given_out(), ["Constant", "Add"]),
}


def run(given: onnx.ModelProto) -> list[np.ndarray]:
    x = np.random.default_rng(0).standard_normal([1, 4, 9, 9]).astype(np.float32)
    session = onnxruntime.InferenceSession(given.SerializeToString())
    return session.run(None, {"x": x})


@pytest.mark.parametrize("name", FORMS)
def test_only_what_depends_on_inputs_is_left_and_it_computes_the_same(name):
    given, left = FORMS[name]
    given = normal_form(given)
    found = folded(given)
    assert [n.op_type for n in found.graph.node] == left
    for expected, actual in zip(run(given), run(found), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@given(st.integers(1, 40))
def test_shapes_of_shapes_are_followed_however_deep(layers):
    found = folded(normal_form(padded_by_shapes(layers)))
    assert [n.op_type for n in found.graph.node] == [*["Pad", "Conv"] * layers, "Relu"]


def test_a_model_without_constant_nodes_is_itself():
    given = normal_form(model([node("Relu", "x", "y")], [X], [Y]))
    assert folded(given) is given


def test_what_is_random_is_left():
    nodes = [node("RandomNormal", "", "r", shape=[4, 1, 1]), node("Add", "x r", "y")]
    found = folded(normal_form(model(nodes, [X], [Y])))
    assert [n.op_type for n in found.graph.node] == ["RandomNormal", "Add"]


def test_a_sequence_that_others_read_is_left():
    nodes = [
        node("SequenceConstruct", "w w", "s"),
        node("SequenceAt", "s at", "z"),
        node("SequenceInsert", "s x", "t"),
        node("ConcatFromSequence", "t", "c", axis=1),
        node("Concat", "c z", "y", axis=1),
    ]
    given = normal_form(model(nodes, [X], [Y], [weight("w", 1, 4, 9, 9), constant("at", 0)]))
    found = folded(given)
    assert len(found.graph.node) == len(nodes)
    np.testing.assert_array_equal(run(found)[0], run(given)[0])


def test_large_weights_are_kept_as_they_are():
    nodes = [node("Neg", "w", "n"), node("MatMul", "x n", "m"), node("MatMul", "m v", "y")]
    weights = [weight("w", 9, 999), weight("v", 999, 999)]
    found = folded(normal_form(model(nodes, [X], [Y], weights)))
    values = {w.name: numpy_helper.to_array(w) for w in found.graph.initializer}
    np.testing.assert_array_equal(values["n"], -numpy_helper.to_array(weights[0]))
    np.testing.assert_array_equal(values["v"], numpy_helper.to_array(weights[1]))


def test_a_node_that_cannot_be_computed_is_told_and_left():
    nodes = [node("Neg", "w", "n"), node("Add", "x n", "y"), node("Gather", "v far", "z")]
    weights = [weight("w", 4, 1, 1), weight("v", 3), constant("far", 7)]
    network = import_model(model(nodes, [X], [Y, value("z", None)], weights))
    assert any("stays in the network" in remark for remark in network.remarks)


def test_normalising_by_the_batch_itself_is_refused_by_name():
    nodes = [node("BatchNormalization", "x one one one one", "y m v", training_mode=1)]
    given = model(nodes, [X], [Y], [constant("one", np.ones(4), np.float32)])
    with pytest.raises(ValueError, match=r"BatchNormalization in training \(1\)"):
        import_model(given)
