"""Sequences are taken apart to what they hold, or refused."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx_models import INT64, constant, model, node, value

from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.importer.sequences import OPERATORS, taken_apart

X, Y = value("x", [2, 6]), value("y", [2, 6])

FORMS = {
    "inserted_from_the_end": (
        [
            node("SequenceConstruct", "x y", "s"),
            node("Neg", "x", "n"),
            node("SequenceInsert", "s n minus", "t"),
            node("SequenceInsert", "t x", "u"),
            node("ConcatFromSequence", "u", "z", axis=1),
        ],
        value("z", None),
    ),
    "from_nothing": (
        [
            node("SequenceEmpty", "", "s"),
            node("SequenceInsert", "s y", "t"),
            node("SequenceInsert", "t x one", "u"),
            node("SequenceAt", "u minus", "z"),
        ],
        value("z", None),
    ),
    "erased": (
        [
            node("SequenceConstruct", "x y x", "s"),
            node("SequenceErase", "s one", "t"),
            node("SequenceErase", "t", "u"),
            node("SequenceLength", "u", "n"),
            node("SequenceAt", "u zero", "a"),
            node("Cast", "n", "f", to=1),
            node("Mul", "a f", "z"),
        ],
        value("z", None),
    ),
    "split_by_a_length": (
        [
            node("SplitToSequence", "x four", "s", axis=1),
            node("SequenceAt", "s one", "z"),
        ],
        value("z", None),
    ),
    "split_by_lengths": (
        [
            node("SplitToSequence", "x parts", "s", axis=-1),
            node("SequenceAt", "s one", "z"),
        ],
        value("z", None),
    ),
    "split_one_by_one_and_stacked": (
        [
            node("SplitToSequence", "x", "s", axis=0, keepdims=0),
            node("ConcatFromSequence", "s", "z", axis=-1, new_axis=1),
        ],
        value("z", None),
    ),
}

WEIGHTS = [
    *(constant(name, v) for name, v in (("zero", 0), ("one", 1), ("minus", -1), ("four", 4))),
    constant("parts", [1, 5]),
]


@pytest.mark.parametrize("name", FORMS)
def test_what_a_sequence_holds_is_what_it_was_given(name):
    nodes, output = FORMS[name]
    given = model(nodes, [X, Y], [output], WEIGHTS)
    written = taken_apart(given)
    assert not {n.op_type for n in written.graph.node} & OPERATORS
    rng = np.random.default_rng(0)
    values = {n: rng.standard_normal((2, 6)).astype(np.float32) for n in "xy"}
    expected, actual = (
        onnxruntime.InferenceSession(m.SerializeToString()).run(["z"], values)[0]
        for m in (given, written)
    )
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("place", [[value("at", [], INT64)], []])
def test_places_that_are_not_known_or_do_not_exist_are_refused_by_name(place):
    nodes = [node("SequenceConstruct", "x y", "s"), node("SequenceAt", "s at", "z")]
    weights = [] if place else [constant("at", 2)]
    with pytest.raises(ValueError, match=r"SequenceConstruct \(1\), SequenceAt \(1\)"):
        import_model(model(nodes, [X, Y, *place], [value("z", None)], weights))
