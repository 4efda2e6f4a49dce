"""ONNX graphs: what is in them, and one way to write what can be written in several."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import ArrayLike, NDArray

OWN = ("", "ai.onnx")
"""The names of ONNX's own domain."""

LARGE = 1024
"""Elements of a weight from which on it says nothing of shapes."""

AXES_ARE_INPUTS = 13
"""Operator set from which on operators take axes as inputs, as they are written out here."""

OPTIONAL_SCALES = 13
"""Operator set from which on a Resize need not have scales; before, empty ones say so."""

IR = 8
"""Version of the format; from 4 on weights need not be inputs too."""


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators in a model; 1 where it names none, as the first files did."""
    return next((o.version for o in model.opset_import if o.domain in OWN), 1)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all that its nodes hold."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from graphs(inner)


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What is fed to a model: its inputs without those that are weights."""
    weights = {w.name for w in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def reads(node: onnx.NodeProto) -> list[str]:
    """Names that a node, or what it holds, reads."""
    inner = [
        name
        for attribute in node.attribute
        if attribute.HasField("g")
        for graph in graphs(attribute.g)
        for held in graph.node
        for name in held.input
    ]
    return [name for name in (*node.input, *inner) if name]


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """What a node says of itself, by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def in_training(node: onnx.NodeProto) -> bool:
    """Whether a node normalises by what it is given now, and tells its statistics."""
    return node.op_type == "BatchNormalization" and bool(attributes_of(node).get("training_mode"))


def title(node: onnx.NodeProto) -> str:
    """Name of a node for people, with its operator."""
    return f"{node.name} ({node.op_type})"


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shape of every value of which the model tells it; 0 for an extent that is open."""
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    found = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in values
        if v.type.tensor_type.HasField("shape")
    }
    return found | {w.name: tuple(w.dims) for w in model.graph.initializer}


def numbers(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """The weights of one element each, by name."""
    return {
        weight.name: numpy_helper.to_array(weight)
        for weight in model.graph.initializer
        if math.prod(weight.dims) == 1
    }


def hollow(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, quick to copy: of large weights the shapes alone, and no shapes in between."""
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    for field in ("name", "node", "input", "output"):
        part = onnx.GraphProto(**{field: getattr(model.graph, field)})
        light.graph.MergeFrom(part)
    light.graph.initializer.extend(map(hollow_weight, model.graph.initializer))
    return light


def hollow_weight(weight: onnx.TensorProto) -> onnx.TensorProto:
    """A weight, without its values if it is large."""
    if math.prod(weight.dims) <= LARGE:
        return weight
    return onnx.TensorProto(name=weight.name, dims=weight.dims, data_type=weight.data_type)


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that follow from those of its inputs."""
    found = onnx.shape_inference.infer_shapes(hollow(model)).graph
    result = with_nodes(model, model.graph.node)
    for field in ("value_info", "output"):
        result.graph.ClearField(field)
        getattr(result.graph, field).extend(getattr(found, field))
    return result


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Type of the elements of every value of which the model tells it, as ONNX counts types."""
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def with_nodes(
    model: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    weights: Iterable[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """The model with other nodes, and with more weights."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(weights)
    return result


class Writer:
    """Nodes that take another's place, with their weights.

    Args:
        stem: how names of new values and nodes begin: the name of a value of the model, or what
            occurs in it as little.
    """

    def __init__(self, stem: str):
        self.stem = stem
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Appends a node; the name of its result, a new one if None is given."""
        result = name or f"{self.stem}/v{len(self.nodes)}"
        title = f"{self.stem}/{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [result], title, **attributes))
        return result

    def constant(self, value: ArrayLike, name: str | None = None) -> str:
        """Appends a weight; its name, a new one if None is given."""
        name = name or f"{self.stem}/c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def replaced(
    model: onnx.ModelProto, write: Callable[[onnx.NodeProto], Writer | None]
) -> onnx.ModelProto:
    """The model with others in place of some nodes, without inferred shapes.

    Args:
        model: any.
        write: says what takes a node's place; None: it stays.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    for node in model.graph.node:
        writer = write(node)
        nodes += [node] if writer is None else writer.nodes
        weights += [] if writer is None else writer.weights
    result = with_nodes(model, nodes, weights)
    del result.graph.value_info[:]
    return result


def renamed(graph: onnx.GraphProto, names: dict[str, str], prefix: str) -> onnx.GraphProto:
    """A copy of a graph with names of its own.

    Args:
        graph: of a node.
        names: new names by old ones, to which those of all that the graph makes are added.
        prefix: of new names.
    """
    result = onnx.GraphProto()
    result.CopyFrom(graph)
    made = [*(weight.name for weight in graph.initializer)]
    made += (name for node in graph.node for name in node.output if name)
    names |= {name: prefix + name for name in made}
    for weight in result.initializer:
        weight.name = names[weight.name]
    for node in result.node:
        node.name = prefix + node.name
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                within = {**names, **{v.name: prefix + v.name for v in attribute.g.input}}
                attribute.g.CopyFrom(renamed(attribute.g, within, prefix))
    for value in (*result.input, *result.output):
        value.name = names.get(value.name, value.name)
    return result


def normal_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with weights as initializers alone, and shapes that are known as weights.

    Weights may be listed among the inputs (all are in files before version 4 of the format), and
    be nodes; what is an output too stays a node. Nodes without a name get that of their result;
    outputs that they need not have, and nothing reads, are left out, as are empty scales and sizes
    of a Resize, which say that there are none.
    """
    inputs = graph_inputs(model)
    outputs = {output.name for output in model.graph.output}
    known = shapes(model)
    nodes, weights = [], []
    for node in model.graph.node:
        value = _constant(node, known) if node.domain in OWN else None
        if value is None:
            nodes.append(node)
        elif node.output[0] in outputs:
            tensor = numpy_helper.from_array(value)
            nodes.append(helper.make_node("Constant", [], node.output, node.name, value=tensor))
        else:
            weights.append(numpy_helper.from_array(value, node.output[0]))
    result = with_nodes(model, nodes, weights)
    result.ir_version = max(result.ir_version, IR)
    del result.graph.input[:]
    result.graph.input.extend(inputs)
    used = {name for node in nodes for name in reads(node)} | outputs
    empty = {w.name for w in result.graph.initializer if 0 in w.dims}
    for node in result.graph.node:
        node.name = node.name or next(filter(None, node.output), "")
        if node.op_type == "Resize" and node.domain in OWN and opset_of(model) >= OPTIONAL_SCALES:
            node.input[:] = ["" if name in empty else name for name in node.input]
        while node.output and node.output[-1] not in used and _may_lack_the_last(node):
            del node.output[-1]
    return result


def _may_lack_the_last(node: onnx.NodeProto) -> bool:
    """Whether a node's last output is optional."""
    if node.domain not in OWN or not onnx.defs.has(node.op_type) or in_training(node):
        return False
    formal = onnx.defs.get_schema(node.op_type).outputs
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    return len(node.output) <= len(formal) and formal[len(node.output) - 1].option == optional


def _constant(node: onnx.NodeProto, known: dict[str, tuple[int, ...]]) -> np.ndarray | None:
    """The value of a node that is known without computing; None if it is not."""
    attributes = {a.name: a for a in node.attribute}
    if node.op_type == "Constant":
        for name, attribute in attributes.items():
            value = helper.get_attribute_value(attribute)
            if name == "value":
                return numpy_helper.to_array(value)
            if name in ("value_float", "value_floats"):
                return np.asarray(value, np.float32)
            if name in ("value_int", "value_ints"):
                return np.asarray(value, np.int64)
    if node.op_type == "Shape" and all(known.get(node.input[0], (0,))):
        begin = attributes["start"].i if "start" in attributes else None
        end = attributes["end"].i if "end" in attributes else None
        return np.asarray(known[node.input[0]][begin:end], np.int64)
    if node.op_type == "Size" and all(known.get(node.input[0], (0,))):
        return np.asarray(np.prod(known[node.input[0]]), np.int64)
    return None
