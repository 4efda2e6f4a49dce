"""Col2Im, which adds the columns that a sliding window read back into an image.

TVM does not have it: a transposed convolution by windows of a one is the same, and of windows that
do not overlap it is a reordering. Definition: https://onnx.ai/onnx/operators/onnx__Col2Im.html
"""

from __future__ import annotations

import math

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


def written_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without Col2Im of known shapes, the model itself where there is none."""
    if all(node.op_type != "Col2Im" for node in model.graph.node):
        return model
    known = shapes(inferred(model))
    constants = {w.name: w for w in model.graph.initializer}

    def write(node: onnx.NodeProto) -> Writer | None:
        if node.op_type != "Col2Im" or node.domain not in OWN:
            return None
        columns, given = known.get(node.input[0], (0,)), node.input[1:3]
        if not all(columns) or not all(name in constants for name in given):
            return None
        image, block = (numpy_helper.to_array(constants[name]).tolist() for name in given)
        return _image(node, columns, image, block)

    return replaced(model, write)


def _image(
    node: onnx.NodeProto, columns: tuple[int, ...], image: list[int], block: list[int]
) -> Writer:
    """An image [N, C, *image] of columns [N, C x block, places]."""
    n, attributes = len(image), attributes_of(node)
    strides, dilations = (attributes.get(name, [1] * n) for name in ("strides", "dilations"))
    pads = attributes.get("pads", [0] * (2 * n))
    ends = [d * (b - 1) + 1 for d, b in zip(dilations, block, strict=True)]
    room = [image[i] + pads[i] + pads[n + i] - ends[i] for i in range(n)]
    places = [room[i] // strides[i] + 1 for i in range(n)]
    channels = columns[1] // math.prod(block)
    writer = Writer(node.output[0])

    def reshaped(x: str, shape: list[int], name: str | None = None) -> str:
        return writer.op("Reshape", x, writer.constant(np.array(shape)), name=name)

    apart = strides == block and not any(pads) and set(dilations) == {1}
    if apart and [p * b for p, b in zip(places, block, strict=True)] == image:
        whole = reshaped(node.input[0], [columns[0], channels, *block, *places])
        order = [axis for i in range(n) for axis in (2 + n + i, 2 + i)]
        ordered = writer.op("Transpose", whole, perm=[0, 1, *order])
        reshaped(ordered, [columns[0], channels, *image], node.output[0])
        return writer
    ones = np.eye(math.prod(block), dtype=np.float32).reshape(-1, 1, *block)
    writer.op(
        "ConvTranspose",
        reshaped(node.input[0], [columns[0], columns[1], *places]),
        writer.constant(np.tile(ones, (channels, *[1] * (n + 1)))),
        name=node.output[0],
        group=channels,
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=[room[i] % strides[i] for i in range(n)],
    )
    return writer
