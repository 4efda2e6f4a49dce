"""Loops of a known length, written out step by step.

Exporters make them of what goes over a list in the model's own program: parts of a split, levels of
a pyramid; those of TensorFlow of recurrent layers, which count their steps themselves.
https://onnx.ai/onnx/operators, Loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from dgtl.tvm.workload.importer.graph import (
    AXES_ARE_INPUTS,
    OWN,
    Writer,
    attributes_of,
    numbers,
    opset_of,
    reads,
    renamed,
    replaced,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MOST = 10_000
"""Nodes that a loop may become; a longer one is left."""


def unrolled(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without loops, as far as their lengths are known.

    The model itself where there is none. Loops within loops are written out once those are.
    """
    if opset_of(model) < AXES_ARE_INPUTS or not any(
        node.op_type == "Loop" for node in model.graph.node
    ):
        return model
    constants = numbers(model)

    def write(node: onnx.NodeProto) -> Writer | None:
        steps = _steps(node, constants, model.opset_import)
        return None if steps is None else _written(node, steps)

    return replaced(model, write)


def _steps(
    node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]], opsets: Sequence[Any]
) -> int | None:
    """How many steps a loop has; None if that is not known, or too many or too few to write out."""
    if node.op_type != "Loop" or node.domain not in OWN:
        return None
    if not all(name in constants for name in node.input[:2] if name):
        return None
    if node.input[1] and not constants[node.input[1]]:
        return None
    most = MOST // max(len(attributes_of(node)["body"].node), 1)
    limit = int(constants[node.input[0]].item()) if node.input[0] else most + 1
    steps = _counted(node, constants, min(limit, most + 1), opsets)
    return steps if steps is not None and 0 < steps <= most else None


def _counted(
    node: onnx.NodeProto,
    constants: Mapping[str, NDArray[Any]],
    limit: int,
    opsets: Sequence[Any],
) -> int | None:
    """Steps until a loop ends itself, at most ``limit``; None where values decide that.

    What says whether another step follows is computed step by step, where it depends on the step's
    number, on constants, and on what is carried on and depends on nothing else: on counters.
    """
    body = attributes_of(node)["body"]
    step, condition, *carried = (value.name for value in body.input)
    follows, *results = (value.name for value in body.output)
    after = dict(zip(carried, results, strict=False))
    counters = {
        name: constants[first]
        for name, first in zip(carried, node.input[2:], strict=True)
        if first in constants
    }
    weights = {w.name: w for w in body.initializer}
    given = {step, condition, *constants, *weights}
    while True:
        known = {*given, *counters}
        for inner in body.node:
            if all(name in known for name in reads(inner)):
                known |= set(inner.output)
        if counters.keys() == (left := {n for n in counters if after[n] in known}):
            break
        counters = {name: counters[name] for name in left}
    if follows not in known:
        return None
    wanted = [follows, *(after[name] for name in counters)]
    nodes: list[onnx.NodeProto] = []
    needed = set(wanted)
    for inner in reversed(body.node):
        if needed & set(inner.output):
            nodes.insert(0, inner)
            needed |= set(reads(inner))
    inputs = [helper.make_empty_tensor_value_info(n) for n in (step, condition, *counters)]
    outputs = [helper.make_empty_tensor_value_info(name) for name in wanted]
    fixed = [numpy_helper.from_array(constants[n], n) for n in constants.keys() & needed]
    fixed += (weights[name] for name in weights.keys() & needed)
    graph = helper.make_graph(nodes, "condition", inputs, outputs, fixed)
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets))
    names, values = [v.name for v in inputs[1:]], [np.array(True), *counters.values()]
    for number in range(limit):
        fed = {
            step: np.full(_shape(body.input[0]), number),
            **dict(zip(names, values, strict=True)),
        }
        values = [np.asarray(value) for value in evaluator.run(None, fed)]
        if not values[0].all():
            return number + 1
    return limit


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    """A step is a number, or a vector of one, whichever the body takes."""
    return [1] * len(value.type.tensor_type.shape.dim)


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
    for step in range(steps):
        number = writer.constant(np.full(_shape(body.input[0]), step))
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
