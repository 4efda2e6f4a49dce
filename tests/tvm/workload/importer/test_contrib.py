"""What ONNX Runtime's optimizer fuses, written out, against what it computes itself."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_models import constant, model, node, value, weight

from dgtl.tvm.deploy.reference import run
from dgtl.tvm.workload.importer.contrib import MICROSOFT, NOT_ONNX, WRITERS, written_out
from dgtl.tvm.workload.importer.graph import opset_of
from dgtl.tvm.workload.importer.model import import_model

IMAGE, ROWS = [1, 4, 6, 6], [2, 5, 8]
KERNEL, GAMMA, BETA = weight("w", 3, 4, 3, 3), weight("gamma", 8), weight("beta", 8)


def fused(op: str, inputs: str, outputs: str = "y", **attributes) -> onnx.NodeProto:
    made = node(op, inputs, outputs, **attributes)
    made.domain = "" if op in NOT_ONNX else MICROSOFT
    return made


def form(nodes, inputs, weights=(), outputs=("y",), opset=17) -> onnx.ModelProto:
    given = [value(name, shape) for name, shape in inputs.items()]
    results = [value(name, None) for name in outputs]
    return model(nodes, given, results, weights, opset=opset, domains=[MICROSOFT])


def conv(inputs: str, activation: str, *parameters: float) -> onnx.ModelProto:
    given = {"activation_params": parameters} if parameters else {}
    shapes = {"x": IMAGE, "z": [1, 3, 4, 4]} if "z" in inputs else {"x": IMAGE}
    made = fused("FusedConv", inputs, activation=activation, **given)
    return form([made], shapes, [KERNEL, weight("bias", 3)])


def packed(inputs: str, weights=(), **attributes) -> onnx.ModelProto:
    """Of 5 tokens of width 8, with queries, keys and values of one product, 2 heads."""
    made = fused("Attention", inputs, num_heads=2, **attributes)
    product = [weight("w", 8, 24), weight("bias", 24)]
    return form([made], {"x": ROWS}, [*product, *weights], opset=attributes.pop("opset", 17))


def embedded(inputs: str, outputs: str, opset: int = 17) -> onnx.ModelProto:
    """Three words of two sentences, by tables of 7 words, 4 places and 2 segments."""
    made = fused("EmbedLayerNormalization", inputs, outputs, epsilon=1e-5)
    tables = [weight("words", 7, 8), weight("places", 4, 8), weight("kinds", 2, 8), GAMMA, BETA]
    known = [
        constant("ids", [[1, 6, 2], [0, 3, 3]], np.int32),
        constant("segments", [[0, 0, 1], [0, 1, 1]], np.int32),
        constant("mask", [[1, 1, 0], [1, 1, 1]], np.int32),
        constant("at", [[3, 2, 1], [0, 1, 2]], np.int32),
    ]
    nodes = [made, node("Add", "e x", "y")]
    shown = [value("y", None)]
    if "mask" in inputs:
        nodes.append(node("Cast", "counts", "n", to=TensorProto.FLOAT))
        shown.append(value("n", None))
    inputs_ = [value("x", [2, 3, 8])]
    return model(nodes, inputs_, shown, [*tables, *known], opset=opset, domains=[MICROSOFT])


def attention(inputs: str, weights=(), **attributes) -> onnx.ModelProto:
    """Of 5 queries and 6 keys, 2 heads of width 4."""
    shapes = {"q": ROWS, "k": [2, 6, 8], "v": [2, 6, 8]}
    made = fused("MultiHeadAttention", inputs, num_heads=2, **attributes)
    return form([made], shapes, weights)


FORMS = {
    "conv_relu": conv("x w bias", "Relu"),
    "conv_added": conv("x w bias z", "Relu"),
    "conv_leaky": conv("x w", "LeakyRelu", 0.3),
    "conv_clip": conv("x w", "Clip", -0.2, 0.6),
    "conv_hard": conv("x w bias", "HardSigmoid", 0.3, 0.4),
    "gemm": form(
        [fused("FusedGemm", "x w c", activation="LeakyRelu", activation_alpha=0.2, transB=1)],
        {"x": [3, 8]},
        [weight("w", 5, 8), weight("c", 5)],
    ),
    "matmul": form([fused("FusedMatMul", "x v", alpha=0.3)], {"x": ROWS, "v": [8, 3]}),
    "matmul_across": form(
        [fused("FusedMatMul", "x v", alpha=1.0, transA=1, transB=1)], {"x": ROWS, "v": [2, 3, 5]}
    ),
    "matmul_of_batches": form(
        [fused("FusedMatMul", "x v", transBatchA=1, transB=1)], {"x": [5, 2, 8], "v": [2, 3, 8]}
    ),
    "matmul_of_matmul": form(
        [fused("FusedMatMul", "x v", "a", transB=1), fused("FusedMatMul", "a x", transA=1)],
        {"x": ROWS, "v": [2, 3, 8]},
    ),
    "gelu": form([fused("Gelu", "x")], {"x": ROWS}),
    "bias_gelu": form([fused("BiasGelu", "x b")], {"x": ROWS}, [weight("b", 8)]),
    "fast_gelu": form([fused("FastGelu", "x b")], {"x": ROWS}, [weight("b", 8)]),
    "fast_gelu_without_bias": form([fused("FastGelu", "x")], {"x": ROWS}),
    "quick_gelu": form([fused("QuickGelu", "x", alpha=1.5)], {"x": ROWS}),
    "norm": form(
        [fused("SkipLayerNormalization", "x s gamma beta b", "y _ _ z", epsilon=1e-5)],
        {"x": ROWS, "s": ROWS},
        [GAMMA, BETA, weight("b", 8)],
        ["y", "z"],
    ),
    "norm_without_beta": form(
        [fused("SkipLayerNormalization", "x s gamma")], {"x": ROWS, "s": ROWS}, [GAMMA]
    ),
    "norm_of_an_old_set": form(
        [fused("SkipLayerNormalization", "x s gamma beta")],
        {"x": ROWS, "s": ROWS},
        [GAMMA, BETA],
        opset=13,
    ),
    "norm_before_onnx_had_it": form(
        [fused("LayerNormalization", "x gamma beta", epsilon=1e-3)],
        {"x": ROWS},
        [GAMMA, BETA],
        opset=14,
    ),
    "root_mean_square": form(
        [fused("SimplifiedLayerNormalization", "x gamma", axis=-1, epsilon=1e-5)],
        {"x": ROWS},
        [GAMMA],
    ),
    "root_mean_square_of_a_sum": form(
        [fused("SkipSimplifiedLayerNormalization", "x s gamma", "y _ _ z", epsilon=1e-6)],
        {"x": ROWS, "s": ROWS},
        [GAMMA],
        ["y", "z"],
        opset=18,
    ),
    "embedding": embedded("ids segments words places kinds gamma beta mask", "e counts"),
    "embedding_of_an_old_set": embedded(
        "ids segments words places kinds gamma beta mask", "e counts", opset=12
    ),
    "embedding_without_segments": embedded("ids _ words places _ gamma beta _ at", "e counts"),
    "packed": packed("x w bias"),
    "packed_of_lengths": packed("x w bias n", [constant("n", [3, 5], np.int32)]),
    "packed_masked": packed("x w bias m", [constant("m", [[1, 1, 0, 0, 1]] * 2, np.int32)]),
    "packed_masked_by_rows": packed(
        "x w bias m", [constant("m", np.tril(np.ones((2, 5, 5))), np.int32)], scale=0.3
    ),
    "packed_causal": packed("x w bias", unidirectional=1),
    "packed_with_scores": packed("x w bias _ _ a", [weight("a", 2, 2, 5, 5)]),
    "packed_of_widths": packed("x w bias", qkv_hidden_sizes=[4, 4, 16]),
    "attention": attention("q k v"),
    "attention_scaled": attention("q k v", scale=0.2),
    "attention_with_biases": attention("q k v bias", [weight("bias", 24)]),
    "attention_masked": attention(
        "q k v _ mask bias",
        [
            constant("mask", np.arange(12).reshape(2, 6) % 5 > 0, np.int32),
            weight("bias", 1, 2, 5, 6),
        ],
    ),
}


def values_of(given: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        x.name: rng.standard_normal([d.dim_value for d in x.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for x in given.graph.input
    }


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_out_computes_the_same(name):
    given = FORMS[name]
    written = written_out(given)
    assert {n.domain for n in written.graph.node} == {""}
    not_onnx = set(NOT_ONNX) - ({"LayerNormalization"} if opset_of(given) >= 17 else set())
    assert not not_onnx & {n.op_type for n in written.graph.node}
    values = values_of(given)
    for expected, actual in zip(run(given, values), run(written, values), strict=True):
        assert expected.std() > 1e-2
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_every_operator_has_a_form():
    kinds = {n.op_type for given in FORMS.values() for n in given.graph.node} - {"Add", "Cast"}
    assert kinds == {*WRITERS, *NOT_ONNX} - {"TransposeMatMul"}


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (fused("SkipLayerNormalization", "x x gamma", "y mean"), "SkipLayerNormalization"),
        (fused("SimplifiedLayerNormalization", "x gamma", axis=1), "SimplifiedLayerNormalization"),
        (fused("MultiHeadAttention", "x", num_heads=2), "MultiHeadAttention"),
        (fused("Attention", "x w", "y past", num_heads=2), "Attention"),
        (fused("GroupNorm", "x gamma beta", groups=2), "GroupNorm"),
    ],
)
def test_what_cannot_be_written_out_is_refused_by_name(made, name):
    given = form([made], {"x": ROWS}, [GAMMA, BETA, weight("w", 8, 24)])
    with pytest.raises(ValueError, match=rf"{name} \(1\)"):
        import_model(given)


def test_shapes_behind_unknown_operators_are_found_one_after_the_other():
    """ONNX infers no shape past an operator that it does not know."""
    nodes = [
        fused("BiasGelu", "x bias", "a"),
        fused("FusedMatMul", "a x", "b", transB=1),
        fused("FusedMatMul", "b x", "c", transA=1),
        fused("MultiHeadAttention", "c x x", "y", num_heads=2),
    ]
    written = written_out(form(nodes, {"x": ROWS}, [weight("bias", 8)]))
    assert {n.domain for n in written.graph.node} == {""}


def test_numbers_are_of_the_type_of_what_they_meet():
    """Of the second operator that is known once the first is written out."""
    plain = [fused("QuickGelu", "x", "g"), fused("QuickGelu", "g")]
    half = [node("Cast", "x", "h", to=TensorProto.FLOAT16), fused("QuickGelu", "h", "f")]
    half += [fused("QuickGelu", "f", "g"), node("Cast", "g", "y", to=TensorProto.FLOAT)]
    (expected,), (actual,) = (
        run(written_out(form(made, {"x": ROWS})), values_of(form(made, {"x": ROWS})))
        for made in (plain, half)
    )
    np.testing.assert_allclose(actual, expected, atol=5e-3)
