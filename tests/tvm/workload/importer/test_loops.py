"""Loops of a known length compute the same step by step; others are refused by name."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_models import BOOL, INT64, constant, model, node, value

from dgtl.tvm.workload.importer.loops import unrolled
from dgtl.tvm.workload.importer.model import import_model

X, Y = value("x", [2, 6]), value("y", None)

WEIGHTS = [
    *(constant(name, v) for name, v in (("zero", 0), ("one", 1), ("two", 2), ("three", [3]))),
    constant("yes", True, bool),
    constant("ends", [1, 4, 6]),
    constant("begins", [0, 1, 4]),
    constant("axis", [1]),
    constant("large", 8.0, np.float32),
]


def body(nodes, carried, results, weights=(), step=()) -> onnx.GraphProto:
    """Of a loop over ``i`` that carries values on and gives others out."""
    return helper.make_graph(
        nodes,
        "body",
        [value("i", step, INT64), value("go", [], BOOL), *carried],
        [value("goes", [], BOOL), *results],
        weights,
    )


GOES = node("Identity", "go", "goes")


def a_sum_and_its_steps() -> list[onnx.NodeProto]:
    """Both kinds of results, a weight of the loop's own, and a value from outside."""
    nodes = [
        GOES,
        node("Mul", "before factor", "scaled"),
        node("Add", "scaled x", "after"),
        node("Neg", "after", "step"),
    ]
    weights = [constant("factor", 0.5, np.float32)]
    own = body(
        nodes, [value("before", [2, 6])], [value("after", None), value("step", None)], weights
    )
    return [node("Loop", "three yes x", "last steps", body=own), node("Add", "last steps", "y")]


def parts_of_a_list() -> list[onnx.NodeProto]:
    """As PyTorch writes a split by a list: a sequence that grows."""
    nodes = [
        node("Gather", "begins i", "from"),
        node("Gather", "ends i", "to"),
        node("Slice", "x from to axis", "part"),
        node("SequenceInsert", "list part", "longer"),
        node("Identity", "yes", "goes"),
    ]
    kind = helper.make_tensor_sequence_value_info
    own = body(nodes, [kind("list", 1, None)], [kind("longer", 1, None)], step=[1])
    return [
        node("SequenceEmpty", "", "none"),
        node("Loop", "three yes none", "list", body=own),
        node("SequenceAt", "list one", "middle"),
        node("SequenceAt", "list two", "last"),
        node("Concat", "last middle", "y", axis=1),
    ]


def a_loop_within() -> list[onnx.NodeProto]:
    """Whose inner one has no condition, and reads the outer one's step."""
    inner = helper.make_graph(
        [
            node("Cast", "i", "f", to=1),
            node("Add", "u f", "v"),
            node("Constant", "", "on", value=constant("true", True, bool)),
        ],
        "inner",
        [value("j", [], INT64), value("run", [], BOOL), value("u", [2, 6])],
        [value("on", [], BOOL), value("v", None)],
    )
    own = body(
        [GOES, node("Loop", "two _ t", "after", body=inner)],
        [value("t", [2, 6])],
        [value("after", None)],
    )
    return [node("Loop", "three yes x", "y", body=own)]


def a_choice_within() -> list[onnx.NodeProto]:
    """A branch that reads what its step makes."""
    branches = {
        name: helper.make_graph([node(op, "double", name)], name, [], [value(name, None)])
        for name, op in (("then_branch", "Neg"), ("else_branch", "Abs"))
    }
    nodes = [
        GOES,
        node("Add", "t t", "double"),
        node("Equal", "i one", "first"),
        node("If", "first", "after", **branches),
    ]
    own = body(nodes, [value("t", [2, 6])], [value("after", None)])
    return [node("Loop", "three _ x", "y", body=own)]


def a_count_of_its_own() -> list[onnx.NodeProto]:
    """As TensorFlow writes its while: what ends it is a counter that is carried on."""
    nodes = [
        node("Add", "n two", "next"),
        node("Less", "next most", "small"),
        node("Less", "i three", "early"),
        node("And", "small early", "goes"),
        node("Add", "t t", "after"),
    ]
    own = body(
        nodes,
        [value("n", [], INT64), value("t", [2, 6])],
        [value("next", [], INT64), value("after", None)],
        [constant("most", 6)],
    )
    return [node("Loop", "_ yes zero x", "n_left y", body=own)]


def a_step_that_ends_it() -> list[onnx.NodeProto]:
    own = body(
        [node("Less", "i one", "goes"), node("Add", "t t", "after")],
        [value("t", [2, 6])],
        [value("after", None)],
    )
    return [node("Loop", "three yes x", "y", body=own)]


FORMS = [
    a_sum_and_its_steps,
    parts_of_a_list,
    a_loop_within,
    a_choice_within,
    a_count_of_its_own,
    a_step_that_ends_it,
]


def run(model: onnx.ModelProto) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(["y"], {"x": x})[0]


@pytest.mark.parametrize("form", FORMS)
def test_steps_written_out_compute_what_the_loop_does(form):
    given_ = model(form(), [X], [Y], WEIGHTS)
    written = unrolled(unrolled(given_))
    assert "Loop" not in {n.op_type for n in written.graph.node}
    np.testing.assert_allclose(run(written), run(given_), rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_network_with_such_loops_is_imported(form):
    network = import_model(model(form(), [X], [Y], WEIGHTS))
    assert network.tail is None
    np.testing.assert_allclose(run(network.model), run(network.original), rtol=1e-6)


@given(steps=st.integers(1, 9), power=st.integers(0, 3))
@settings(max_examples=10)
def test_as_many_steps_as_the_loop_has(steps, power):
    own = body(
        [GOES, *(node("Add", f"t{k} t{k}", f"t{k + 1}") for k in range(power + 1))],
        [value("t0", [2, 6])],
        [value(f"t{power + 1}", None)],
    )
    weights = [constant("n", steps)]
    given_ = model([node("Loop", "n _ x", "y", body=own)], [X], [Y], weights)
    np.testing.assert_array_equal(run(unrolled(given_)), run(given_))


@pytest.mark.parametrize(
    ("length", "condition"),
    [
        ("n", [GOES]),
        ("three", [node("ReduceMax", "t", "m", keepdims=0), node("Less", "m large", "goes")]),
    ],
    ids=["of a length that is an input", "that values end"],
)
def test_a_loop_of_another_length_is_refused_by_name(length, condition):
    own = body(
        [*condition, node("Add", "t t", "after")], [value("t", [2, 6])], [value("after", None)]
    )
    inputs = [X, value("n", [], INT64)] if length == "n" else [X]
    given_ = model([node("Loop", f"{length} yes x", "y", body=own)], inputs, [Y], WEIGHTS)
    assert unrolled(given_).graph.node[0].op_type == "Loop"
    with pytest.raises(ValueError, match=r"Loop \(1\)"):
        import_model(given_)


def scanned(body_nodes, results, *, n_states, **attributes) -> onnx.ModelProto:
    """A scan over the parts of x [2, 6], with a sum as its state where there is one."""
    axis = (attributes.get("scan_input_axes") or [0])[0]
    part = [value("part", [6 if axis == 0 else 2])]
    states = [value("sum", [6 if axis == 0 else 2])] if n_states else []
    own = helper.make_graph(body_nodes, "body", [*states, *part], results)
    start = "start " if n_states else ""
    weights = [constant("start", np.zeros(6 if axis == 0 else 2), np.float32)]
    made = node("Scan", f"{start}x", "last y" if n_states else "y", body=own, num_scan_inputs=1)
    made.attribute.extend(helper.make_attribute(name, v) for name, v in attributes.items())
    return model([made], [X], [Y], weights)


SUM = [node("Add", "sum part", "next"), node("Identity", "next", "row")]
STATE = [value("next", None), value("row", None)]


@pytest.mark.parametrize(
    "given_",
    [
        scanned(SUM, STATE, n_states=1),
        scanned(SUM, STATE, n_states=1, scan_input_axes=[1], scan_output_axes=[1]),
        scanned(SUM, STATE, n_states=1, scan_input_axes=[-1], scan_output_axes=[-1]),
        scanned(SUM, STATE, n_states=1, scan_input_directions=[1]),
        scanned(SUM, STATE, n_states=1, scan_output_directions=[1]),
        scanned([node("Neg", "part", "row")], [value("row", None)], n_states=0),
    ],
)
def test_a_scan_written_out_computes_what_the_scan_does(given_):
    written = unrolled(given_)
    assert "Scan" not in {n.op_type for n in written.graph.node}
    np.testing.assert_allclose(run(written), run(given_), rtol=1e-6)
    assert "Scan" not in {n.op_type for n in import_model(given_).model.graph.node}


def test_a_scan_over_batches_as_of_operator_set_8_is_refused_by_name():
    own = helper.make_graph(SUM, "body", [value("sum", [2]), value("part", [2])], STATE)
    made = node("Scan", "_ start x", "last y", body=own, num_scan_inputs=1)
    inputs = [value("start", [1, 2]), value("x", [1, 3, 2])]
    with pytest.raises(ValueError, match=r"Scan \(1\)"):
        import_model(model([made], inputs, [value("y", [1, 3, 2])], opset=8))
