"""The vocabulary that the built-in networks are written in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

if TYPE_CHECKING:
    from collections.abc import Sequence

OPSET = helper.make_opsetid("", 17)
IR_VERSION = 8

Activation = Literal["relu", "relu6", "leaky_relu", "hard_swish", "silu", "gelu"] | None


class Graph:
    """A network under construction, with one input ``data``; values are ONNX names.

    Args:
        seed: of the weights.
        shape: of the input.
        dtype: of the input, one of `onnx.TensorProto`.
    """

    def __init__(self, seed: int, shape: Sequence[int], dtype: int = TensorProto.FLOAT):
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._types = {"data": helper.make_tensor_type_proto(dtype, shape)}

    def shape(self, x: str) -> tuple[int, ...]:
        """Shape of a value, convolutional ones as N, C and space."""
        return tuple(d.dim_value for d in self._types[x].tensor_type.shape.dim)

    def _initializer(self, tensor: onnx.TensorProto) -> str:
        self._weights.append(tensor)
        self._types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        return tensor.name

    def _normal(self, name: str, shape: tuple[int, ...], variance: float) -> onnx.TensorProto:
        values = self._rng.standard_normal(shape, dtype=np.float32) * np.float32(variance**0.5)
        return numpy_helper.from_array(values, name)

    def weight(self, shape: tuple[int, ...], fan_in: int, gain: float = 2.0) -> str:
        """Normal numbers of variance ``gain`` / ``fan_in``."""
        # He's scale (a gain of 2, for ReLU) keeps activations of order one at any depth, so that a
        # numerical comparison of two schedules of the whole network means something.
        return self._initializer(self._normal(f"w{len(self._weights)}", shape, gain / fan_in))

    def bias(self, channels: int) -> str:
        return self.weight((channels,), 100)

    def near_one(self, channels: int, scale: float = 1.0) -> str:
        """Scales or variances of a normalisation: ``scale`` and up to a fifth more or less."""
        values = (scale * self._rng.uniform(0.8, 1.2, channels)).astype(np.float32)
        return self._initializer(numpy_helper.from_array(values, f"w{len(self._weights)}"))

    def constant(self, values) -> str:
        """Numbers that are no parameters: floats as float32, whole ones as int64."""
        array = np.asarray(values)
        tensor = numpy_helper.from_array(
            array.astype(np.float32 if array.dtype.kind == "f" else np.int64),
            f"c{len(self._weights)}",
        )
        self._constants[tensor.name] = tensor
        return self._initializer(tensor)

    def split(self, x: str, parts: int, axis: int = 1) -> tuple[str, ...]:
        return self._append("Split", [x], parts, axis=axis)

    def node(self, op: str, *inputs: str, **attributes) -> str:
        """Any operator with one output."""
        return self._append(op, inputs, 1, **attributes)[0]

    def _append(self, op: str, inputs: Sequence[str], outputs: int, **attributes):
        name = f"{op.lower()}{len(self._nodes)}"
        names = (name, *(f"{name}_{i}" for i in range(1, outputs)))
        node = helper.make_node(op, inputs, names, name=name, **attributes)
        self._nodes.append(node)
        self._types |= shape_inference.infer_node_outputs(
            onnx.defs.get_schema(op, OPSET.version),
            node,
            {i: self._types[i] for i in inputs if i},
            {i: self._constants[i] for i in inputs if i in self._constants},
            opset_imports=[OPSET],
            ir_version=IR_VERSION,
        )
        return names

    def conv(
        self,
        x: str,
        channels: int,
        k: int,
        s: int = 1,
        p: int = 0,
        groups: int = 1,
        act: Activation = "relu",
        gain: float = 2.0,
        bias: bool = True,
    ) -> str:
        """A convolution over all of space with bias and activation."""
        depth, rank = self.shape(x)[1] // groups, len(self.shape(x)) - 2
        parameters = [self.weight((channels, depth, *[k] * rank), depth * k**rank, gain)]
        if bias:
            parameters.append(self.bias(channels))
        window = {"kernel_shape": [k] * rank, "strides": [s] * rank, "pads": [p] * 2 * rank}
        return self.activate(self.node("Conv", x, *parameters, **window, group=groups), act)

    def depthwise(
        self,
        x: str,
        k: int,
        s: int = 1,
        p: int = 0,
        act: Activation = "relu",
        gain: float = 2.0,
    ) -> str:
        channels = self.shape(x)[1]
        return self.conv(x, channels, k, s, p, channels, act, gain)

    def upconv(self, x: str, channels: int) -> str:
        """A transposed convolution of 2x2 that doubles height and width, without activation."""
        depth = self.shape(x)[1]
        parameters = [self.weight((depth, channels, 2, 2), depth, 1.0), self.bias(channels)]
        return self.node("ConvTranspose", x, *parameters, kernel_shape=[2, 2], strides=[2, 2])

    def batch_norm(self, x: str, act: Activation = "relu", scale: float = 1.0) -> str:
        """Batch normalisation with scales, means and variances near ``scale``, 0 and 1."""
        channels = self.shape(x)[1]
        scales, shifts = self.near_one(channels, scale), self.bias(channels)
        means, variances = self.bias(channels), self.near_one(channels)
        return self.activate(
            self.node("BatchNormalization", x, scales, shifts, means, variances), act
        )

    def layer_norm(self, x: str) -> str:
        """Over the last axis."""
        width = self.shape(x)[-1]
        return self.node("LayerNormalization", x, self.near_one(width), self.bias(width))

    def dense(self, x: str, units: int, act: Activation = "relu") -> str:
        """A dense layer of values [N, D]."""
        width = self.shape(x)[1]
        weight, bias = self.weight((units, width), width), self.bias(units)
        return self.activate(self.node("Gemm", x, weight, bias, transB=1), act)

    def linear(self, x: str, units: int) -> str:
        """A dense layer over the last axis of tokens [N, T, D], as exporters write it."""
        width = self.shape(x)[-1]
        product = self.node("MatMul", x, self.weight((width, units), width, 1.0))
        return self.node("Add", product, self.bias(units))

    def activate(self, x: str, act: Activation) -> str:
        """In the form in which exporters write it."""
        match act:
            case None:
                return x
            case "relu":
                return self.node("Relu", x)
            case "relu6":
                return self.node("Clip", x, self.constant(0.0), self.constant(6.0))
            case "leaky_relu":
                return self.node("LeakyRelu", x, alpha=0.1)
            case "hard_swish":
                return self.node("HardSwish", x)
            case "silu":
                return self.node("Mul", x, self.node("Sigmoid", x))
            case "gelu":
                erf = self.node("Erf", self.node("Div", x, self.constant(2**0.5)))
                twice = self.node("Mul", x, self.node("Add", erf, self.constant(1.0)))
                return self.node("Mul", twice, self.constant(0.5))

    def add(self, a: str, b: str) -> str:
        return self.node("Add", a, b)

    def concat(self, *values: str) -> str:
        """Channels side by side."""
        return self.node("Concat", *values, axis=1)

    def max_pool(self, x: str, k: int, s: int, p: int = 0, **attributes) -> str:
        rank = len(self.shape(x)) - 2
        window = {"kernel_shape": [k] * rank, "strides": [s] * rank, "pads": [p] * 2 * rank}
        return self.node("MaxPool", x, **window | attributes)

    def global_pool(self, x: str) -> str:
        return self.flatten(self.node("GlobalAveragePool", x))

    def flatten(self, x: str) -> str:
        return self.node("Flatten", x)

    def reshape(self, x: str, *shape: int) -> str:
        return self.node("Reshape", x, self.constant(shape))

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_value_info("data", self._types["data"])],
            [helper.make_value_info(name, self._types[name]) for name in outputs],
            self._weights,
        )
        return helper.make_model(graph, opset_imports=[OPSET], ir_version=IR_VERSION)
