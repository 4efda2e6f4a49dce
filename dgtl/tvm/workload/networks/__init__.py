"""The networks as ONNX models with seeded random weights.

ONNX is the one way in: a user's own model, the built-in networks and single layers all take the
same road, and another runtime can time the very same network.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgtl.core.model_file import read_model
from dgtl.tvm.workload.importer.model import Network, import_model
from dgtl.tvm.workload.networks import classic, mobile, varied
from dgtl.tvm.workload.networks.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx


NETWORKS: dict[str, Callable[[int], onnx.ModelProto]] = {
    f.__name__: f
    for f in (
        classic.alexnet,
        classic.vgg16,
        classic.resnet18,
        mobile.mobilenet_v1,
        classic.tiny,
        classic.resnet50,
        classic.resnext_blocks,
        classic.squeezenet1_1,
        mobile.mobilenet_v2,
        mobile.mobilenet_v3_large,
        mobile.efficientnet_b0,
        mobile.shufflenet_v2_x1_0,
        varied.yolo_head,
        varied.unet,
        varied.transformer_encoder,
        varied.audio_conv1d,
    )
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer as a network of its own: what histories are made of. All but products have a bias
    and a ReLU.

    Args:
        kind: ``conv2d``, ``depthwise_conv2d``, ``dense`` or ``matmul``.
        size: input height and width (1 for dense); rows of a product.
        inputs, outputs: channels or units (equal for depthwise).
        kernel, stride, pad: of the window (1, 1, 0 for dense).
        batch: products side by side.
    """

    kind: str
    size: int
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    pad: int = 0
    batch: int = 1

    @property
    def name(self) -> str:
        name = f"{self.kind}_{self.size}x{self.inputs}x{self.outputs}"
        if self.kind == "matmul":
            return f"{name}_b{self.batch}"
        return name if self.kind == "dense" else f"{name}_k{self.kernel}s{self.stride}p{self.pad}"

    def model(self, seed: int) -> onnx.ModelProto:
        if self.kind == "matmul":
            g = Graph(seed, (self.batch, self.size, self.inputs))
            weight = g.weight((self.batch, self.inputs, self.outputs), self.inputs)
            return g.model(g.node("MatMul", "data", weight))
        if self.kind == "dense":
            g = Graph(seed, (1, self.inputs))
            return g.model(g.dense("data", self.outputs))
        g = Graph(seed, (1, self.inputs, self.size, self.size))
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


def products(m: int, size: int, inputs: int, outputs: int) -> Layer:
    """The matrix products of a 3x3 convolution by `dgtl.tvm.workload.winograd`."""
    return Layer("matmul", math.ceil(size / m) ** 2, inputs, outputs, batch=(m + 2) ** 2)


def load(
    name: str,
    seed: int,
    path: str | None = None,
    *,
    shapes: Mapping[Any, Any] | None = None,
    constants: Mapping[Any, Any] | None = None,
    inputs: str | None = None,
) -> Network:
    """The network called ``name``, or the ONNX file at ``path``.

    Args:
        name, path: what to read.
        seed: of the weights of the first, and of inputs that are drawn.
        shapes: extents of the inputs, see `dgtl.tvm.workload.importer.shapes.fix_shapes`.
        constants: values of inputs that are none any more, see
            `dgtl.tvm.workload.importer.inputs.with_constants`.
        inputs: npz file with values for the others; None: seeded random ones.

    Raises:
        ValueError: no such network, a file that is no ONNX model or cannot be imported, shapes,
            constants or inputs that do not fit.
    """
    if path is None and name not in NETWORKS:
        raise ValueError(f"unknown workload '{name}': choose from {', '.join(NETWORKS)}")
    model = NETWORKS[name](seed) if path is None else read_model(Path(path))
    file = None if inputs is None else Path(inputs)
    return import_model(model, shapes=shapes, constants=constants, inputs=file, seed=seed)


def of_config(workload: Mapping[str, Any]) -> Network:
    """The network that the ``workload`` part of a configuration names; of older ones too.

    Raises:
        ValueError: as of `load`.
    """
    later = {name: workload.get(name) for name in ("shapes", "constants", "inputs")}
    network = load(workload["name"], workload["seed"], workload["path"], **later)
    return dataclasses.replace(network, winograd=bool(workload.get("winograd", False)))
