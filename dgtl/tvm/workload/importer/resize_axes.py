"""Resizes that say scales and sizes of some axes, or keep the ratio of the sides, made plain.

Neither TVM nor onnxslim heeds these attributes: all is said of all axes, before anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from dgtl.tvm.workload.importer.graph import (
    OWN,
    Writer,
    attributes_of,
    inferred,
    replaced,
    shapes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROI, SCALES, SIZES = 1, 2, 3
"""Inputs of a resize after what is resized."""

WHOLE = 1e-4
"""How far a length may be from a whole one that is kept, in elements."""


def of_parts(attributes: dict[str, Any]) -> bool:
    """Whether scales and sizes are not those of all axes."""
    policy = attributes.get("keep_aspect_ratio_policy", b"stretch")
    return "axes" in attributes or policy != b"stretch"


def of_all_axes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with plain resizes, as far as ranks, and where a ratio is kept lengths, are known.

    What is not said of an axis is a scale of 1, its length, and all of it as the region.
    """
    if not any(map(_is_wanted, model.graph.node)):
        return model
    lengths = shapes(inferred(model))
    constants = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}

    def write(node: onnx.NodeProto) -> Writer | None:
        if not _is_wanted(node):
            return None
        return _Plain(node, lengths.get(node.input[0], ()), constants).written()

    return replaced(model, write)


def _is_wanted(node: onnx.NodeProto) -> bool:
    return node.op_type == "Resize" and node.domain in OWN and of_parts(attributes_of(node))


class _Plain:
    """One resize as it is made plain.

    Args:
        node: the resize.
        before: its input's shape; empty where that is not known.
        constants: values of the model's weights, by name.
    """

    def __init__(
        self, node: onnx.NodeProto, before: tuple[int, ...], constants: dict[str, NDArray[Any]]
    ):
        self.node, self.before, self.constants = node, before, constants
        self.writer = Writer(node.output[0])

    def written(self) -> Writer | None:
        """The nodes in its place; None where too little is known."""
        given, rank = attributes_of(self.node), len(self.before)
        inputs = [*self.node.input, "", "", ""][: SIZES + 1]
        axes = [axis % rank for axis in given.pop("axes", range(rank)) if rank]
        policy = given.pop("keep_aspect_ratio_policy", b"stretch")
        kept = None
        if policy != b"stretch" and axes and not self._is_given(inputs[SCALES]):
            kept = self._kept(inputs[SIZES], [self.before[axis] for axis in axes], policy)
            inputs[SIZES] = "" if kept is None else self.writer.constant(kept)
        if not axes or (policy != b"stretch" and kept is None):
            return None
        for i, name in enumerate(inputs):
            if i and self._is_given(name) and axes != list(range(rank)):
                inputs[i] = self._of_all(i, name, axes)
        self.writer.op("Resize", *inputs, name=self.node.output[0], **given)
        return self.writer

    def _is_given(self, name: str) -> bool:
        return bool(name) and self.constants.get(name, np.empty(1)).size > 0

    def _kept(self, sizes: str, before: list[int], policy: bytes) -> NDArray[Any] | None:
        """Lengths at the one scale that keeps the ratio, if they are known and it makes whole ones.

        Of others the last step is shorter than the scale says, which no sizes can say.
        """
        if sizes not in self.constants or not all(before):
            return None
        pick = np.min if policy == b"not_larger" else np.max
        lengths = np.array(before) * pick(self.constants[sizes] / np.array(before))
        whole = np.rint(lengths)
        return whole.astype(np.int64) if (abs(lengths - whole) < WHOLE).all() else None

    def _of_all(self, i: int, name: str, axes: list[int]) -> str:
        """What an input says of some axes, after what holds by default, put into their places."""
        rank = len(self.before)
        copies = 2 if i == ROI else 1  # begins, then ends
        if i == SIZES:
            default = self.writer.op("Shape", self.node.input[0])
        elif i == SCALES:
            default = self.writer.constant(np.ones(rank, np.float32))
        else:
            default = self.writer.constant(np.repeat(np.array([0, 1], np.float32), rank))
        places = np.arange(copies * rank).reshape(copies, rank)
        said = np.arange(copies * len(axes)).reshape(copies, -1)
        places[:, axes] = said + copies * rank
        full = self.writer.op("Concat", default, name, axis=0)
        return self.writer.op("Gather", full, self.writer.constant(places.ravel()), axis=0)
