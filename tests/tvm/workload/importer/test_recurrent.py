"""Recurrent layers written out: of every form, with weights of bytes, and what goes in reversed."""

from __future__ import annotations

import numpy as np
import onnx_models as forms
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_models import constant, model, value

from dgtl.tvm.deploy.reference import COARSE_TOLERANCE, compare_outputs, run
from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.importer.recurrent import unrolled

STEPS, WIDTH, HIDDEN = 5, 12, 8


@settings(max_examples=40, deadline=None)
@drawn(
    kind=st.sampled_from(["LSTM", "GRU", "RNN"]),
    steps=st.integers(1, 4),
    batch=st.integers(1, 3),
    hidden=st.integers(1, 4),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    bias=st.booleans(),
    initial=st.booleans(),
    lengths=st.booleans(),
    last_alone=st.booleans(),
    clip=st.sampled_from([None, 0.1]),
    own=st.fixed_dictionaries(
        {"peepholes": st.booleans(), "linear_before_reset": st.integers(0, 1)}
    ),
    relu=st.booleans(),
)
def test_an_unrolled_layer_computes_what_the_recurrent_one_does(
    kind, direction, last_alone, clip, own, relu, **shape
):
    attributes = {} if clip is None else {"clip": clip}
    if kind == "LSTM":
        attributes["peepholes"] = own["peepholes"]
    if kind == "GRU":
        attributes["linear_before_reset"] = own["linear_before_reset"]
    if relu:
        gates = {"LSTM": ["Sigmoid", "Relu", "Tanh"], "GRU": ["Sigmoid", "Relu"], "RNN": ["Relu"]}
        attributes["activations"] = gates[kind] * (2 if direction == "bidirectional" else 1)
    outputs = "_ h" if last_alone else {"LSTM": "y h c"}.get(kind, "y h")
    layer = forms.recurrent(kind, direction=direction, outputs=outputs, **shape, **attributes)
    written = unrolled(layer)
    assert not {"LSTM", "GRU", "RNN"} & {n.op_type for n in written.graph.node}
    network = import_model(layer)
    expected = run(layer, network.inputs)
    for actual in (run(written, network.inputs), run(network.model, network.inputs)):
        for e, a in zip(expected, actual, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-6)


def test_a_recurrent_layer_of_lengths_that_vary_is_refused_by_name():
    layer = forms.recurrent("GRU", lengths=True)
    layer.graph.initializer[-1].CopyFrom(constant("lengths", [4, 2], np.int32))
    with pytest.raises(ValueError, match=r"TVM cannot import a kind of operator: GRU \(1\)"):
        import_model(layer)


def quantized(directions: int, gates: bool, dtype: type, *, known: bool = True):
    """A DynamicQuantizeLSTM; scales of each direction, or of each gate."""
    rng = np.random.default_rng(0)
    limits = np.iinfo(dtype)
    scales = [directions, 4 * HIDDEN] if gates else [directions]

    def numbers(name: str, rows: int):
        shape = (directions, rows, 4 * HIDDEN)
        middle = (limits.max + limits.min + 1) // 2
        return [
            constant(name, rng.integers(limits.min, limits.max, shape), dtype),
            constant(f"{name}_scale", rng.uniform(0.003, 0.006, scales), np.float32),
            constant(f"{name}_zero", np.full(scales, middle), dtype),
        ]

    bias = constant("bias", rng.standard_normal((directions, 8 * HIDDEN)), np.float32)
    names = ["x", "w", "r", "bias", *[""] * 4, "w_scale", "w_zero", "r_scale", "r_zero"]
    layer = helper.make_node(
        "DynamicQuantizeLSTM",
        names,
        ["y"],
        "layer",
        domain="com.microsoft",
        hidden_size=HIDDEN,
        direction="bidirectional" if directions == 2 else "forward",
    )
    weights = [*numbers("w", WIDTH), *numbers("r", HIDDEN), bias]
    inputs = [value("x", [STEPS, 1, WIDTH])]
    if not known:
        inputs.append(value("w_scale", scales))
        weights = [w for w in weights if w.name != "w_scale"]
    return model([layer], inputs, [value("y", None)], weights, domains=["com.microsoft"])


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_an_lstm_with_weights_of_bytes_is_one_without(directions, gates, dtype):
    network = import_model(quantized(directions, gates, dtype))
    assert "DynamicQuantizeLSTM (once) is computed in float32" in network.remarks[0]
    expected = run(network.original, network.inputs)
    assert expected[0].std() > 0.1
    agreement = compare_outputs(expected, run(network.model, network.inputs), COARSE_TOLERANCE / 2)
    assert agreement.ok, agreement


def test_one_whose_weights_are_not_known_is_refused_by_name():
    with pytest.raises(ValueError, match="microsoft::DynamicQuantizeLSTM"):
        import_model(quantized(1, False, np.int8, known=False))


@pytest.mark.parametrize(
    ("lengths", "axis", "kind"),
    [
        ([5, 5], 1, "Gather"),
        ([3, 3], 1, "Gather"),
        ([2] * 5, 0, "Gather"),
        ([4, 2], 1, "GatherND"),
        ([1, 2, 2, 1, 2], 0, "GatherND"),
    ],
)
def test_a_sequence_that_is_reversed(lengths, axis, kind):
    """As TensorFlow's bidirectional layers are exported, or with lengths of its own for each."""
    reverse = helper.make_node(
        "ReverseSequence", ["x", "n"], ["y"], "r", time_axis=axis, batch_axis=1 - axis
    )
    given = model(
        [reverse], [value("x", [2, 5, 3])], [value("y", [2, 5, 3])], [constant("n", lengths)]
    )
    network = import_model(given)
    assert [n.op_type for n in network.model.graph.node] == [kind]
    expected, actual = (run(m, network.inputs) for m in (given, network.model))
    assert np.array_equal(expected, actual)


def test_a_sequence_that_is_reversed_by_lengths_that_are_computed_is_refused_by_name():
    reverse = helper.make_node("ReverseSequence", ["x", "n"], ["y"], time_axis=1, batch_axis=0)
    lengths = helper.make_tensor_value_info("n", TensorProto.INT64, [2])
    given = model([reverse], [value("x", [2, 5]), lengths], [value("y", [2, 5])])
    with pytest.raises(ValueError, match=r"ReverseSequence \(1\)"):
        import_model(given)
