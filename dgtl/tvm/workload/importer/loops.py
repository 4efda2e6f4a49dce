"""Loops and scans of a known length, written out step by step.

Exporters make them of what goes over a list in the model's own program: parts of a split, levels of
a pyramid; those of TensorFlow of recurrent layers, which count their steps themselves.
https://onnx.ai/onnx/operators, Loop and Scan.
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
    inferred,
    numbers,
    opset_of,
    reads,
    renamed,
    replaced,
    shapes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MOST = 10_000
"""Nodes that a loop may become; a longer one is left."""


def unrolled(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without loops and scans, as far as their lengths are known.

    The model itself where there is none. Loops within loops are written out once those are.
    """
    if opset_of(model) < AXES_ARE_INPUTS or not any(
        node.op_type in ("Loop", "Scan") for node in model.graph.node
    ):
        return model
    constants = numbers(model)
    scans = any(node.op_type == "Scan" for node in model.graph.node)
    extents = shapes(inferred(model)) if scans else {}

    def write(node: onnx.NodeProto) -> Writer | None:
        if node.op_type == "Scan" and node.domain in OWN:
            return _scanned(node, extents)
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
    """The nodes of all steps of a loop, the results under the names that it gives them."""
    body = attributes_of(node)["body"]
    writer = Writer(next(filter(None, node.output)))
    # Inputs of the body are step, condition and what is carried on; its outputs the latter two, and
    # what is collected of every step.
    carried = list(node.input[2:])
    n = len(carried)
    collected: list[list[str]] = []
    condition = writer.constant(np.array(True))
    for step in range(steps):
        number = writer.constant(np.full(_shape(body.input[0]), step))
        _, *results = _step(writer, body, [number, condition, *carried], step)
        carried, rows = results[:n], results[n:]
        collected.append(rows)
    _results(writer, node, carried, [(rows, 0) for rows in zip(*collected, strict=True)])
    return writer


def _scanned(node: onnx.NodeProto, extents: Mapping[str, tuple[int, ...]]) -> Writer | None:
    """The same of a Scan, which goes over the parts of tensors; None where they are not known."""
    given = attributes_of(node)
    if not all(node.input):
        return None  # up to operator set 8 lengths come first, and all is of batches
    body, m = given["body"], given["num_scan_inputs"]
    carried, parts = list(node.input[:-m]), node.input[-m:]
    n, k = len(carried), len(node.output) - len(carried)
    axes, backwards = (
        given.get(name) or [0] * m for name in ("scan_input_axes", "scan_input_directions")
    )
    of_results, prepended = (
        given.get(name) or [0] * k for name in ("scan_output_axes", "scan_output_directions")
    )
    shape = extents.get(parts[0], ())
    steps = shape[axes[0]] if -len(shape) <= axes[0] < len(shape) else 0
    if not 0 < steps * len(body.node) <= MOST:
        return None
    writer = Writer(next(filter(None, node.output)))
    collected: list[list[str]] = []
    for step in range(steps):
        slices = []
        for x, axis, back in zip(parts, axes, backwards, strict=True):
            place = writer.constant(np.array(steps - 1 - step if back else step))
            slices.append(writer.op("Gather", x, place, axis=axis))
        results = _step(writer, body, [*carried, *slices], step)
        carried, rows = results[:n], results[n:]
        collected.append(rows)
    columns = zip(zip(*collected, strict=True), of_results, prepended, strict=True)
    rows_of = [(rows[::-1] if first else rows, axis) for rows, axis, first in columns]
    _results(writer, node, carried, rows_of)
    return writer


def _step(writer: Writer, body: onnx.GraphProto, values: Sequence[str], step: int) -> list[str]:
    """Writes a body once for these inputs; the names of its results."""
    names = dict(zip((value.name for value in body.input), values, strict=True))
    own = renamed(body, names, f"{writer.stem}/{step}/")
    writer.nodes += own.node
    writer.weights += own.initializer
    return [names.get(value.name, value.name) for value in body.output]


def _results(
    writer: Writer,
    node: onnx.NodeProto,
    carried: Sequence[str],
    collected: Sequence[tuple[Sequence[str], int]],
) -> None:
    """Gives the results their names: what was carried last, and what all steps gave, by axis."""
    for name, value in zip(node.output, carried, strict=False):
        if name:
            writer.op("Identity", value, name=name)
    for name, (values, axis) in zip(node.output[len(carried) :], collected, strict=False):
        if name:
            place = writer.constant([axis])
            rows = [writer.op("Unsqueeze", value, place) for value in values]
            writer.op("Concat", *rows, name=name, axis=axis)
