"""What a person calls a layer: ``conv 3x3 64->64 56x56 s1``, ``dense 512->1000``.

Read from what the loops do, not from how they are called: a loop over the output that the weight
does not know is a pixel if it slides with a reduction, and a row of the batch if not. The image is
the output's, since that is what the loops run over.
"""

from __future__ import annotations

import collections
import math
import re
from typing import TYPE_CHECKING

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
    if len(accesses) != 3 or not accesses[-1].write:
        return None
    data, weight = ({a for row in access.strides for a in _used(row)} for access in accesses[:2])
    spatial = [a for a, axis in enumerate(axes) if axis.kind == "S"]
    if any(a not in data | weight for a in spatial):
        return None

    def product(chosen: Sequence[int]) -> int:
        return math.prod(axes[a].extent for a in chosen)

    windows = [row for row in accesses[0].strides if _slides(row, axes, weight)]
    pixels = [next(a for a in _used(row) if axes[a].kind == "S") for row in windows]
    kernel = [next(a for a in _used(row) if axes[a].kind == "R") for row in windows]
    rows = product([a for a in spatial if a not in weight and a not in pixels])
    columns = product([a for a in spatial if a not in data])
    groups = product([a for a in spatial if a in data & weight])
    summed = product([a for a, x in enumerate(axes) if x.kind == "R" and a not in kernel])
    if not windows:
        if accesses[1].constant and groups == 1:
            return f"dense {summed}->{columns}{_batch(rows)}"
        return f"matmul {rows}x{columns}x{summed}{_batch(groups)}"
    depthwise = summed == columns == 1 and groups > 1
    return _conv(
        kernel=[axes[a].extent for a in kernel],
        channels=str(groups) if depthwise else f"{groups * summed}->{groups * columns}",
        image=[axes[a].extent for a in pixels],
        stride=[row[a] for row, a in zip(windows, pixels, strict=True)],
        dilation=[row[a] for row, a in zip(windows, kernel, strict=True)],
        batch=rows,
        depthwise=depthwise,
        groups=1 if depthwise else groups,
    )


def title_of_layer(shape_key: str) -> str | None:
    """Title of a Winograd convolution, known by the shape key of the direct one; None if not."""
    found = CONV2D.fullmatch(shape_key)
    if found is None:
        return None
    batch, height, width, outputs, *kernel, inputs = map(int, found[2].split("x"))
    steps = {name: int(n) for name, n in re.findall(r"([a-z]+)\*(\d+)", found[3])}
    title = _conv(
        kernel=kernel,
        channels=str(outputs) if found[1] else f"{inputs}->{outputs}",
        image=[height, width],
        stride=[steps.get(axis, 1) for axis in ("yy", "xx")],
        dilation=[steps.get(axis, 1) for axis in ("ry", "rx")],
        batch=batch,
        depthwise=bool(found[1]),
        groups=1,
    )
    return f"{title} winograd"


def _conv(
    *,
    kernel: Sequence[int],
    channels: str,
    image: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    batch: int,
    depthwise: bool,
    groups: int,
) -> str:
    # One number for the kernel of a 1-D convolution would read as a number of channels.
    dimensions = "" if len(kernel) == 2 else f"{len(kernel)}d"
    parts = [f"{'depthwise' if depthwise else 'conv'}{dimensions}", _extents(kernel), channels]
    parts += [_extents(image), f"s{_step(stride)}"]
    # A window of one element is not dilated, whatever its step is said to be.
    steps = [d if k > 1 else 1 for d, k in zip(dilation, kernel, strict=True)]
    parts += [f"d{_step(steps)}"] if max(steps) > 1 else []
    parts += [f"groups {groups}"] if groups > 1 else []
    return " ".join(parts) + _batch(batch)


def _used(row: Sequence[int]) -> list[int]:
    return [a for a, coefficient in enumerate(row) if coefficient]


def _slides(row: Sequence[int], axes: Sequence[Axis], weight: set[int]) -> bool:
    """Whether an index of the data is a pixel plus a place in the kernel."""
    used = _used(row)
    outer = [a for a in used if axes[a].kind == "S" and a not in weight]
    inner = [a for a in used if axes[a].kind == "R" and a in weight]
    return len(used) == 2 and len(outer) == len(inner) == 1


def _extents(extents: Sequence[int]) -> str:
    return "x".join(map(str, extents))


def _step(steps: Sequence[int]) -> str:
    return str(steps[0]) if len(set(steps)) == 1 else _extents(steps)


def _batch(batch: int) -> str:
    return f" batch {batch}" if batch > 1 else ""


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"
