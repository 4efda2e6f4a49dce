"""Branches: the one that constants decide for, or both of which values pick one.

TVM's importer has no If. In ONNX a branch changes nothing outside of it, so that computing the
other one as well costs its time alone. https://onnx.ai/onnx/operators, If.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dgtl.tvm.workload.importer.graph import (
    AXES_ARE_INPUTS,
    OWN,
    Writer,
    attributes_of,
    graph_inputs,
    inferred,
    numbers,
    opset_of,
    reads,
    renamed,
    replaced,
    shapes,
)

if TYPE_CHECKING:
    import onnx


def settled(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model with the branches that constants decide for in place of their Ifs.

    The model itself where there is none. onnxslim does the same, but loses results of a branch that
    the branch itself reads.
    """
    constants = numbers(model)
    if not any(_is_if(node) and node.input[0] in constants for node in model.graph.node):
        return model

    def write(node: onnx.NodeProto) -> Writer | None:
        if not _is_if(node) or node.input[0] not in constants:
            return None
        writer = Writer(node.output[0])
        taken = "then_branch" if constants[node.input[0]].item() else "else_branch"
        for name, result in zip(node.output, _results(writer, node, taken), strict=True):
            writer.op("Identity", result, name=name)
        return writer

    return replaced(model, write)


def both(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that computes both branches of an If, where they give results of the same shapes.

    The model itself where there is none. An If within a branch is written out once that is.
    """
    if opset_of(model) < AXES_ARE_INPUTS or not any(map(_is_if, model.graph.node)):
        return model
    if selectors(model):
        return model  # the user is asked, for one branch takes less than two
    known = shapes(inferred(model))

    def write(node: onnx.NodeProto) -> Writer | None:
        # A result has a shape where both branches give it the same.
        same = all(all(known.get(name, (0,))) for name in node.output)
        return _picked(node) if _is_if(node) and same else None

    return replaced(model, write)


def _is_if(node: onnx.NodeProto) -> bool:
    return node.op_type == "If" and node.domain in OWN


def _picked(node: onnx.NodeProto) -> Writer:
    """The nodes of both branches, and the choice between their results."""
    writer = Writer(node.output[0])
    condition = writer.op("Squeeze", node.input[0])  # a scalar, or a vector of one
    results = [_results(writer, node, branch) for branch in ("then_branch", "else_branch")]
    for name, *either in zip(node.output, *results, strict=True):
        writer.op("Where", condition, *either, name=name)
    return writer


def _results(writer: Writer, node: onnx.NodeProto, branch: str) -> list[str]:
    """Appends the nodes of a branch; the names of its results."""
    own = renamed(attributes_of(node)[branch], {}, f"{writer.stem}/{branch}/")
    writer.nodes += own.node
    writer.weights += own.initializer
    return [value.name for value in own.output]


def selectors(model: onnx.ModelProto) -> list[str]:
    """Inputs of one element that say, and nothing else does, which branch of an If is taken."""
    makers = {output: node for node in model.graph.node for output in node.output}
    lengths = shapes(model)
    inputs = [value.name for value in graph_inputs(model)]
    found = set()
    for node in filter(_is_if, model.graph.node):
        seen, left = set(), [node.input[0]]
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                left += reads(makers[name]) if name in makers else []
        read = seen & set(inputs)
        if all(math.prod(lengths.get(name, (0,))) == 1 for name in read):
            found |= read
    return [name for name in inputs if name in found]
