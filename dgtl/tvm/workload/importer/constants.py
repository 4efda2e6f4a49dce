"""What a model computes of constants alone, computed before anything else looks at it.

Exporters leave in a file what follows from shapes and weights: padding worked out in a dozen
operators, weights that are normalised in every run, loops over lengths. Nothing else in the way to
TVM takes all of it away: onnxslim leaves some operators and all that hold graphs, and TVM compiles
every node that it folds, which takes minutes for a network of normalised weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from dgtl.tvm.workload.importer.graph import (
    graphs,
    hollow,
    hollow_weight,
    normal_form,
    reads,
    with_nodes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
"""Operators that give something else in every run."""

FATAL = 4
"""Of ONNX Runtime's levels of messages: what it cannot compute is an exception anyway."""

TENSOR = "tensor_type"


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without nodes that read nothing but weights; the model itself where there is none.

    Args:
        model: in normal form, with the shapes of its inputs fixed.

    Raises:
        Exception: ONNX Runtime cannot compute such a node.
    """
    values = {weight.name: weight for weight in model.graph.initializer}
    light, changed = hollow(model), False
    while True:
        known = normal_form(onnx.shape_inference.infer_shapes(light, data_prop=True))
        constant = _constant_nodes(known)
        # An output that is constant stays a node.
        new = [i for i in constant if known.graph.node[i].op_type != "Constant"]
        if not new and len(known.graph.node) == len(light.graph.node):
            break
        for weight in known.graph.initializer:
            values.setdefault(weight.name, weight)
        made = _computed(known, constant, values) if constant else {}
        values |= made
        light, changed = _with_weights(known, constant, made), True
    if not changed:
        return model
    weights = [values[weight.name] for weight in light.graph.initializer]
    del light.graph.initializer[:]
    light.graph.initializer.extend(weights)
    return light


def _constant_nodes(model: onnx.ModelProto) -> set[int]:
    """Places of nodes whose results are the same in every run; no sequences that others read."""
    nodes = list(model.graph.node)
    values = (*model.graph.value_info, *model.graph.output)
    kinds = {value.name: value.type.WhichOneof("value") for value in values}
    kept: set[int] = set()
    while True:
        known, constant = {w.name for w in model.graph.initializer}, set()
        for place, node in enumerate(nodes):
            if (
                place not in kept
                and node.op_type not in RANDOM
                and _read_from_outside(node) <= known
            ):
                constant.add(place)
                known.update(node.output)
        wanted = _read_by_others(model, constant)
        # No weight can be made of a sequence. Of some nodes ONNX does not know what they make.
        sequences = {name for name in wanted if (kinds.get(name) or TENSOR) != TENSOR}
        bad = {place for place in constant if sequences & set(nodes[place].output)}
        if not bad:
            return constant
        kept |= bad


def _computed(
    model: onnx.ModelProto, constant: set[int], values: Mapping[str, onnx.TensorProto]
) -> dict[str, onnx.TensorProto]:
    """What is read by others of the results of nodes, by name."""
    inside = [node for place, node in enumerate(model.graph.node) if place in constant]
    used = set().union(*map(_read_from_outside, inside))
    wanted = _read_by_others(model, constant)
    names = [name for node in inside for name in node.output if name in wanted]
    if not names:
        return {}
    graph = helper.make_graph(
        inside,
        "constants",
        [],
        [helper.make_empty_tensor_value_info(name) for name in names],
        [values[w.name] for w in model.graph.initializer if w.name in used],
    )
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        part.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = zip(names, session.run(names, {}), strict=True)
    return {name: numpy_helper.from_array(np.asarray(value), name) for name, value in found}


def _with_weights(
    model: onnx.ModelProto, constant: set[int], made: Mapping[str, onnx.TensorProto]
) -> onnx.ModelProto:
    """The model with weights in place of nodes; what is an output stays a node."""
    outputs = {output.name for output in model.graph.output}
    nodes = [
        helper.make_node("Constant", [], [name], name, value=made[name])
        for name in made
        if name in outputs
    ]
    nodes += (node for place, node in enumerate(model.graph.node) if place not in constant)
    weights = [hollow_weight(weight) for name, weight in made.items() if name not in outputs]
    result = with_nodes(model, nodes, weights)
    # A shape that was not known stands there by a name of its own, and would stay.
    del result.graph.value_info[:]
    return result


def _read_by_others(model: onnx.ModelProto, constant: set[int]) -> set[str]:
    """Names that the model's other nodes read, or that are its outputs."""
    others = (node for place, node in enumerate(model.graph.node) if place not in constant)
    outputs = {output.name for output in model.graph.output}
    return outputs.union(*map(_read_from_outside, others))


def _read_from_outside(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, without those that the graphs it holds make themselves."""
    own = {
        name
        for attribute in node.attribute
        if attribute.HasField("g")
        for graph in graphs(attribute.g)
        for name in (
            *(value.name for value in graph.input),
            *(weight.name for weight in graph.initializer),
            *(output for held in graph.node for output in held.output),
        )
    }
    return set(reads(node)) - own
