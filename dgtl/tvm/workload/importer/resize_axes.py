"""Resizes that say scales and sizes of some axes, or keep the ratio of the sides, made plain.

Neither TVM nor onnxslim heeds these attributes: all is said of all axes, before anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dgtl.tvm.workload.importer.graph import OWN, attributes_of, shapes, with_nodes

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
    wanted = [
        node
        for node in model.graph.node
        if node.op_type == "Resize" and node.domain in OWN and of_parts(attributes_of(node))
    ]
    if not wanted:
        return model
    inferred = onnx.shape_inference.infer_shapes(model)
    writer = _Writer(shapes(inferred), {w.name: w for w in model.graph.initializer})
    for node in model.graph.node:
        if node in wanted:
            writer.write(node)
        else:
            writer.nodes.append(node)
    return with_nodes(model, writer.nodes, writer.weights)


class _Writer:
    """The nodes and weights of a model with plain resizes."""

    def __init__(self, lengths: dict[str, tuple[int, ...]], constants: dict[str, onnx.TensorProto]):
        self.lengths = lengths
        self.constants = {name: numpy_helper.to_array(w) for name, w in constants.items()}
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def write(self, node: onnx.NodeProto) -> None:
        given, before = attributes_of(node), self.lengths.get(node.input[0], ())
        inputs, rank = [*node.input, "", "", ""][: SIZES + 1], len(before)
        axes = [axis % rank for axis in given.pop("axes", range(rank)) if rank]
        policy = given.pop("keep_aspect_ratio_policy", b"stretch")
        kept = None
        if policy != b"stretch" and axes and not self._is_given(inputs[SCALES]):
            kept = self._kept(inputs[SIZES], [before[axis] for axis in axes], policy)
            inputs[SIZES] = "" if kept is None else self._constant(kept, f"{node.output[0]}_kept")
        if not axes or (policy != b"stretch" and kept is None):
            self.nodes.append(node)
            return
        for i, name in enumerate(inputs):
            if i and self._is_given(name) and axes != list(range(rank)):
                inputs[i] = self._of_all(node, i, name, axes, rank)
        self.nodes.append(helper.make_node("Resize", inputs, node.output, node.name, **given))

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

    def _of_all(self, node: onnx.NodeProto, i: int, name: str, axes: list[int], rank: int) -> str:
        """What an input says of some axes, after what holds by default, put into their places."""
        stem = f"{node.output[0]}_{i}"
        copies = 2 if i == ROI else 1  # begins, then ends
        if i == SIZES:
            default = f"{stem}_default"
            self.nodes.append(helper.make_node("Shape", [node.input[0]], [default], default))
        elif i == SCALES:
            default = self._constant(np.ones(rank, np.float32), f"{stem}_default")
        else:
            ends = np.repeat(np.array([0, 1], np.float32), rank)
            default = self._constant(ends, f"{stem}_default")
        places = np.arange(copies * rank).reshape(copies, rank)
        said = np.arange(copies * len(axes)).reshape(copies, -1)
        places[:, axes] = said + copies * rank
        where = self._constant(places.ravel(), f"{stem}_places")
        full, result = f"{stem}_full", f"{stem}_all"
        self.nodes.append(helper.make_node("Concat", [default, name], [full], full, axis=0))
        self.nodes.append(helper.make_node("Gather", [full, where], [result], result, axis=0))
        return result

    def _constant(self, value: NDArray[Any], name: str) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name
