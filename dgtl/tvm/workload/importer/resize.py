"""Resizes that TVM computes otherwise than ONNX, written out as weighted sums of what is gathered.

TVM scales the last axes by the quotient of their lengths, without a filter. ONNX has scales that
leave a fraction of a step (half of 15), any axes, and a filter against aliasing.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from dgtl.tvm.workload.importer.graph import (
    OWN,
    Writer,
    attributes_of,
    element_types,
    inferred,
    opset_of,
    replaced,
    shapes,
)
from dgtl.tvm.workload.importer.resize_axes import of_parts
from dgtl.tvm.workload.importer.shapes import TYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEWEST = 19
"""The operator set from which on Resize is as it is now."""


@dataclasses.dataclass(frozen=True)
class _Resize:
    """A node with what is known of it: lengths before and after, and scales where it has them."""

    node: onnx.NodeProto
    before: tuple[int, ...]
    after: tuple[int, ...]
    scales: dict[int, float]
    attributes: dict[str, Any]

    @property
    def resized(self) -> list[int]:
        """Axes of which something changes."""
        changed = [
            i for i, (b, a) in enumerate(zip(self.before, self.after, strict=True)) if b != a
        ]
        return sorted({*changed, *(i for i, scale in self.scales.items() if scale != 1)})

    @property
    def like_tvm(self) -> bool:
        """Whether TVM computes it as ONNX does, given its sizes."""
        mode = self.attributes.get("coordinate_transformation_mode", b"half_pixel")
        return (
            len(self.before) in (3, 4, 5)
            and all(axis >= 2 for axis in self.resized)
            and all(
                math.isclose(scale * self.before[axis], self.after[axis], rel_tol=1e-6)
                for axis, scale in self.scales.items()
            )
            and not self.attributes.get("antialias")
            and mode != b"half_pixel_symmetric"
            and not (mode == b"align_corners" and 1 in self.after[2:])
        )


def written_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with those resizes in other operators that TVM computes otherwise than ONNX."""
    if not any(node.op_type == "Resize" for node in model.graph.node):
        return model
    model = inferred(model)
    lengths = shapes(model)
    constants = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    kinds = element_types(model)

    def write(node: onnx.NodeProto) -> Writer | None:
        found = _resize(node, lengths, constants)
        if found is None or found.like_tvm:
            return None
        dtype = np.dtype(TYPES.get(kinds.get(node.input[0], 0), "V"))
        return _by_axes(found, opset_of(model), dtype) if dtype.kind == "f" else None

    return replaced(model, write)


def _resize(
    node: onnx.NodeProto, lengths: dict[str, tuple[int, ...]], constants: dict[str, NDArray[Any]]
) -> _Resize | None:
    """What is known of a node; None where that is too little, or it cuts a region out."""
    if node.op_type != "Resize" or node.domain not in OWN:
        return None
    attributes = attributes_of(node)
    before, after = lengths.get(node.input[0], ()), lengths.get(node.output[0], ())
    if (
        not before
        or not all((*before, *after))
        or len(before) != len(after)
        or not any(constants.get(name, np.empty(0)).size for name in node.input[2:])
        or attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
        or of_parts(attributes)
    ):
        return None
    scales = constants.get(node.input[2], np.empty(0)).tolist()
    return _Resize(node, before, after, dict(enumerate(scales)), attributes)


def _by_axes(resize: _Resize, opset: int, dtype: np.dtype[Any]) -> Writer:
    """One axis after the other; of each a product for every row that counts."""
    writer = Writer(resize.node.output[0])
    last = resize.node.input[0]
    rank = len(resize.before)
    for axis in resize.resized:
        parts = []
        for rows, factors in zip(*_taps(resize, axis, opset), strict=True):
            part = writer.op("Gather", last, writer.constant(rows), axis=axis)
            if (factors != 1).any():
                column = factors.reshape([-1, *[1] * (rank - axis - 1)])
                part = writer.op("Mul", part, writer.constant(column.astype(dtype)))
            parts.append(part)
        last = functools.reduce(lambda total, part: writer.op("Add", total, part), parts)
    writer.op("Identity", last, name=resize.node.output[0])
    return writer


def _taps(resize: _Resize, axis: int, opset: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Which rows [taps, length after] count along an axis, and by how much.

    ONNX Runtime says: a row of it is what it makes of a line that is one there and zero elsewhere.
    """
    n = resize.before[axis]
    scales, sizes = "", "sizes"
    value = np.array([1, 1, n, resize.after[axis]])
    if axis in resize.scales:
        scales, sizes = "scales", ""
        value = np.array([1, 1, 1, resize.scales[axis]], np.float32)
    node = helper.make_node("Resize", ["x", "", scales, sizes], ["y"], **resize.attributes)
    graph = helper.make_graph(
        [node],
        "lines",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, n, n])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(value, scales or sizes)],
    )
    sets = [helper.make_opsetid("", min(opset, NEWEST))]
    model = helper.make_model(graph, opset_imports=sets, ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    lines = session.run(None, {"x": np.eye(n, dtype=np.float32)[None, None]})[0][0, 0]
    taps = int((lines != 0).sum(0).max())
    rows = np.sort(np.argsort(lines == 0, axis=0, kind="stable")[:taps], axis=0)
    return rows, np.take_along_axis(lines, rows, axis=0)
