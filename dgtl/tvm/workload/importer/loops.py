"""Loops of a known length, written out step by step.

Exporters make them of what goes over a list in the model's own program: parts of a split, levels of
a pyramid. https://onnx.ai/onnx/operators, Loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from dgtl.tvm.workload.importer.graph import (
    AXES_ARE_INPUTS,
    OWN,
    Writer,
    attributes_of,
    numbers,
    opset_of,
    renamed,
    replaced,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MOST = 10_000
"""Nodes that a loop may become; a longer one is left."""


def unrolled(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without loops, as far as their lengths are known and nothing in them ends them.

    The model itself where there is none. Loops within loops are written out once those are.
    """
    if opset_of(model) < AXES_ARE_INPUTS or not any(
        node.op_type == "Loop" for node in model.graph.node
    ):
        return model
    constants = numbers(model)

    def write(node: onnx.NodeProto) -> Writer | None:
        steps = _steps(node, constants)
        return None if steps is None else _written(node, steps)

    return replaced(model, write)


def _steps(node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]]) -> int | None:
    """How many steps a loop has; None if that is not known, or too many or too few to write out."""
    if node.op_type != "Loop" or node.domain not in OWN or node.input[0] not in constants:
        return None
    steps, body = int(constants[node.input[0]].item()), attributes_of(node)["body"]
    if not 0 < steps * len(body.node) <= MOST:
        return None
    begins = not node.input[1] or bool(constants.get(node.input[1], False))
    return steps if begins and _goes_on(body, constants) else None


def _goes_on(body: onnx.GraphProto, constants: Mapping[str, NDArray[Any]]) -> bool:
    """Whether each step says that another one follows, as far as the loop's length is concerned."""
    known = {weight.name: numpy_helper.to_array(weight) for weight in body.initializer}
    producers = {name: node for node in body.node for name in node.output}
    name = body.output[0].name
    while name in producers and producers[name].op_type == "Identity":
        name = producers[name].input[0]
    if name == body.input[1].name:
        return True
    if name in producers and producers[name].op_type == "Constant":
        value = attributes_of(producers[name]).get("value")
        return value is not None and bool(numpy_helper.to_array(value))
    return bool({**constants, **known}.get(name, False))


def _written(node: onnx.NodeProto, steps: int) -> Writer:
    """The nodes of all steps, the results under the names that the loop gives them."""
    body = attributes_of(node)["body"]
    writer = Writer(next(filter(None, node.output)))
    carried = list(node.input[2:])
    # Inputs of the body are step, condition and what is carried on; its outputs the latter two, and
    # what is collected of every step.
    inputs = [value.name for value in body.input]
    outputs = [value.name for value in body.output][1:]
    collected: list[list[str]] = [[] for _ in outputs[len(carried) :]]
    condition = writer.constant(np.array(True))
    # A step is a number, or a vector of one, whichever the body takes.
    rank = len(body.input[0].type.tensor_type.shape.dim)
    for step in range(steps):
        number = writer.constant(np.full([1] * rank, step))
        names = dict(zip(inputs, [number, condition, *carried], strict=True))
        own = renamed(body, names, f"{writer.stem}/{step}/")
        writer.nodes += own.node
        writer.weights += own.initializer
        results = [names.get(name, name) for name in outputs]
        carried = results[: len(carried)]
        for values, name in zip(collected, results[len(carried) :], strict=True):
            values.append(name)
    for name, value in zip(node.output, carried, strict=False):
        if name:
            writer.op("Identity", value, name=name)
    axis = writer.constant([0])
    for name, values in zip(node.output[len(carried) :], collected, strict=False):
        if name:
            rows = [writer.op("Unsqueeze", value, axis) for value in values]
            writer.op("Concat", *rows, name=name, axis=0)
    return writer
