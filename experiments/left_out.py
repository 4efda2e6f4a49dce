"""Networks left out one at a time: which recorded layers are of which network, at any batch.

`dgtl.tables.NETWORKS` names square convolutions of batch 1. Where whole networks are left out of a
history that holds depthwise and dense layers as well, or of GPU logs of batch 128, those count too:
a number for a network is then of layers of which nothing was learned from.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dgtl.tables import NETWORKS, Fold, layer_folds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dgtl.records import Task
    from dgtl.tables import Layer, Tables

MIN_ROWS = 16
"""Tasks of which fewer trials ran are learned from, not predicted: they cannot be ranked."""

KINDS = ("network", "layer")
"""What may be left out."""


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


LAYERS: dict[str, set[str]] = {name: _convolutions(layers) for name, layers in NETWORKS.items()}
"""Shape keys of networks' layers without their batch; 224 x 224."""

LAYERS["alexnet"] = _convolutions(
    {
        *((3, 64, 11, 4, 55), (64, 192, 5, 1, 27), (192, 384, 3, 1, 13), (384, 256, 3, 1, 13)),
        (256, 256, 3, 1, 13),
    }
) | _dense({(9216, 4096), (4096, 4096), (4096, 1000)})
LAYERS["vgg16"] |= _dense({(25088, 4096), (4096, 4096), (4096, 1000)})
LAYERS["resnet18"] |= _dense({(512, 1000)})
LAYERS["mobilenet_v1"] |= _dense({(1024, 1000)}) | _depthwise(
    {
        *((112, 32, 1), (56, 64, 2), (56, 128, 1), (28, 128, 2), (28, 256, 1), (14, 256, 2)),
        *((14, 512, 1), (7, 512, 2), (7, 1024, 1)),
    }
)
# Version 1.5, with the stride in the 3x3 convolution, and two layers as one log has them: named
# padded, run without.
LAYERS["resnet50"] |= _dense({(2048, 1000)}) | _convolutions(
    {
        *((256, 128, 1, 1, 56), (128, 128, 3, 2, 28), (512, 256, 1, 1, 28), (256, 256, 3, 2, 14)),
        *((1024, 512, 1, 1, 14), (512, 512, 3, 2, 7), (512, 256, 1, 1, 14)),
        *((64, 64, 3, 1, 54), (256, 256, 3, 1, 12)),
    }
)


def networks_of(task: Task) -> set[str]:
    """Names of the networks that have a layer of this shape, at any batch; empty if none has."""
    key = re.sub(r"_\d+x", "_", task.shape_key, count=1)
    return {name for name, layers in LAYERS.items() if key in layers}


def left_out(read: Tables, kinds: Iterable[str], folds: int) -> list[Fold]:
    """What is predicted from what: networks, then layers in folds.

    Args:
        read: all tables of one hardware.
        kinds: of `KINDS`.
        folds: into which all layers are dealt, whatever network they are of.

    Returns:
        Folds whose sources hold no shape of their targets, on any number of cores; a layer of
        several networks is a target of each. There is none for a network of which nothing was
        recorded, or nothing beside it, or only layers that it shares with one larger network.

    Raises:
        ValueError: nothing is left to predict.
    """
    targets = [table for table in read.tables if len(table.ok_trials) >= MIN_ROWS]
    found = []
    if "network" in kinds:
        keys = {n: {t.task.key for t in targets if n in networks_of(t.task)} for n in LAYERS}
        for name, own in keys.items():
            sources = tuple(t for t in read.tables if name not in networks_of(t.task))
            if own and sources and not any(own < other for other in keys.values()):
                found.append(Fold(name, tuple(t for t in targets if t.task.key in own), sources))
    if "layer" in kinds:
        found += layer_folds(read, targets, folds)
    if not found:
        raise ValueError(
            f"no layer of {', '.join(LAYERS)} was recorded: leave out layers (--leave-out layer), "
            "or add logs"
        )
    return found
