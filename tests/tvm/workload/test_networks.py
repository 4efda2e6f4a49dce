"""The networks are the published ones: their layers, read from the ONNX graph, are known."""

from __future__ import annotations

import collections
import math
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from zoo import inputs

from dgtl.tvm.workload.networks import NETWORKS, Layer, load
from dgtl.tvm.workload.networks.graph import Graph

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture
def hollow(monkeypatch):
    """Weights that have a shape and no values: VGG-16 has half a gigabyte of them."""

    def normal(self, name: str, shape: tuple[int, ...], variance: float) -> TensorProto:
        return TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)

    monkeypatch.setattr(Graph, "_normal", normal)


def windows(model: onnx.ModelProto) -> collections.Counter:
    """Convolutions: input channels, size, output channels, kernel, stride, pad, groups.

    Shapes as ONNX infers them, not as the builder of the graph tracks them.
    """
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.value_info, *graph.output]
    }
    weights = {w.name: list(w.dims) for w in graph.initializer}
    found: collections.Counter = collections.Counter()
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        _, channels, size, width = shapes[node.input[0]]
        outputs, depth, kernel, _ = weights[node.input[1]]
        groups = attributes["group"]
        assert size == width
        assert depth * groups == channels
        assert attributes["kernel_shape"] == [kernel, kernel]
        stride, pad = attributes["strides"][0], attributes["pads"][0]
        found[channels, size, outputs, kernel, stride, pad, groups] += 1
    return found


def units(model: onnx.ModelProto) -> list[tuple[int, int]]:
    """(input units, output units) of all dense layers."""
    weights = {w.name: tuple(w.dims) for w in model.graph.initializer}
    return [weights[n.input[1]][::-1] for n in model.graph.node if n.op_type == "Gemm"]


def mflop(model: onnx.ModelProto) -> float:
    total = 0
    for (channels, size, outputs, kernel, stride, pad, groups), n in windows(model).items():
        out = (size + 2 * pad - kernel) // stride + 1
        total += 2 * n * out * out * outputs * channels // groups * kernel * kernel
    return total / 1e6


CONVOLUTIONS = {
    "alexnet": {
        (3, 224, 64, 11, 4, 2, 1): 1,
        (64, 27, 192, 5, 1, 2, 1): 1,
        (192, 13, 384, 3, 1, 1, 1): 1,
        (384, 13, 256, 3, 1, 1, 1): 1,
        (256, 13, 256, 3, 1, 1, 1): 1,
    },
    "vgg16": {
        (3, 224, 64, 3, 1, 1, 1): 1,
        (64, 224, 64, 3, 1, 1, 1): 1,
        (64, 112, 128, 3, 1, 1, 1): 1,
        (128, 112, 128, 3, 1, 1, 1): 1,
        (128, 56, 256, 3, 1, 1, 1): 1,
        (256, 56, 256, 3, 1, 1, 1): 2,
        (256, 28, 512, 3, 1, 1, 1): 1,
        (512, 28, 512, 3, 1, 1, 1): 2,
        (512, 14, 512, 3, 1, 1, 1): 3,
    },
    "resnet18": {
        (3, 224, 64, 7, 2, 3, 1): 1,
        (64, 56, 64, 3, 1, 1, 1): 4,
        (64, 56, 128, 3, 2, 1, 1): 1,
        (64, 56, 128, 1, 2, 0, 1): 1,
        (128, 28, 128, 3, 1, 1, 1): 3,
        (128, 28, 256, 3, 2, 1, 1): 1,
        (128, 28, 256, 1, 2, 0, 1): 1,
        (256, 14, 256, 3, 1, 1, 1): 3,
        (256, 14, 512, 3, 2, 1, 1): 1,
        (256, 14, 512, 1, 2, 0, 1): 1,
        (512, 7, 512, 3, 1, 1, 1): 3,
    },
    "mobilenet_v1": {
        (3, 224, 32, 3, 2, 1, 1): 1,
        (32, 112, 64, 1, 1, 0, 1): 1,
        (64, 56, 128, 1, 1, 0, 1): 1,
        (128, 56, 128, 1, 1, 0, 1): 1,
        (128, 28, 256, 1, 1, 0, 1): 1,
        (256, 28, 256, 1, 1, 0, 1): 1,
        (256, 14, 512, 1, 1, 0, 1): 1,
        (512, 14, 512, 1, 1, 0, 1): 5,
        (512, 7, 1024, 1, 1, 0, 1): 1,
        (1024, 7, 1024, 1, 1, 0, 1): 1,
        (32, 112, 32, 3, 1, 1, 32): 1,
        (64, 112, 64, 3, 2, 1, 64): 1,
        (128, 56, 128, 3, 1, 1, 128): 1,
        (128, 56, 128, 3, 2, 1, 128): 1,
        (256, 28, 256, 3, 1, 1, 256): 1,
        (256, 28, 256, 3, 2, 1, 256): 1,
        (512, 14, 512, 3, 1, 1, 512): 5,
        (512, 14, 512, 3, 2, 1, 512): 1,
        (1024, 7, 1024, 3, 1, 1, 1024): 1,
    },
}
DENSE = {
    "alexnet": [(9216, 4096), (4096, 4096), (4096, 1000)],
    "vgg16": [(25088, 4096), (4096, 4096), (4096, 1000)],
    "resnet18": [(512, 1000)],
    "mobilenet_v1": [(1024, 1000)],
}
MFLOP = {"alexnet": 1311, "vgg16": 30693, "resnet18": 3628, "mobilenet_v1": 1135.4}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_network_has_the_published_layers(name, hollow):
    model = NETWORKS[name](0)
    assert windows(model) == CONVOLUTIONS[name]
    assert units(model) == DENSE[name]
    assert mflop(model) == pytest.approx(MFLOP[name], rel=1e-3)


# Torchvision's (mobilenet_v1: the paper's at width 1; transformer_encoder: BERT-mini's 11170560
# less those of its pooler, its second sentence and the positions behind the 128th).
PARAMETERS = {
    "alexnet": 61100840,
    "vgg16": 138357544,
    "resnet18": 11689512,
    "mobilenet_v1": 4231976,
    "resnet50": 25557032,
    "squeezenet1_1": 1235496,
    "mobilenet_v2": 3504872,
    "mobilenet_v3_large": 5483032,
    "efficientnet_b0": 5288548,
    "shufflenet_v2_x1_0": 2278604,
    "transformer_encoder": 11170560 - 65792 - 2 * 256 - 384 * 256,
}
# Torchvision's, of convolutions and dense layers [1e9 multiply-adds].
GMAC = {
    "resnet50": 4.089,
    "squeezenet1_1": 0.349,
    "mobilenet_v2": 0.301,
    "mobilenet_v3_large": 0.217,
    "efficientnet_b0": 0.386,
    "shufflenet_v2_x1_0": 0.145,
}
NOT_NORMALISED = {"alexnet", "vgg16", "squeezenet1_1"}
OUTPUTS = {
    **{name: [(1, 1000)] for name in PARAMETERS},
    "tiny": [(1, 10)],
    "resnext_blocks": [(1, 512, 28, 28)],
    "yolo_head": [(1, 255, 13, 13), (1, 255, 26, 26), (1, 255, 52, 52)],
    "unet": [(1, 2, 128, 128)],
    "transformer_encoder": [(1, 128, 256)],
    "audio_conv1d": [(1, 10)],
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_the_published_number_of_parameters(name, hollow):
    model = NETWORKS[name](0)
    total = sum(math.prod(w.dims) for w in model.graph.initializer if w.name.startswith("w"))
    if name not in NOT_NORMALISED:
        # A normalisation that is folded had two parameters for each channel, the bias is one of
        # them. Where a map is 1x1 there was none: in squeeze-and-excitation.
        total += sum(n * w[2] for w, n in windows(model).items() if w[1] > 1)
    assert total == PARAMETERS[name]


@pytest.mark.parametrize("name", GMAC)
def test_a_network_has_the_published_number_of_operations(name, hollow):
    model = NETWORKS[name](0)
    total = mflop(model) / 2e3 + sum(a * b for a, b in units(model)) / 1e9
    assert total == pytest.approx(GMAC[name], abs=0.0015)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_opset_17_batch_1_and_the_published_outputs(name, hollow):
    model = NETWORKS[name](0)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    shapes = [
        tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.output
    ]
    assert shapes == OUTPUTS[name]
    assert [v.type.tensor_type.shape.dim[0].dim_value for v in model.graph.input] == [1]


# Half a gigabyte of weights takes its time, and these two have only layers as in resnet18.
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"alexnet", "vgg16"}))
def test_outputs_are_of_order_one_and_depend_on_the_input(name):
    """So that comparing the outputs of two builds of the network means something."""
    model = NETWORKS[name](0)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    results = [session.run(None, inputs(model, seed)) for seed in (0, 1)]
    for one, other in zip(*results, strict=True):
        assert 1e-1 < one.std() < 1e2
        assert (one - other).std() > 0.01 * one.std()


def test_every_network_can_be_chosen():
    chosen = {path.stem for path in (ROOT / "conf" / "workload").glob("*.yaml")}
    assert chosen == {*NETWORKS, "network", "onnx", "tables"}


def test_grouped_and_transposed_convolutions_are_there(hollow):
    assert windows(NETWORKS["resnext_blocks"](0))[256, 28, 256, 3, 1, 1, 32] == 3
    operators = [node.op_type for node in NETWORKS["unet"](0).graph.node]
    assert operators.count("ConvTranspose") == 3


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    assert load("tiny", 0).original == load("tiny", 0).original
    assert load("tiny", 0).original != load("tiny", 1).original


@pytest.mark.parametrize("kind", ["conv2d", "depthwise_conv2d", "dense"])
def test_a_layer_alone_is_a_network_with_bias_and_relu(kind):
    layer = Layer(kind, 1, 8, 8) if kind == "dense" else Layer(kind, 6, 8, 8, 3, 1, 1)
    model = layer.model(0)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == [
        "Gemm" if kind == "dense" else "Conv",
        "Relu",
    ]
    assert len(model.graph.initializer) == 2


def test_a_file_is_a_workload_too(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(load("tiny", 3).original, path)
    assert load("onnx", 0, str(path)).original == load("tiny", 3).original


def test_wrong_workloads_are_told_in_one_line(tmp_path):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")
    with pytest.raises(ValueError, match="unknown workload 'foo': choose from"):
        load("foo", 0)
    with pytest.raises(ValueError, match="no such file"):
        load("onnx", 0, str(tmp_path / "missing.onnx"))
    with pytest.raises(ValueError, match="is not an ONNX model"):
        load("onnx", 0, str(damaged))
