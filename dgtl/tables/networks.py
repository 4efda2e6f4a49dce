"""Layers of published networks, known by their shapes: so that a whole network can be left out.

A number for a network is to be one for layers of which nothing was learned from. So depthwise and
dense layers count as well, and layers at any batch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dgtl.core.records import Task

Layer = tuple[int, int, int, int, int]
"""A square convolution: input channels, output channels, kernel, stride, size of the output."""

NETWORKS: dict[str, dict[Layer, int]] = {
    # TVM's relay.testing variant: pre-activation, with a 1x1 shortcut in stage 1 as well.
    "resnet18": {
        **{(3, 64, 7, 2, 112): 1, (64, 64, 3, 1, 56): 4, (64, 64, 1, 1, 56): 1},
        **{(64, 128, 3, 2, 28): 1, (64, 128, 1, 2, 28): 1, (128, 128, 3, 1, 28): 3},
        **{(128, 256, 3, 2, 14): 1, (128, 256, 1, 2, 14): 1, (256, 256, 3, 1, 14): 3},
        **{(256, 512, 3, 2, 7): 1, (256, 512, 1, 2, 7): 1, (512, 512, 3, 1, 7): 3},
    },
    "vgg16": {
        **{(3, 64, 3, 1, 224): 1, (64, 64, 3, 1, 224): 1, (64, 128, 3, 1, 112): 1},
        **{(128, 128, 3, 1, 112): 1, (128, 256, 3, 1, 56): 1, (256, 256, 3, 1, 56): 2},
        **{(256, 512, 3, 1, 28): 1, (512, 512, 3, 1, 28): 2, (512, 512, 3, 1, 14): 3},
    },
    # Without its depthwise layers, which are of another kind.
    "mobilenet_v1": {
        **{(3, 32, 3, 2, 112): 1, (32, 64, 1, 1, 112): 1, (64, 128, 1, 1, 56): 1},
        **{(128, 128, 1, 1, 56): 1, (128, 256, 1, 1, 28): 1, (256, 256, 1, 1, 28): 1},
        **{(256, 512, 1, 1, 14): 1, (512, 512, 1, 1, 14): 5, (512, 1024, 1, 1, 7): 1},
        **{(1024, 1024, 1, 1, 7): 1},
    },
    # The first version, with the stride in the first 1x1 convolution of a block.
    "resnet50": {
        **{(3, 64, 7, 2, 112): 1, (64, 64, 1, 1, 56): 1, (64, 64, 3, 1, 56): 3},
        **{(64, 256, 1, 1, 56): 4, (256, 64, 1, 1, 56): 2, (256, 128, 1, 2, 28): 1},
        **{(128, 128, 3, 1, 28): 4, (128, 512, 1, 1, 28): 4, (256, 512, 1, 2, 28): 1},
        **{(512, 128, 1, 1, 28): 3, (512, 256, 1, 2, 14): 1, (256, 256, 3, 1, 14): 6},
        **{(256, 1024, 1, 1, 14): 6, (512, 1024, 1, 2, 14): 1, (1024, 256, 1, 1, 14): 5},
        **{(1024, 512, 1, 2, 7): 1, (512, 512, 3, 1, 7): 3, (512, 2048, 1, 1, 7): 3},
        **{(1024, 2048, 1, 2, 7): 1, (2048, 512, 1, 1, 7): 2},
    },
}
"""Distinct convolutions of networks, batch 1, 224 x 224, and how often a network runs each; a layer
may be of several networks. ResNet-18, VGG-16 and MobileNet-v1 as in TVM's ``relay.testing``."""

SQUARE = re.compile(r"conv2d_1x(\d+)x\1x(\d+)x(\d+)x\3x(\d+)(?:_yy\*(\d+)_xx\*\5)?")
"""Shape key of a square convolution of batch 1: output, channels, kernel, inputs, stride."""


def _convolutions(layers: Iterable[Layer]) -> set[str]:
    return {
        f"conv2d_{size}x{size}x{outputs}x{kernel}x{kernel}x{inputs}{_strided(stride)}"
        for inputs, outputs, kernel, stride, size in layers
    }


def _depthwise(layers: Iterable[tuple[int, int, int]]) -> set[str]:
    return {f"depthwise_conv2d_{size}x{size}x{c}x3x3x1{_strided(s)}" for size, c, s in layers}


def _dense(layers: Iterable[tuple[int, int]]) -> set[str]:
    return {f"dense_{outputs}x{inputs}" for inputs, outputs in layers}


def _strided(stride: int) -> str:
    return f"_yy*{stride}_xx*{stride}" if stride > 1 else ""


SHAPES: dict[str, set[str]] = {name: _convolutions(layers) for name, layers in NETWORKS.items()}
"""Shape keys without their batch of all layers that networks have, those of other kinds too."""

SHAPES["alexnet"] = _convolutions(
    {
        *((3, 64, 11, 4, 55), (64, 192, 5, 1, 27), (192, 384, 3, 1, 13), (384, 256, 3, 1, 13)),
        (256, 256, 3, 1, 13),
    }
) | _dense({(9216, 4096), (4096, 4096), (4096, 1000)})
SHAPES["vgg16"] |= _dense({(25088, 4096), (4096, 4096), (4096, 1000)})
SHAPES["resnet18"] |= _dense({(512, 1000)})
SHAPES["mobilenet_v1"] |= _dense({(1024, 1000)}) | _depthwise(
    {
        *((112, 32, 1), (56, 64, 2), (56, 128, 1), (28, 128, 2), (28, 256, 1), (14, 256, 2)),
        *((14, 512, 1), (7, 512, 2), (7, 1024, 1)),
    }
)
# Version 1.5, with the stride in the 3x3 convolution, and two layers as one log has them: named
# padded, run without.
SHAPES["resnet50"] |= _dense({(2048, 1000)}) | _convolutions(
    {
        *((256, 128, 1, 1, 56), (128, 128, 3, 2, 28), (512, 256, 1, 1, 28), (256, 256, 3, 2, 14)),
        *((1024, 512, 1, 1, 14), (512, 512, 3, 2, 7), (512, 256, 1, 1, 14)),
        *((64, 64, 3, 1, 54), (256, 256, 3, 1, 12)),
    }
)

OTHER = "other"
"""The network of what is in none of `SHAPES`; in the GTX 1650 logs that is Inception v3."""


def networks_of(task: Task) -> frozenset[str]:
    """Names of the networks that have a layer of a task's shape, at any batch; `OTHER` if none."""
    key = re.sub(r"_\d+x", "_", task.shape_key, count=1)
    found = frozenset(name for name, shapes in SHAPES.items() if key in shapes)
    return found or frozenset({OTHER})


def layer_of(task: Task) -> Layer | None:
    """The square convolution that a task is, batch 1; None for anything else."""
    found = SQUARE.fullmatch(task.shape_key)
    if found is None:
        return None
    size, outputs, kernel, inputs, stride = (int(n or 1) for n in found.groups())
    return inputs, outputs, kernel, stride, size


REPEATED_DEPTHWISE = {"depthwise_conv2d_14x14x512x3x3x1": 5}
"""Depthwise layers that MobileNet-v1 runs more than once."""


def weight_of(task: Task, network: str) -> int:
    """How often a network runs a layer; 1 where that is not known."""
    layer = layer_of(task)
    if layer in NETWORKS.get(network, {}):
        return NETWORKS[network][layer]
    key = re.sub(r"_\d+x", "_", task.shape_key, count=1)
    return REPEATED_DEPTHWISE.get(key, 1) if network == "mobilenet_v1" else 1
