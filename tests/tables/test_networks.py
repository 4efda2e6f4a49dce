"""Layers of networks are known by their shapes, and the networks are those that are tuned."""

import collections
import dataclasses

import pytest
import toys
from onnx import TensorProto, helper

from dgtl.autotvm_logs.layers import Conv
from dgtl.tables.networks import NETWORKS, OTHER, SHAPES, layer_of, networks_of
from dgtl.tvm.workload import networks
from dgtl.tvm.workload.networks.graph import Graph

pytestmark = pytest.mark.slow  # TVM is imported.


def test_layers_of_networks_are_found_from_tasks_of_any_origin():
    assert networks_of(toys.conv2d(112, 3, 64, 7, 2)) == {"resnet18", "resnet50"}
    assert networks_of(toys.conv2d(28, 256, 128, 1, 2)) == {"resnet50"}
    assert networks_of(toys.conv2d(9, 5, 7)) == networks_of(toys.dense()) == {OTHER}
    conv = Conv(1, 64, 128, (56, 56), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 4, False)
    task = dataclasses.replace(toys.dense(), kind="conv2d", layer=conv.shape_key)
    assert networks_of(task) == {"resnet18"}
    batched = dataclasses.replace(task, layer=dataclasses.replace(conv, batch=128).shape_key)
    assert networks_of(batched) == {"resnet18"}
    assert layer_of(batched) is None


@pytest.mark.parametrize(
    ("shape", "network"),
    [
        ("depthwise_conv2d_1x56x56x64x3x3x1_yy*2_xx*2", "mobilenet_v1"),
        ("dense_1x1000x512", "resnet18"),
        ("dense_1x1000x4096", "alexnet"),
        ("conv2d_1x27x27x192x5x5x64", "alexnet"),
        ("conv2d_128x54x54x64x3x3x64", "resnet50"),
    ],
)
def test_layers_of_all_kinds_belong_to_their_networks(shape, network):
    task = dataclasses.replace(toys.dense(), layer=shape)
    assert network in networks_of(task)


def test_networks_have_as_many_layers_as_published():
    counts = {name: len(layers) for name, layers in NETWORKS.items()}
    assert counts == {"resnet18": 12, "vgg16": 9, "mobilenet_v1": 10, "resnet50": 20}
    assert {name: len(shapes) for name, shapes in SHAPES.items()} == {
        "resnet18": 13,
        "vgg16": 12,
        "mobilenet_v1": 20,
        "resnet50": 30,
        "alexnet": 8,
    }


def test_layers_occur_as_often_as_in_the_graphs(monkeypatch):
    """Counted in the networks that are tuned here, which are torchvision's."""

    def hollow(self, name: str, shape: tuple[int, ...], variance: float) -> TensorProto:
        return TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)

    # VGG-16 has half a gigabyte of weights, and only their shapes are looked at.
    monkeypatch.setattr(Graph, "_normal", hollow)
    for name in ("resnet18", "vgg16", "mobilenet_v1"):
        expected = dict(NETWORKS[name])
        if name == "resnet18":
            del expected[64, 64, 1, 1, 56]  # torchvision's first stage has no such shortcut
        assert convolutions(networks.NETWORKS[name](0)) == expected
    assert sum(NETWORKS["resnet50"].values()) == 53


def convolutions(model) -> dict[tuple[int, ...], int]:
    """Ungrouped convolutions of an ONNX graph of 224 x 224, as `NETWORKS` writes them."""
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    sizes, found = {"data": 224}, collections.Counter()
    for node in model.graph.node:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        size = sizes[node.input[0]]
        if "kernel_shape" in given:
            kernel, stride = given["kernel_shape"][0], given["strides"][0]
            size = (size + 2 * given["pads"][0] - kernel) // stride + 1
        if node.op_type == "Conv" and given["group"] == 1:
            outputs, inputs = shapes[node.input[1]][:2]
            found[inputs, outputs, kernel, stride, size] += 1
        sizes[node.output[0]] = size
    return dict(found)
