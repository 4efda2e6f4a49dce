"""The part of a network whose shapes depend on values, cut off at its end."""

from __future__ import annotations

import dataclasses

import onnx
from onnx import helper

from dgtl.tvm.workload.importer.graph import graph_inputs, reads, title

OF_VALUES = {
    "NonZero",
    "NonMaxSuppression",
    "Compress",
    "Unique",
    "StringSplit",
}
"""Operators whose result's shape depends on the values that they are given."""

CONTROL = {"Loop", "Scan", "If"}
"""The same of what runs other nodes; where it is not so, those are written out before."""

SHAPING = {
    "Reshape": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "TopK": (1,),
    "OneHot": (1,),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "CenterCropPad": (1,),
    "AffineGrid": (1,),
}
"""Inputs that say a result's shape: where they are computed, so is the shape."""

TUNABLE = {"Conv", "ConvTranspose", "MatMul", "Gemm", "MatMulInteger", "ConvInteger"}


@dataclasses.dataclass(frozen=True)
class Tail:
    """What was cut off, and a line that says so."""

    model: onnx.ModelProto
    remark: str


def cut_tail(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Tail | None]:
    """The network up to where shapes depend on values, and what comes after.

    Both are models. The outputs of the first are those of the network that it computes, in their
    order, and then what the second needs of it; the second takes all of them, and then the inputs
    of the network.

    Raises:
        ValueError: a layer that would be tuned comes after, or all of the network does.
    """
    graph = model.graph
    constants = {w.name for w in graph.initializer}
    constants |= {o for n in graph.node if n.op_type == "Constant" for o in n.output}
    cause: dict[str, str] = {}
    after: list[onnx.NodeProto] = []
    before: list[onnx.NodeProto] = []
    for node in graph.node:
        used = reads(node)
        because = next((cause[name] for name in used if name in cause), None)
        if because is None and _by_values(node, constants):
            because = title(node)
        if because is None:
            before.append(node)
            continue
        if node.op_type in TUNABLE:
            raise ValueError(
                f"{title(node)} comes after {because}, whose result's shape depends on values: "
                "such layers cannot be tuned; give the network up to there"
            )
        after.append(node)
        cause |= {name: because for name in node.output if name}
    if not after:
        return model, None
    outputs = [o.name for o in graph.output]
    computed = {name for node in before for name in node.output}
    needed = [name for node in after for name in reads(node) if name in computed]
    kept = [name for name in outputs if name in computed]
    handed = [name for name in dict.fromkeys(needed) if name not in kept]
    if not kept and not handed:
        first = next(iter(cause.values()))
        raise ValueError(
            f"all of the network comes after {first}, whose result's shape depends on values: "
            "there is nothing to tune"
        )
    known = {v.name: v for v in (*graph.value_info, *graph.output)}
    head = _part(model, before, list(graph.input), [_info(known, n) for n in (*kept, *handed)])
    fed = [v for v in graph_inputs(model) if v.name not in computed]
    tail = _part(model, after, [*head.graph.output, *fed], list(graph.output))
    causes = sorted(set(cause.values()))
    remark = (
        f"not tuned: {len(after)} operators from {', '.join(causes)} on, whose results' shapes "
        "depend on values; tail.onnx has them, for ONNX Runtime to run after model.so"
    )
    return head, Tail(tail, remark)


def _by_values(node: onnx.NodeProto, constants: set[str]) -> bool:
    if node.op_type in OF_VALUES | CONTROL:
        return True
    shaping = SHAPING.get(node.op_type, ())
    given = [node.input[i] for i in shaping if i < len(node.input)]
    return any(name and name not in constants for name in given)


def _info(known: dict[str, onnx.ValueInfoProto], name: str) -> onnx.ValueInfoProto:
    if name in known:
        return known[name]
    return helper.make_empty_tensor_value_info(name)


def _part(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    used = {name for node in nodes for name in reads(node)} | {o.name for o in outputs}
    weights = [w for w in model.graph.initializer if w.name in used]
    part = onnx.ModelProto()
    part.CopyFrom(model)
    part.graph.ClearField("node")
    part.graph.ClearField("initializer")
    part.graph.ClearField("input")
    part.graph.ClearField("output")
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(weights)
    part.graph.input.extend(inputs)
    part.graph.output.extend(outputs)
    return part
