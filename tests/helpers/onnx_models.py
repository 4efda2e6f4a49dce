"""Small ONNX models in the forms that exporters make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGE = [1, 8, 16, 16]
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def weight(name: str, *shape: int, dtype: Any = np.float32) -> onnx.TensorProto:
    rng = np.random.default_rng(sum(map(ord, name)))
    return numpy_helper.from_array((0.2 * rng.standard_normal(shape)).astype(dtype), name)


def constant(name: str, value: Any, dtype: Any = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def value(name: str, shape: Any, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node named after its first output; names of values stand apart by spaces, _ is none."""
    names = [["" if name == "_" else name for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, name=f"{op}_{names[1][0]}", **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 17,
    ir: int = 8,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir, functions=list(functions))


def after_conv(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    **settings: Any,
) -> onnx.ModelProto:
    """A convolution of ``x`` to ``a`` with what follows it."""
    return model(
        [node("Conv", "x w", "a", pads=[1] * 4), *nodes],
        [value("x", IMAGE)],
        outputs,
        [weight("w", 8, 8, 3, 3), *weights],
        **settings,
    )


def dense(inputs: Sequence[onnx.ValueInfoProto], **settings: Any) -> onnx.ModelProto:
    """A product of ``x`` with four rows of weights."""
    return model(
        [node("Gemm", "x w", "y")], inputs, [value("y", None)], [weight("w", 4, 4)], **settings
    )


def torch_view() -> onnx.ModelProto:
    """x.view(x.size(0), -1)"""
    return model(
        [
            node("Conv", "x w", "a", pads=[1] * 4),
            node("Shape", "a", "s"),
            node("Constant", "", "i", value=constant("i", 0)),
            node("Gather", "s i", "b", axis=0),
            node("Constant", "", "axes", value_ints=[0]),
            node("Unsqueeze", "b axes", "u"),
            node("Constant", "", "rest", value_ints=[-1]),
            node("Concat", "u rest", "shape", axis=0),
            node("Reshape", "a shape", "r"),
            node("Gemm", "r v", "y"),
        ],
        [value("x", ["N", 8, 16, 16])],
        [value("y", ["N", 10])],
        [weight("w", 8, 8, 3, 3), weight("v", 2048, 10)],
    )


def tensorflow() -> onnx.ModelProto:
    """Channels last, padding by name, a name with a number, a slope for each channel."""
    return model(
        [
            node("Transpose", "x:0 ", "t", perm=[0, 3, 1, 2]),
            node("Conv", "t w", "a", auto_pad="SAME_UPPER", strides=[2, 2]),
            node("PRelu", "a slope", "p"),
            node("Transpose", "p", "y", perm=[0, 2, 3, 1]),
        ],
        [value("x:0", ["unk__1", 15, 15, 8])],
        [value("y", ["unk__2", 8, 8, 8])],
        [weight("w", 8, 8, 3, 3), weight("slope", 8, 1, 1)],
        opset=13,
    )


def weights_as_inputs() -> onnx.ModelProto:
    """As files of the third version of the format have them."""
    shapes = {"w": [8, 8, 3, 3], "s": [8], "b": [8], "m": [8], "v": [8]}
    weights = [weight(name, *shape) for name, shape in shapes.items() if name != "v"]
    return model(
        [node("Conv", "x w", "a", pads=[1] * 4), node("BatchNormalization", "a s b m v", "y")],
        [value("x", IMAGE), *(value(name, shape) for name, shape in shapes.items())],
        [value("y", IMAGE)],
        [*weights, constant("v", np.ones(8), np.float32)],
        opset=7,
        ir=3,
    )


def bert() -> onnx.ModelProto:
    names = ("input_ids", "attention_mask", "token_type_ids")
    return model(
        [
            node("Gather", "words input_ids", "a"),
            node("Gather", "types token_type_ids", "b"),
            node("Add", "a b", "s"),
            node("Cast", "attention_mask", "float", to=FLOAT),
            node("Unsqueeze", "float last", "column"),
            node("Mul", "s column", "q"),
            node("MatMul", "q w", "y"),
        ],
        [value(name, ["batch", "sequence"], INT64) for name in names],
        [value("y", None)],
        [
            weight("words", 100, 32),
            weight("types", 2, 32),
            weight("w", 32, 32),
            constant("last", [-1]),
        ],
    )


def choice(condition: bool | None) -> onnx.ModelProto:
    """An If on a constant; None: on what is computed."""
    yes = helper.make_graph([node("Relu", "a", "yes")], "yes", [], [value("yes", None)])
    no = helper.make_graph([node("Neg", "a", "no")], "no", [], [value("no", None)])
    nodes = [node("If", "c", "y", then_branch=yes, else_branch=no)]
    weights = [constant("c", condition, np.bool_)]
    if condition is None:
        nodes = [
            node("ReduceSum", "a", "s", keepdims=0),
            node("Greater", "s zero", "c"),
            *nodes,
        ]
        weights = [constant("zero", 0, np.float32)]
    return after_conv(nodes, [value("y", IMAGE)], weights)


def function() -> onnx.ModelProto:
    """A block that is a function of the model, used twice."""
    body = [node("Conv", "X W", "t", pads=[1] * 4), node("Relu", "t", "Y")]
    opsets = [helper.make_opsetid("", 17)]
    return model(
        [node("Block", "x w", "a", domain="mine"), node("Block", "a w", "y", domain="mine")],
        [value("x", IMAGE)],
        [value("y", IMAGE)],
        [weight("w", 8, 8, 3, 3)],
        functions=[helper.make_function("mine", "Block", ["X", "W"], ["Y"], body, opsets)],
        domains=["mine"],
    )


def loop() -> onnx.ModelProto:
    """Operators that TVM does not have."""
    body = helper.make_graph(
        [node("Add", "before one", "after"), node("Identity", "go", "on")],
        "body",
        [value("i", [], INT64), value("go", [], BOOL), value("before", [1, 4])],
        [value("on", [], BOOL), value("after", [1, 4])],
        [constant("one", 1.0, np.float32)],
    )
    return model(
        [
            node("Gemm", "x w", "a"),
            node("Loop", "n _ a", "b", body=body),
            node("GroupNorm", "b w", "c", domain="com.microsoft"),
            node("GroupNorm", "c w", "y", domain="com.microsoft"),
        ],
        [value("x", [1, 4]), value("n", [], INT64)],
        [value("y", [1, 4])],
        [weight("w", 4, 4)],
        domains=["com.microsoft"],
    )


def detector() -> onnx.ModelProto:
    """Boxes and scores, of which those are chosen that overlap little: as many as there are."""
    return model(
        [
            node("Conv", "x w", "a"),
            node("Reshape", "a s1", "boxes"),
            node("Conv", "x w2", "c"),
            node("Sigmoid", "c", "seen"),
            node("Reshape", "seen s2", "scores"),
            node("NonMaxSuppression", "boxes scores most overlap least", "chosen"),
            node("Gather", "chosen two", "which", axis=1),
            node("Gather", "boxes which", "y", axis=1),
        ],
        [value("x", IMAGE)],
        [value("y", None), value("seen", None)],
        [
            weight("w", 4, 8, 1, 1),
            weight("w2", 1, 8, 1, 1),
            constant("s1", [1, 256, 4]),
            constant("s2", [1, 1, 256]),
            constant("most", [10]),
            constant("overlap", [0.5], np.float32),
            constant("least", [0.5], np.float32),
            constant("two", 2),
        ],
    )


def tail_in_the_middle() -> onnx.ModelProto:
    return after_conv(
        [
            node("NonZero", "a", "i"),
            node("Cast", "i", "f", to=FLOAT),
            node("MatMul", "m f", "late"),
        ],
        [value("late", None)],
        [weight("m", 3, 4)],
    )


def recurrent(
    kind: str,
    *,
    steps: int = 4,
    batch: int = 2,
    width: int = 3,
    hidden: int = 2,
    direction: str = "forward",
    bias: bool = True,
    initial: bool = False,
    peepholes: bool = False,
    lengths: bool = False,
    outputs: str = "y h",
    **attributes: Any,
) -> onnx.ModelProto:
    """One recurrent layer; states are inputs where `initial` says so."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    n = 2 if direction == "bidirectional" else 1
    weights = [weight("w", n, gates * hidden, width), weight("r", n, gates * hidden, hidden)]
    inputs = ["x", "w", "r", "_", "_", "_", "_", "_"]
    fed = [value("x", [steps, batch, width])]
    if bias:
        weights.append(weight("b", n, 2 * gates * hidden))
        inputs[3] = "b"
    if lengths:
        weights.append(constant("lengths", [steps] * batch, np.int32))
        inputs[4] = "lengths"
    if initial:
        fed.append(value("h0", [n, batch, hidden]))
        inputs[5] = "h0"
        if kind == "LSTM":
            fed.append(value("c0", [n, batch, hidden]))
            inputs[6] = "c0"
    if peepholes:
        weights.append(weight("p", n, 3 * hidden))
        inputs[7] = "p"
    inputs = inputs[: {"LSTM": 8, "GRU": 6, "RNN": 6}[kind]]
    layer = node(
        kind, " ".join(inputs), outputs, hidden_size=hidden, direction=direction, **attributes
    )
    return model(
        [layer], fed, [value(name, None) for name in outputs.split() if name != "_"], weights
    )
