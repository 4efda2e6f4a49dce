"""What a person calls a layer: ``conv 3x3 64->64 56x56 s1``, ``dense 512->1000``."""

from __future__ import annotations

import collections
import re
from typing import TYPE_CHECKING

from dgtl.core.layers import LayerShape, layer_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgtl.core.records import Access, Axis, Task

CONV2D = re.compile(r"(depthwise_)?conv2d_(\d+(?:x\d+){6})((?:_[a-z]+\*\d+)*)")
"""Shape key of a convolution: batch, height, width, outputs, kernel, inputs; then its steps."""


def titles(tasks: Sequence[Task]) -> list[str]:
    """A name for each of several tasks, all different.

    Tasks of one title differ in their cores, which are said, or in padding, epilogue or template,
    which take too many words: these are numbered in the order of their keys, so that a task has
    the same number however the list is sorted.
    """
    names = [task.title for task in tasks]
    cores: dict[str, set[int]] = collections.defaultdict(set)
    for name, task in zip(names, tasks, strict=True):
        cores[name].add(task.hardware.num_cores)
    names = [
        name if len(cores[name]) == 1 else f"{name}, {_cores(task.hardware.num_cores)}"
        for name, task in zip(names, tasks, strict=True)
    ]
    keys: dict[str, list[str]] = collections.defaultdict(list)
    for key, name in sorted(zip((task.key for task in tasks), names, strict=True)):
        keys[name].append(key)
    return [
        name if len(keys[name]) == 1 else f"{name} #{keys[name].index(task.key) + 1}"
        for name, task in zip(names, tasks, strict=True)
    ]


def title_of(axes: Sequence[Axis], accesses: Sequence[Access]) -> str | None:
    """Title of what a main block computes; None if it is no layer that has a name."""
    layer = layer_shape(axes, accesses)
    if layer is None:
        return None
    if layer.kernel:
        return _conv(layer)
    if layer.kind == "dense":
        return f"dense {layer.inputs}->{layer.outputs}{_batch(layer.batch)}"
    columns, summed = layer.outputs // layer.groups, layer.inputs // layer.groups
    return f"matmul {layer.batch}x{columns}x{summed}{_batch(layer.groups)}"


def title_of_layer(shape_key: str) -> str | None:
    """Title of a Winograd convolution, known by the shape key of the direct one; None if not."""
    found = CONV2D.fullmatch(shape_key)
    if found is None:
        return None
    batch, height, width, outputs, *kernel, inputs = map(int, found[2].split("x"))
    steps = {name: int(n) for name, n in re.findall(r"([a-z]+)\*(\d+)", found[3])}
    groups = outputs if found[1] else 1
    layer = LayerShape(
        kernel=tuple(kernel),
        image=(height, width),
        stride=tuple(steps.get(axis, 1) for axis in ("yy", "xx")),
        dilation=tuple(steps.get(axis, 1) for axis in ("ry", "rx")),
        batch=batch,
        inputs=inputs * groups,
        outputs=outputs,
        groups=groups,
        constant=True,
    )
    return f"{_conv(layer)} winograd"


def _conv(layer: LayerShape) -> str:
    # One number for the kernel of a 1-D convolution would read as a number of channels.
    dimensions = "" if len(layer.kernel) == 2 else f"{len(layer.kernel)}d"
    same = layer.depthwise and layer.inputs == layer.outputs
    channels = f"{layer.outputs}" if same else f"{layer.inputs}->{layer.outputs}"
    name = f"{'depthwise' if layer.depthwise else 'conv'}{dimensions}"
    parts = [name, _extents(layer.kernel), channels]
    parts += [_extents(layer.image), f"s{_step(layer.stride)}"]
    # A window of one element is not dilated, whatever its step is said to be.
    steps = [d if k > 1 else 1 for d, k in zip(layer.dilation, layer.kernel, strict=True)]
    parts += [f"d{_step(steps)}"] if max(steps) > 1 else []
    parts += [f"groups {layer.groups}"] if layer.groups > 1 and not layer.depthwise else []
    return " ".join(parts) + _batch(layer.batch)


def _extents(extents: Sequence[int]) -> str:
    return "x".join(map(str, extents))


def _step(steps: Sequence[int]) -> str:
    return str(steps[0]) if len(set(steps)) == 1 else _extents(steps)


def _batch(batch: int) -> str:
    return f" batch {batch}" if batch > 1 else ""


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"
