"""What operators on single elements compute, of all settings and types, as TVM builds them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from onnx import TensorProto, helper
from onnx_models import constant, model, node, value
from tvm import relax
from zoo.case import inputs
from zoo.graph import Graph

from dgtl.device.values import differences
from dgtl.tvm import hardware as machine
from dgtl.tvm.workload.importer.graph import graph_inputs
from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.importer.to_relax import to_relax
from dgtl.tvm.workload.tasks import lower

pytestmark = pytest.mark.slow

TARGET = tvm.target.Target(machine.detect(1).target)

SAME = ("SAME_UPPER", "SAME_LOWER")


def assert_as_onnx_runtime(graph: Graph, *outputs: str) -> None:
    model = graph.model(*outputs)
    values = inputs(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    network = import_model(model).model
    built = relax.VirtualMachine(tvm.compile(lower(network, TARGET), TARGET), tvm.cpu())
    fed = [tvm.runtime.tensor(values[v.name]) for v in graph_inputs(network)]
    result = built["main"](*fed)
    actual = [result] if hasattr(result, "numpy") else list(result)
    for expected, tensor in zip(session.run(None, values), actual, strict=True):
        found = tensor.numpy()
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert max(differences(expected, found)) <= 1e-5


def operators(model: onnx.ModelProto) -> list[str]:
    """Names of the operators of Relax that a model becomes."""
    block = to_relax(import_model(model).model)["main"].body.blocks[0]
    values = [binding.value for binding in block.bindings]
    return [value.op.name for value in values if isinstance(value, relax.Call)]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_constant_statistics_are_a_product_and_a_sum(dtype):
    rng = np.random.default_rng(0)
    told = {name: constant(name, rng.uniform(0.5, 2, 4), dtype) for name in "sbmv"}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    given = model(
        [node("BatchNormalization", "x s b m v", "y", epsilon=1e-3)],
        [value("x", [1, 4, 5], kind)],
        [value("y", None, kind)],
        list(told.values()),
    )
    assert operators(given) == ["relax.multiply", "relax.add"]
    x = rng.standard_normal((1, 4, 5)).astype(dtype)
    expected = onnxruntime.InferenceSession(given.SerializeToString()).run(None, {"x": x})
    built = relax.VirtualMachine(
        tvm.compile(lower(import_model(given).model, TARGET), TARGET), tvm.cpu()
    )
    np.testing.assert_allclose(
        built["main"](tvm.runtime.tensor(x)).numpy(),
        expected[0],
        rtol=2 * np.finfo(dtype).eps ** 0.8,
    )


def test_constant_places_from_the_end_are_taken_without_a_comparison():
    given = model(
        [node("Gather", "x at", "y", axis=1)],
        [value("x", [2, 5, 3])],
        [value("y", None)],
        [constant("at", [-1, 0, -5])],
    )
    assert operators(given) == ["relax.take"]


def test_infinities_of_either_sign():
    g = Graph()
    x = g("Mul", g("Round", g.input(4, 8)), np.inf)
    signs = [(1, 1), (1, 0), (0, 1), (0, 0)]
    assert_as_onnx_runtime(
        g, *(g("IsInf", x, detect_positive=p, detect_negative=n) for p, n in signs)
    )


def test_ones_on_any_diagonal_and_of_any_type():
    g = Graph()
    x = g.input(3, 5, dtype=np.int32)
    assert_as_onnx_runtime(
        g,
        g("EyeLike", x),
        g("EyeLike", x, dtype=TensorProto.FLOAT, k=1),
        g("EyeLike", x, dtype=TensorProto.DOUBLE, k=-2),
    )


def test_one_hot_of_any_types_and_places_from_the_end_or_outside():
    g = Graph()
    places = g("Sub", g("Mul", g.input(2, 3, dtype=np.int64), [[1, 2, 9]]), [2])
    values = g.input(2)
    assert_as_onnx_runtime(
        g,
        g("OneHot", places, [5], [0.0, 1.0]),
        g("OneHot", places, 4, [2, 7], axis=1),
        g("OneHot", g("Cast", places, to=TensorProto.FLOAT), np.float32(3), values, axis=0),
    )


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_the_greatest_and_least_truth(op):
    g = Graph(20)
    x = g.input(2, 3, 4, dtype=bool)
    assert_as_onnx_runtime(g, g(op, x, [1]), g(op, x, keepdims=0), g(op, g("Not", x), [-1, 0]))


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"])
def test_a_reduction_of_whole_numbers_is_one(op):
    g = Graph(20)
    x = g("Add", g("Mul", g.input(2, 3, 4, dtype=np.int32), np.int32(5)), np.int32(1))
    assert_as_onnx_runtime(g, g(op, x, [1]), g(op, g("Cast", x, to=TensorProto.INT64), keepdims=0))


@pytest.mark.parametrize(("op", "end"), [("ArgMax", -np.inf), ("ArgMin", np.inf)])
def test_the_place_of_the_greatest_is_within_where_nothing_is_greater(op, end):
    g = Graph()
    x = g("Add", g.input(2, 3, 4), np.full((2, 3, 4), end))
    outputs = [g(op, x, axis=-1), g(op, x, axis=1, select_last_index=1, keepdims=0)]
    assert_as_onnx_runtime(g, *outputs)


def test_truths_are_compared():
    g = Graph()
    x, y = g.input(3, 4, dtype=bool), g.input(4, dtype=bool)
    assert_as_onnx_runtime(g, g("Equal", x, y), g("Equal", x, np.array(False)))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "settings",
    [
        *({"auto_pad": mode, "kernel_shape": [k, 2]} for mode in SAME for k in (2, 3)),
        {"ceil_mode": 1, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
        {"ceil_mode": 1, "kernel_shape": [2, 3]},
    ],
)
@pytest.mark.parametrize("more", [0, 1])
def test_padding_of_pools(op, settings, more):
    counted = {"count_include_pad": more} if op == "AveragePool" else {}
    g = Graph(22)
    x = g.input(1, 2, 7 + more, 8 + more)
    assert_as_onnx_runtime(g, g(op, x, strides=[2, 2], **settings, **counted))


@pytest.mark.parametrize("mode", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("samples", [0, 2])
def test_regions_are_scaled_before_they_are_moved(mode, samples):
    g = Graph()
    regions = np.float32([[1, 1, 12, 15], [0, 4, 20, 19]])
    size = {"output_height": 3, "output_width": 2, "spatial_scale": 0.5, "sampling_ratio": samples}
    x = g.input(1, 3, 12, 12)
    y = g("RoiAlign", x, regions, [0, 0], coordinate_transformation_mode=mode, **size)
    assert_as_onnx_runtime(g, y)


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((1, 2, 9, 8), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ((1, 2, 9, 8), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [0, 1, 1, 0]}),
        ((1, 2, 9, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        ((1, 2, 9, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ((1, 2, 9, 8), {"kernel_shape": [2, 3], "dilations": [2, 2], "storage_order": 1}),
        ((2, 3, 11), {"kernel_shape": [3], "strides": [2]}),
        ((2, 1, 6, 5, 4), {"kernel_shape": [2] * 3, "storage_order": 1}),
    ],
)
def test_places_of_what_is_greatest(size, settings):
    g = Graph()
    assert_as_onnx_runtime(g, *g("MaxPool", g.input(*size), outputs=2, **settings))


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        (None, {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ([1, 3, 8, 8], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ([1, 3, 9, 9], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        (None, {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 0, 0]}),
    ],
)
def test_what_was_greatest_is_put_back(shape, settings):
    g = Graph()
    y, places = g("MaxPool", g.input(1, 3, 8, 8), outputs=2, **settings)
    given = [] if shape is None else [shape]
    assert_as_onnx_runtime(g, g("MaxUnpool", y, places, *given, **settings))


@pytest.mark.parametrize("opset", [12, 13])
def test_nothing_is_dropped_and_the_mask_says_so(opset):
    g = Graph(opset)
    y, mask = g("Dropout", g("Relu", g.input(2, 3)), outputs=2)
    assert_as_onnx_runtime(g, g("Neg", y), mask)


def test_a_dropout_that_trains_is_refused():
    g = Graph()
    x = g.input(2, 3)
    import_model(g.model(g("Neg", g("Dropout", x, 0.0, True))))
    with pytest.raises(ValueError, match=r"Dropout \(2 times\)"):
        import_model(g.model(g("Dropout", g("Dropout", x, 0.5, True), None, g.input(dtype=bool))))
