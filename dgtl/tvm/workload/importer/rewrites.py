"""Operators that TVM has not, or not in full, written out in others that it has.

What ONNX itself defines by other operators (its functions) is inlined; loops and recurrent layers
are unrolled (`loops`, `recurrent`), sequences taken apart (`sequences`), Fourier transforms are
products (`spectra`), some resizes sums (`resize`), and what ONNX Runtime's tools leave is undone
(`contrib`, `quantized`): modules beside this one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper, version_converter

from dgtl.tvm.workload.importer import (
    branches,
    columns,
    loops,
    recurrent,
    resize,
    resize_axes,
    sequences,
    spectra,
)
from dgtl.tvm.workload.importer.contrib import MICROSOFT
from dgtl.tvm.workload.importer.converters import converter_map
from dgtl.tvm.workload.importer.graph import (
    OWN,
    Writer,
    attributes_of,
    graphs,
    in_training,
    inferred,
    normal_form,
    opset_of,
    replaced,
    shapes,
    with_nodes,
)

if TYPE_CHECKING:
    from collections.abc import Collection

OPSET_AT_LEAST, OPSET = 13, 17
"""Models of an older operator set than the first are converted to the second: from 13 on axes are
inputs and Softmax is of one axis, as TVM has them."""

DOMAINS: dict[str, tuple[str, ...]] = {"Attention": (), "MatMulInteger16": (MICROSOFT,)}
"""Whose operators TVM's are, where not ONNX's own: it looks at the name alone. Its Attention is
ONNX Runtime's in part, which is written out (`contrib`)."""

LAID_OUT = "com.microsoft.nchwc::"
"""What ONNX Runtime makes of convolutions when it optimizes for the processor it runs on."""


def newer(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of an old operator set in a new one, else the model itself.

    Raises:
        RuntimeError: ONNX cannot convert it, or makes something else of it.
    """
    opset = opset_of(model)
    if opset >= OPSET_AT_LEAST:
        return model
    converted = version_converter.convert_version(model, OPSET)
    before, after = shapes(model), shapes(converted)
    if any(after.get(value.name) != before[value.name] for value in model.graph.input):
        raise RuntimeError("inputs would change (a Scan of operator set 8 is of batches)")
    if opset <= 10:
        # Up to 10 a new place is the old one times the scale, rounded down; later ones must say so,
        # which the converter forgets.
        for node in converted.graph.node:
            if node.op_type == "Resize" and not node.attribute[1:]:
                node.attribute.append(
                    helper.make_attribute("coordinate_transformation_mode", "asymmetric")
                )
                node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
    return _with_slopes(converted) if opset <= 6 else converted


def _with_slopes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Up to 6 a vector is a slope for each channel; later ones must broadcast it."""
    lengths = shapes(inferred(model))
    nodes, weights = [], []
    for node in model.graph.node:
        if node.op_type == "PRelu" and len(lengths.get(node.input[1], ())) == 1:
            writer = Writer(node.output[0])
            axes = writer.constant(np.arange(1, len(lengths.get(node.input[0], ())) - 1))
            node.input[1] = writer.op("Unsqueeze", node.input[1], axes)
            nodes += writer.nodes
            weights += writer.weights
        nodes.append(node)
    return with_nodes(model, nodes, weights)


def without_dropout(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that is not trained: nothing is dropped, and masks are true everywhere.

    onnxslim takes these nodes out whatever they say, and forgets their masks.

    Raises:
        ValueError: some drop values even so, or may.
    """
    if all(node.op_type != "Dropout" for node in model.graph.node):
        return model
    constants = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    nodes, training = [], 0
    for node in model.graph.node:
        if node.op_type != "Dropout" or node.domain not in OWN:
            nodes.append(node)
            continue
        ratio, mode = [*node.input[1:], "", ""][:2]
        trains = bool(mode) and constants.get(mode, np.array(True)).any()
        training += bool(trains and constants.get(ratio, np.array(1)).any())
        kept, mask = [*node.output, ""][:2]
        nodes.append(helper.make_node("Identity", node.input[:1], [kept], node.name))
        if mask:
            writer = Writer(mask)
            true = numpy_helper.from_array(np.array([True]))
            shape = writer.op("Shape", node.input[0])
            writer.op("ConstantOfShape", shape, name=mask, value=true)
            nodes += writer.nodes
    if training:
        times = f"{training}{' times' if training > 1 else ''}"
        raise ValueError(f"a network in training cannot be tuned: Dropout ({times}) drops values")
    return with_nodes(model, nodes)


def decomposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model in operators that TVM has, where there is a known way; else the model itself."""
    written = model
    for way in (
        loops.unrolled,
        branches.both,
        sequences.taken_apart,
        recurrent.unrolled,
        columns.written_out,
        _padded,
        _turned,
        spectra.written_out,
        resize.written_out,
    ):
        written = way(written)
    functions = {
        (node.domain, node.op_type)
        for node in written.graph.node
        if node.domain in OWN and not known(node)
    }
    if functions:
        with contextlib.suppress(RuntimeError):  # of some the body depends on what is not known
            inlined = inliner.inline_selected_functions(
                _explicit(written), list(functions), inline_schema_functions=True
            )
            written = normal_form(inlined)
    before, after = ([str(n) for n in m.graph.node] for m in (model, written))
    return model if before == after else written


def _explicit(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with what functions of ONNX need told: types of weights, attributes by default."""
    model = inferred(model)
    model.graph.input.extend(
        helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in model.graph.initializer
    )
    for node in model.graph.node:
        if node.domain in OWN and onnx.defs.has(node.op_type):
            given = {a.name for a in node.attribute}
            schema = onnx.defs.get_schema(node.op_type, opset_of(model))
            node.attribute.extend(
                attribute.default_value
                for name, attribute in schema.attributes.items()
                if name not in given and attribute.default_value.name
            )
    return model


def _padded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Transposed convolutions that say the size of their result say their padding instead."""
    wanted = [
        node
        for node in model.graph.node
        if node.op_type == "ConvTranspose" and any(a.name == "output_shape" for a in node.attribute)
    ]
    if not wanted:
        return model
    lengths = shapes(inferred(model))
    nodes = []
    for node in model.graph.node:
        x = lengths.get(node.input[0], ()) if node in wanted else ()
        nodes.append(_with_pads(node, x[2:], lengths[node.input[1]][2:]) if all(x) and x else node)
    return with_nodes(model, nodes)


def _with_pads(
    node: onnx.NodeProto, size: tuple[int, ...], kernel: tuple[int, ...]
) -> onnx.NodeProto:
    given = attributes_of(node)
    n = len(size)
    output, strides = given.pop("output_shape")[-n:], given.get("strides", [1] * n)
    dilations, extra = given.get("dilations", [1] * n), given.get("output_padding", [0] * n)
    upper = given.pop("auto_pad", b"NOTSET") == b"SAME_UPPER"
    begin, end = [], []
    for i in range(n):
        full = strides[i] * (size[i] - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1
        total = full - output[i]
        if total < 0:
            extra, total = [*extra[:i], extra[i] - total, *extra[i + 1 :]], 0
        small = total // 2
        begin.append(small if upper else total - small)
        end.append(total - begin[-1])
    given |= {"pads": [*begin, *end], "output_padding": extra}
    return helper.make_node(node.op_type, node.input, node.output, node.name, **given)


def _turned(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without ReverseSequence of known lengths, as RNNs of TensorFlow have it."""
    if all(node.op_type != "ReverseSequence" for node in model.graph.node):
        return model
    constants = {w.name: w for w in model.graph.initializer}
    extents = shapes(inferred(model))

    def write(node: onnx.NodeProto) -> Writer | None:
        if node.op_type != "ReverseSequence" or node.domain not in OWN:
            return None
        axis = attributes_of(node).get("time_axis", 0)
        shape, lengths = extents.get(node.input[0], ()), constants.get(node.input[1])
        if lengths is None or len(shape) < 2 or not all(shape[:2]):
            return None
        rows = np.tile(np.arange(shape[axis]), (shape[1 - axis], 1))
        for row, n in zip(rows, numpy_helper.to_array(lengths), strict=True):
            row[:n] = row[:n][::-1]
        writer = Writer(node.output[0])
        if (rows == rows[0]).all():
            places, name = writer.constant(rows[0]), node.output[0]
            writer.op("Gather", node.input[0], places, name=name, axis=axis)
            return writer
        sequences = np.tile(np.arange(len(rows))[:, None], (1, shape[axis]))
        places = np.stack([sequences, rows] if axis else [rows.T, sequences.T], axis=-1)
        writer.op("GatherND", node.input[0], writer.constant(places), name=node.output[0])
        return writer

    return replaced(model, write)


def known(node: onnx.NodeProto) -> bool:
    """Whether TVM has an operator for a node."""
    domain = "" if node.domain in OWN else node.domain
    return (
        node.op_type in converter_map().keys() - sequences.OPERATORS
        and domain in DOMAINS.get(node.op_type, ("",))
        and not _incomplete(node)
    )


def _incomplete(node: onnx.NodeProto) -> bool:
    """Whether TVM's operator computes something else than it should, or nothing."""
    attributes = attributes_of(node)
    match node.op_type:
        case "BatchNormalization":
            return in_training(node)
        case "LayerNormalization":
            return any(node.output[1:])  # mean and deviation without the axes that were reduced
        case "RMSNormalization":
            return attributes.get("axis", -1) != -1
        case "Resize":
            return resize_axes.of_parts(attributes)
        case "RoiAlign":
            return attributes.get("mode", b"avg") != b"avg"
    return False


def check_operators(model: onnx.ModelProto, allowed: Collection[str] = ()) -> None:
    """
    Args:
        model: all of it, or what TVM gets of it.
        allowed: operators that another runtime has, as long as these are all that TVM has not.

    Raises:
        ValueError: operators that TVM does not have: all of them, with how often each occurs.
    """
    counts: dict[str, int] = {}
    for graph in graphs(model.graph):
        for node in graph.node:
            if not known(node):
                name = ("" if node.domain in OWN else f"{node.domain}::") + node.op_type
                name += " in training" if in_training(node) else ""
                counts[name] = counts.get(name, 0) + 1
    if not counts.keys() <= set(allowed):
        said = [f"{name} ({n}{' times' if n > 1 else ''})" for name, n in counts.items()]
        kinds = f"{len(counts)} kinds of operators" if len(counts) > 1 else "a kind of operator"
        advice = ""
        if selectors := branches.selectors(model):
            values = ", ".join(f"{name}: VALUE" for name in selectors)
            advice = (
                f"; which branch of an If is taken depends on {' and '.join(selectors)}: "
                f"workload.constants='{{{values}}}' settles it"
            )
        elif any(name.startswith(LAID_OUT) for name in counts):
            advice = (
                "; ONNX Runtime has laid this file out for its own processor: save it with "
                "ORT_ENABLE_EXTENDED at most, or take the file from before"
            )
        raise ValueError(f"TVM cannot import {kinds}: {', '.join(said)}{advice}")
