"""Operators on bytes, against those that ONNX Runtime has for them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_models import constant, model, node, value

from dgtl.tvm.deploy.reference import run
from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.importer.quantized import OF_FLOATS, PRODUCTS, written_out

MICROSOFT = "com.microsoft"
KINDS = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}
IMAGE = (1, 4, 6, 6)
OWN = ("QLinearConv", "QLinearMatMul")


def form(
    op: str,
    inputs: str,
    shapes: dict[str, tuple[int, ...]],
    weights=(),
    byte=np.uint8,
    **attributes,
) -> onnx.ModelProto:
    """A model of one operator whose inputs, of these shapes, are bytes."""
    made = node(op, inputs, "y", **attributes)
    made.domain = "" if op in OWN else MICROSOFT
    numbers = [
        constant("s", 0.02, np.float32),
        constant("z", 3 if byte is np.int8 else 120, byte),
        constant("t", 0.05, np.float32),
        constant("u", -5 if byte is np.int8 else 100, byte),
        *weights,
    ]
    given = [value(name, shape, KINDS[byte]) for name, shape in shapes.items()]
    floats = op == "QGemm" and len(made.input) == 7
    result = value("y", None, TensorProto.FLOAT if floats else KINDS[byte])
    return model([made], given, [result], numbers, domains=[MICROSOFT])


def weight(name: str, *shape: int, byte=np.int8):
    limits = np.iinfo(byte)
    rng = np.random.default_rng(len(name) + len(shape))
    return constant(name, rng.integers(limits.min, limits.max, shape), byte)


def numbers(name: str, n: int, low: float, high: float):
    return constant(name, np.random.default_rng(n).uniform(low, high, n), np.float32)


CONV = [weight("w", 5, 4, 3, 3), constant("bias", np.arange(-2000, 3000, 1000), np.int32)]
SCALES = [numbers("ws", 5, 1e-3, 2e-3), constant("wz", np.arange(5), np.int8)]
ONE_SCALE = [constant("ws", 2e-3, np.float32), constant("wz", 4, np.int8)]
PADS = {"pads": [1, 1, 1, 1]}
FORMS = {
    "conv": form("QLinearConv", "x s z w ws wz t u", {"x": IMAGE}, [*CONV, *ONE_SCALE], **PADS),
    "conv_of_channels": form(
        "QLinearConv", "x s z w ws wz t u bias", {"x": IMAGE}, [*CONV, *SCALES], **PADS
    ),
    "conv_signed": form(
        "QLinearConv", "x s z w ws wz t u", {"x": IMAGE}, [*CONV, *ONE_SCALE], np.int8
    ),
    "conv_grouped": form(
        "QLinearConv",
        "x s z w ws wz t u",
        {"x": IMAGE},
        [weight("w", 4, 2, 3, 3), *ONE_SCALE],
        group=2,
        strides=[2, 2],
    ),
    "matmul": form(
        "QLinearMatMul", "x s z w ws wz t u", {"x": (2, 3, 8)}, [weight("w", 8, 5), *ONE_SCALE]
    ),
    "matmul_of_columns": form(
        "QLinearMatMul", "x s z w ws wz t u", {"x": (3, 8)}, [weight("w", 8, 5), *SCALES]
    ),
    "matmul_of_activations": form("QLinearMatMul", "x s z v s z t u", {"x": (3, 8), "v": (8, 5)}),
    "gemm": form(
        "QGemm",
        "x s z w ws wz bias t u",
        {"x": (3, 8)},
        [weight("w", 5, 8), CONV[1], *ONE_SCALE],
        transB=1,
        alpha=0.5,
    ),
    "gemm_to_float": form(
        "QGemm", "x s z w ws wz bias", {"x": (3, 8)}, [weight("w", 8, 5), CONV[1], *SCALES]
    ),
    "add": form("QLinearAdd", "x s z v t u t z", {"x": (2, 6), "v": (2, 6)}),
    "mul": form("QLinearMul", "x s z v t u t z", {"x": (2, 6), "v": (2, 6)}, byte=np.int8),
    "sigmoid": form("QLinearSigmoid", "x s z r u", {"x": IMAGE}, [numbers("r", 1, 4e-3, 5e-3)]),
    "where": form(
        "QLinearWhere",
        "c x s z v t u t z",
        {"x": (2, 6), "v": (2, 6)},
        [constant("c", np.arange(12).reshape(2, 6) % 3 > 0, bool)],
    ),
    "leaky": form("QLinearLeakyRelu", "x s z t u", {"x": IMAGE}, alpha=0.3),
    "softmax": form(
        "QLinearSoftmax",
        "x s z r q",
        {"x": (3, 9)},
        [constant("r", 1 / 256, np.float32), constant("q", 0, np.uint8)],
        axis=-1,
        opset=13,
    ),
    "leaky_without_zero": form("QLinearLeakyRelu", "x s _ t u", {"x": IMAGE}),
    "concat": form("QLinearConcat", "t u x s z v t z", {"x": (2, 6), "v": (2, 3)}, axis=1),
    "mean_of_image": form("QLinearGlobalAveragePool", "x s z t u", {"x": IMAGE}),
    "pool": form(
        "QLinearAveragePool", "x s z t u", {"x": IMAGE}, kernel_shape=[2, 2], strides=[2, 2]
    ),
}


def bytes_of(given: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {}
    for x in given.graph.input:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(x.type.tensor_type.elem_type)
        shape = [d.dim_value for d in x.type.tensor_type.shape.dim]
        limits = np.iinfo(dtype)
        found[x.name] = rng.integers(limits.min, limits.max, shape).astype(dtype)
    return found


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_out_gives_the_same_bytes(name):
    given, remarks = FORMS[name], []
    written = written_out(given, remarks)
    assert remarks == ["one operator on bytes: computed in float32, and rounded to the same bytes"]
    assert all(n.domain == "" for n in written.graph.node)
    values = bytes_of(given)
    (expected,), (actual,) = run(given, values), run(written, values)
    assert actual.dtype == expected.dtype
    assert expected.std() > 1e-3
    if expected.dtype == np.float32:
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
        return
    steps = np.abs(actual.astype(int) - expected.astype(int))
    # A sum of scaled bytes may lie halfway between two; a product of whole numbers does not.
    assert steps.max() <= (given.graph.node[0].op_type not in PRODUCTS)
    assert (steps > 0).mean() <= 0.1


def test_every_operator_of_the_list_has_a_form():
    assert {g.graph.node[0].op_type for g in FORMS.values()} == {*PRODUCTS, *OF_FLOATS}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("op", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat"])
def test_products_of_which_the_scales_are_computed(op, bias):
    rest = " bias" if bias else ""
    dynamic = op == "DynamicQuantizeMatMul"
    product = node(op, "x w ws wz" + rest if dynamic else "q w xs ws xz wz" + rest, "y")
    product.domain = MICROSOFT
    nodes = [product] if dynamic else [node("DynamicQuantizeLinear", "x", "q xs xz"), product]
    given = model(
        nodes,
        [value("x", [3, 8])],
        [value("y", None)],
        [weight("w", 8, 5), *ONE_SCALE, numbers("bias", 5, -1, 1)],
        domains=[MICROSOFT],
    )
    network = import_model(given)
    assert {n.domain for n in network.model.graph.node} == {""}
    (expected,), (actual,) = (run(m, network.inputs) for m in (given, network.model))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("bits", "zeros"), [(4, None), (4, np.uint8), (4, np.float32), (8, None), (8, np.uint8)]
)
def test_weights_of_few_bits_are_those_of_onnx_runtime(bits, zeros, bias):
    n, k, size = 6, 40, 16  # the last of three blocks is filled in part
    rng = np.random.default_rng(bits)
    weights = [
        constant("b", rng.integers(0, 256, (n, 3, size * bits // 8)), np.uint8),
        constant("scales", rng.uniform(0.01, 0.02, n * 3), np.float32),
        constant("bias", rng.standard_normal(n), np.float32),
    ]
    if zeros is np.uint8:
        weights.append(constant("zeros", rng.integers(0, 256, (n, -(-3 * bits // 8))), np.uint8))
    elif zeros is not None:
        weights.append(constant("zeros", rng.uniform(4, 8, (n, 3)), np.float32))
    names = f"x b scales {'_' if zeros is None else 'zeros'} _ {'bias' if bias else '_'}"
    made = node("MatMulNBits", names, "y", N=n, K=k, bits=bits, block_size=size)
    made.domain = MICROSOFT
    given = model([made], [value("x", [3, k])], [value("y", [3, n])], weights, domains=[MICROSOFT])
    network = import_model(given)
    assert network.remarks == ("weights of few bits (MatMulNBits, once) become floats",)
    (expected,), (actual,) = (run(m, network.inputs) for m in (given, network.model))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_a_scale_that_is_computed_is_refused_by_name():
    known = [w for w in FORMS["conv"].graph.initializer if w.name != "ws"]
    given = model(
        [node("QLinearConv", "x s z w ws wz t u", "y")],
        [value("x", IMAGE, TensorProto.UINT8), value("ws", [])],
        [value("y", None, TensorProto.UINT8)],
        known,
    )
    with pytest.raises(ValueError, match=r"QLinearConv \(1\)"):
        import_model(given)
