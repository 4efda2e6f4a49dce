"""The networks as ONNX models with seeded random weights.

ONNX is the one way in: a user's own model, these four and single layers all take the same road,
and another runtime can time the very same network. Batch normalisation is folded into convolution
and bias, as for inference. Shapes as in TVM's and torchvision's model zoos (AlexNet: "one weird
trick").
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dgtl.core.model_file import read_model
from dgtl.tvm.workload.onnx_import import Network, import_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class _Graph:
    """Builds a chain of layers; values are ONNX names, shapes are tracked in `shapes` as NCHW."""

    def __init__(self, seed: int, shape: Sequence[int]):
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._input_shape = list(shape)
        self.shapes: dict[str, tuple[int, ...]] = {"data": tuple(shape)}

    def _weight(self, shape: tuple[int, ...], fan_in: int) -> str:
        # He's scale keeps activations of order one at any depth, so that a numerical comparison of
        # two schedules of the whole network means something.
        values = self._rng.standard_normal(shape, dtype=np.float32) * np.float32(
            (2 / fan_in) ** 0.5
        )
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def _node(self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes) -> str:
        name = f"{op.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        self.shapes[name] = shape
        return name

    def _window(self, x: str, channels: int, k: int, s: int, p: int) -> tuple[int, ...]:
        n, _, h, w = self.shapes[x]
        return n, channels, (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1

    def conv(self, x, channels, k, s=1, p=0, groups=1, relu=True) -> str:
        depth = self.shapes[x][1] // groups
        kernel = self._weight((channels, depth, k, k), depth * k * k)
        bias = self._weight((channels,), 100)
        shape = self._window(x, channels, k, s, p)
        out = self._node(
            "Conv",
            [x, kernel, bias],
            shape,
            kernel_shape=[k, k],
            strides=[s, s],
            pads=[p] * 4,
            group=groups,
        )
        return self.relu(out) if relu else out

    def depthwise(self, x, k, s=1, p=0) -> str:
        channels = self.shapes[x][1]
        return self.conv(x, channels, k, s, p, groups=channels)

    def dense(self, x, units, relu=True) -> str:
        n, width = self.shapes[x]
        weight, bias = self._weight((units, width), width), self._weight((units,), 100)
        out = self._node("Gemm", [x, weight, bias], (n, units), transB=1)
        return self.relu(out) if relu else out

    def relu(self, x) -> str:
        return self._node("Relu", [x], self.shapes[x])

    def add(self, a, b) -> str:
        return self._node("Add", [a, b], self.shapes[a])

    def max_pool(self, x, k, s, p=0) -> str:
        shape = self._window(x, self.shapes[x][1], k, s, p)
        return self._node("MaxPool", [x], shape, kernel_shape=[k, k], strides=[s, s], pads=[p] * 4)

    def global_pool(self, x) -> str:
        n, c, _, _ = self.shapes[x]
        return self.flatten(self._node("GlobalAveragePool", [x], (n, c, 1, 1)))

    def flatten(self, x) -> str:
        n, *rest = self.shapes[x]
        return self._node("Flatten", [x], (n, int(np.prod(rest))))

    def model(self, output: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info("data", TensorProto.FLOAT, self._input_shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, self.shapes[output])],
            self._weights,
        )
        opset = helper.make_opsetid("", 17)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def alexnet(seed: int) -> onnx.ModelProto:
    g = _Graph(seed, (1, 3, 224, 224))
    x = g.max_pool(g.conv("data", 64, 11, 4, 2), 3, 2)
    x = g.max_pool(g.conv(x, 192, 5, 1, 2), 3, 2)
    x = g.conv(g.conv(g.conv(x, 384, 3, 1, 1), 256, 3, 1, 1), 256, 3, 1, 1)
    x = g.flatten(g.max_pool(x, 3, 2))
    return g.model(g.dense(g.dense(g.dense(x, 4096), 4096), 1000, relu=False))


def vgg16(seed: int) -> onnx.ModelProto:
    g = _Graph(seed, (1, 3, 224, 224))
    x = "data"
    for channels, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            x = g.conv(x, channels, 3, 1, 1)
        x = g.max_pool(x, 2, 2)
    x = g.flatten(x)
    return g.model(g.dense(g.dense(g.dense(x, 4096), 4096), 1000, relu=False))


def resnet18(seed: int) -> onnx.ModelProto:
    g = _Graph(seed, (1, 3, 224, 224))
    x = g.max_pool(g.conv("data", 64, 7, 2, 3), 3, 2, 1)
    for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for s in (stride, 1):
            shortcut = x if s == 1 else g.conv(x, channels, 1, s, relu=False)
            y = g.conv(g.conv(x, channels, 3, s, 1), channels, 3, 1, 1, relu=False)
            x = g.relu(g.add(y, shortcut))
    return g.model(g.dense(g.global_pool(x), 1000, relu=False))


def mobilenet_v1(seed: int) -> onnx.ModelProto:
    g = _Graph(seed, (1, 3, 224, 224))
    x = g.conv("data", 32, 3, 2, 1)
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
    for channels, stride in [*plan, (1024, 2), (1024, 1)]:
        x = g.conv(g.depthwise(x, 3, stride, 1), channels, 1)
    return g.model(g.dense(g.global_pool(x), 1000, relu=False))


def tiny(seed: int) -> onnx.ModelProto:
    """One layer of each kind, in milliseconds: for tests and first steps."""
    g = _Graph(seed, (1, 3, 32, 32))
    x = g.conv("data", 16, 3, 2, 1)
    y = g.conv(g.depthwise(x, 3, 1, 1), 16, 1, relu=False)
    x = g.max_pool(g.relu(g.add(y, x)), 2, 2)
    return g.model(g.dense(g.global_pool(x), 10, relu=False))


NETWORKS: dict[str, Callable[[int], onnx.ModelProto]] = {
    f.__name__: f for f in (alexnet, vgg16, resnet18, mobilenet_v1, tiny)
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer as a network of its own, with bias and ReLU: what histories are made of.

    Args:
        kind: ``conv2d``, ``depthwise_conv2d`` or ``dense``.
        size: input height and width (1 for dense).
        inputs, outputs: channels or units (equal for depthwise).
        kernel, stride, pad: of the window (1, 1, 0 for dense).
    """

    kind: str
    size: int
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    pad: int = 0

    @property
    def name(self) -> str:
        window = f"_k{self.kernel}s{self.stride}p{self.pad}" if self.kind != "dense" else ""
        return f"{self.kind}_{self.size}x{self.inputs}x{self.outputs}{window}"

    def model(self, seed: int) -> onnx.ModelProto:
        if self.kind == "dense":
            g = _Graph(seed, (1, self.inputs))
            return g.model(g.dense("data", self.outputs))
        g = _Graph(seed, (1, self.inputs, self.size, self.size))
        if self.kind == "depthwise_conv2d":
            return g.model(g.depthwise("data", self.kernel, self.stride, self.pad))
        return g.model(g.conv("data", self.outputs, self.kernel, self.stride, self.pad))


def conv(
    size: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, pad: int | None = None
) -> Layer:
    """A convolution; without ``pad`` such that a stride of 1 keeps the size."""
    return Layer(
        "conv2d", size, inputs, outputs, kernel, stride, kernel // 2 if pad is None else pad
    )


def depthwise(size: int, channels: int, kernel: int = 3, stride: int = 1) -> Layer:
    """A depthwise convolution, padded such that a stride of 1 keeps the size."""
    return Layer("depthwise_conv2d", size, channels, channels, kernel, stride, kernel // 2)


def dense(inputs: int, outputs: int) -> Layer:
    """A dense layer."""
    return Layer("dense", 1, inputs, outputs)


def load(
    name: str,
    seed: int,
    path: str | None = None,
    *,
    shapes: Mapping[Any, Any] | None = None,
    inputs: str | None = None,
) -> Network:
    """The network called ``name``, or the ONNX file at ``path``.

    Args:
        name, path: what to read.
        seed: of the weights of the first, and of inputs that are drawn.
        shapes: extents of the inputs, see `dgtl.tvm.workload.onnx_shapes.fix_shapes`.
        inputs: npz file with values for them; None: seeded random ones.

    Raises:
        ValueError: no such network, a file that is no ONNX model or cannot be imported, shapes or
            inputs that do not fit.
    """
    if path is None and name not in NETWORKS:
        raise ValueError(f"unknown workload '{name}': choose from {', '.join(NETWORKS)}")
    model = NETWORKS[name](seed) if path is None else read_model(Path(path))
    file = None if inputs is None else Path(inputs)
    return import_model(model, shapes=shapes, inputs=file, seed=seed)


def of_config(workload: Mapping[str, Any]) -> Network:
    """The network that the ``workload`` part of a configuration names; of older ones too.

    Raises:
        ValueError: as of `load`.
    """
    later = {name: workload.get(name) for name in ("shapes", "inputs")}
    return load(workload["name"], workload["seed"], workload["path"], **later)
