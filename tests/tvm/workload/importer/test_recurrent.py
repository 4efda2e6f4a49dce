"""Recurrent layers with weights of bytes; what others compute is in the zoo."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import constant, model, value

from dgtl.tvm.deploy.reference import COARSE_TOLERANCE, compare_outputs, run
from dgtl.tvm.workload.importer.model import import_model

STEPS, WIDTH, HIDDEN = 5, 12, 8


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
