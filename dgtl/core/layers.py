"""What a layer is, read from what its loops do and not from how they are called.

A loop over the output that the weight does not know is a pixel if it slides with a reduction, and a
row of the batch if not. The image is the output's, since that is what the loops run over.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dgtl.core.records import Access, Axis


@dataclasses.dataclass(frozen=True)
class LayerShape:
    """A product of two tensors as a layer; extents per dimension of the window.

    Args:
        kernel, image, stride, dilation: of the window, the image being the output's; empty for
            matrix products.
        batch: images or rows.
        inputs, outputs: channels or columns, of all groups.
        groups: independent products beside each other.
        constant: whether the second tensor is a weight.
    """

    kernel: tuple[int, ...]
    image: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    batch: int
    inputs: int
    outputs: int
    groups: int
    constant: bool

    @property
    def depthwise(self) -> bool:
        """Whether every input channel is convolved by itself."""
        return bool(self.kernel) and self.groups == self.inputs > 1

    @property
    def kind(self) -> str:
        """``conv2d``, ``depthwise_conv1d``, ``grouped_conv2d``, ``dense``, ``batch_matmul``..."""
        if self.kernel:
            grouped = "grouped_" if self.groups > 1 else ""
            return f"{'depthwise_' if self.depthwise else grouped}conv{len(self.kernel)}d"
        if self.groups > 1:
            return "batch_matmul"
        return "dense" if self.constant else "matmul"


def layer_shape(axes: Sequence[Axis], accesses: Sequence[Access]) -> LayerShape | None:
    """The layer that a main block computes; None if it is none of these."""
    if len(accesses) != 3 or not accesses[-1].write:
        return None
    data, weight = ({a for row in access.strides for a in _used(row)} for access in accesses[:2])
    spatial = [a for a, axis in enumerate(axes) if axis.kind == "S"]
    # Loops of one element are in no index; they are the batch of one.
    if any(a not in data | weight and axes[a].extent > 1 for a in spatial):
        return None

    def product(chosen: Iterable[int]) -> int:
        return math.prod(axes[a].extent for a in chosen)

    windows = [row for row in accesses[0].strides if _slides(row, axes, weight)]
    pixels = [next(a for a in _used(row) if axes[a].kind == "S") for row in windows]
    kernel = [next(a for a in _used(row) if axes[a].kind == "R") for row in windows]
    shared = [a for a in spatial if a in data & weight]
    summed = product(a for a, axis in enumerate(axes) if axis.kind == "R" and a not in kernel)
    outputs = product(a for a in spatial if a not in data) * product(shared)
    groups = product(shared)
    if windows:
        # Several output channels may belong to one group: the data says how many groups there are.
        groups = 1
        for extent, row in zip(accesses[0].shape, accesses[0].strides, strict=True):
            own = [a for a in _used(row) if a in shared]
            within = product(a for a in _used(row) if axes[a].kind == "R")
            groups *= min(extent // within, product(own)) if own else 1
    return LayerShape(
        kernel=tuple(axes[a].extent for a in kernel),
        image=tuple(axes[a].extent for a in pixels),
        stride=tuple(row[a] for row, a in zip(windows, pixels, strict=True)),
        dilation=tuple(row[a] for row, a in zip(windows, kernel, strict=True)),
        batch=product(a for a in spatial if a not in weight and a not in pixels),
        inputs=groups * summed,
        outputs=outputs,
        groups=groups,
        constant=accesses[1].constant,
    )


def _used(row: Sequence[int]) -> list[int]:
    return [a for a, coefficient in enumerate(row) if coefficient]


def _slides(row: Sequence[int], axes: Sequence[Axis], weight: set[int]) -> bool:
    """Whether an index of the data is a pixel plus a place in the kernel."""
    used = _used(row)
    outer = [a for a in used if axes[a].kind == "S" and a not in weight]
    inner = [a for a in used if axes[a].kind == "R" and a in weight]
    return len(used) == 2 and len(outer) == len(inner) == 1
