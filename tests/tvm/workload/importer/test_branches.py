"""Branches that values decide between compute what they should, or are asked about."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_models import BOOL, INT64, constant, model, node, value

from dgtl.tvm.workload.importer.model import import_model

X = value("x", [2, 6])
WEIGHTS = [constant("zero", 0, np.float32), constant("rate", 16000)]


def branch(name: str, nodes, *results: str, weights=()) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [value(r, None) for r in results], list(weights))


def either(condition: str, result: str, yes: onnx.NodeProto, no: onnx.NodeProto) -> onnx.NodeProto:
    """An If whose branches are a node each, which makes ``r``."""
    return node(
        "If",
        condition,
        result,
        then_branch=branch("yes", [yes], "r"),
        else_branch=branch("no", [no], "r"),
    )


def positive_sum(name: str, of: str) -> list[onnx.NodeProto]:
    return [
        node("ReduceSum", of, f"sum_{name}", keepdims=0),
        node("Greater", f"sum_{name} zero", name),
    ]


def a_result_of_each(condition: str = "c") -> list[onnx.NodeProto]:
    """Two results; both branches have a weight and a value of the same names."""
    half = [constant("factor", 0.5, np.float32)]
    double = [constant("factor", 2, np.float32)]
    return [
        node(
            "If",
            condition,
            "y z",
            then_branch=branch(
                "yes", [node("Mul", "x factor", "a"), node("Abs", "a", "b")], "a", "b", weights=half
            ),
            else_branch=branch(
                "no",
                [node("Mul", "x factor", "a"), node("Neg", "a", "b")],
                "b",
                "a",
                weights=double,
            ),
        )
    ]


def a_choice_within_a_choice() -> list[onnx.NodeProto]:
    inner = [
        node("Neg", "x", "n"),
        *positive_sum("d", "first"),
        either("d", "b", node("Relu", "n", "r"), node("Sub", "n first", "r")),
    ]
    return [
        node("Gather", "x index", "first", axis=1),
        node(
            "If",
            "c",
            "y",
            then_branch=branch("yes", inner, "b"),
            else_branch=branch("no", [node("Identity", "x", "b")], "b"),
        ),
    ]


def run(of: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(of.SerializeToString())
    return session.run(None, {"x": x})


@pytest.mark.parametrize(
    ("nodes", "results"), [(a_result_of_each(), "y z"), (a_choice_within_a_choice(), "y")]
)
def test_the_branch_that_is_picked_is_the_one_that_values_decide_for(nodes, results):
    network = import_model(
        model(
            [*positive_sum("c", "x"), *nodes],
            [X],
            [value(name, None) for name in results.split()],
            [*WEIGHTS, constant("index", [0])],
        )
    )
    assert network.tail is None
    assert "If" not in {n.op_type for n in network.model.graph.node}

    @given(seed=st.integers(0, 99), shift=st.sampled_from([-2, 0, 2]))
    @settings(max_examples=20)
    def agrees(seed, shift):
        x = (np.random.default_rng(seed).standard_normal((2, 6)) + shift).astype(np.float32)
        for e, a in zip(run(network.original, x), run(network.model, x), strict=True):
            np.testing.assert_array_equal(e, a)

    agrees()


def of_a_rate() -> onnx.ModelProto:
    """As voice detectors have them: an input says which half of the network is meant."""
    return model(
        [node("Equal", "sr rate", "c"), *a_result_of_each()],
        [X, value("sr", [], INT64)],
        [value("y", None), value("z", None)],
        WEIGHTS,
    )


def test_an_input_that_selects_a_branch_is_asked_for():
    line = r"depends on sr: workload.constants='\{sr: VALUE\}' settles it"
    model_ = of_a_rate()
    model_.graph.node.append(node("MatMul", "y m", "product"))
    model_.graph.initializer.append(constant("m", np.ones((6, 2)), np.float32))
    model_.graph.output.append(value("product", None))
    with pytest.raises(ValueError, match=line):
        import_model(model_)
    assert import_model(model_, constants={"sr": 8000}).tail is None


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_branch_that_a_constant_selects_is_the_network(rate):
    given_ = of_a_rate()
    network = import_model(given_, constants={"sr": rate})
    assert list(network.inputs) == ["x"]
    assert network.remarks == (f"input sr is the constant {rate}",)
    session = onnxruntime.InferenceSession(given_.SerializeToString())
    x = network.inputs["x"]
    expected = session.run(None, {"x": x, "sr": np.array(rate)})
    for e, a in zip(expected, run(network.model, x), strict=True):
        np.testing.assert_array_equal(e, a)


def test_branches_of_unlike_shapes_at_the_end_are_left_to_onnx_runtime():
    nodes = [
        node("MatMul", "x m", "product"),
        *positive_sum("c", "product"),
        either(
            "c",
            "y",
            node("Relu", "product", "r"),
            node("Concat", "product product", "r", axis=0),
        ),
    ]
    weights = [*WEIGHTS, constant("m", np.ones((6, 3)), np.float32)]
    network = import_model(model(nodes, [X], [value("y", None)], weights))
    assert network.tail is not None
    assert [n.op_type for n in network.tail.graph.node][-1] == "If"


def test_a_condition_may_be_an_input_that_is_true_or_false():
    given_ = model(
        a_result_of_each("flag"),
        [X, value("flag", [], BOOL)],
        [value("y", None), value("z", None)],
        WEIGHTS,
    )
    network = import_model(given_, constants={"flag": True})
    assert [n.op_type for n in network.model.graph.node] == ["Mul", "Abs"]
