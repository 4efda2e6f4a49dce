"""The vocabulary that the zoo's networks are written in: any ONNX operator, `conv` and `dense`."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator


class Graph:
    """A graph under construction; a value is its ONNX name, and its type is known at once.

    Operators are calls: ``g("Clip", x, 0.0, 6.0)``. Of the inputs, a string is a value, None is one
    that is left out, anything else a constant: floats get the graph's ``dtype``, whole numbers
    int64, and Python numbers rank 0.
    """

    def __init__(self, opset: int = 17, seed: int = 0):
        self.opset, self.dtype = opset, np.dtype(np.float32)
        self.ir_version: int | None = None
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[str] = []
        self._weights: list[onnx.TensorProto] = []
        self._types: dict[str, onnx.TypeProto] = {}
        self._known: dict[str, np.ndarray] = {}

    def input(self, *shape: int, dtype=np.float32, name: str | None = None) -> str:
        name = f"x{len(self._inputs)}" if name is None else name
        self._inputs.append(name)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._types[name] = helper.make_tensor_type_proto(kind, shape)
        return name

    def shape(self, x: str) -> tuple[int, ...]:
        return tuple(d.dim_value for d in self._types[x].tensor_type.shape.dim)

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        """A constant of normal numbers."""
        return (self._rng.standard_normal(shape) * scale).astype(self.dtype)

    def positive(self, *shape: int) -> np.ndarray:
        """A constant of numbers between 0.5 and 1.5."""
        return self._rng.uniform(0.5, 1.5, shape).astype(self.dtype)

    def weight(self, array: np.ndarray, name: str | None = None) -> str:
        """A constant as a value, for what uses it more than once."""
        name = f"w{len(self._weights)}" if name is None else name
        self._weights.append(numpy_helper.from_array(array, name))
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._types[name] = helper.make_tensor_type_proto(kind, array.shape)
        self._known[name] = array
        return name

    def _value(self, x) -> str:
        if x is None:
            return ""
        if isinstance(x, str):
            return x
        array = np.asarray(x)
        return self.weight(array.astype(self.dtype) if array.dtype == np.float64 else array)

    def __call__(self, op: str, *inputs, outputs: int = 1, name: str | None = None, **attributes):
        """Appends a node; its value, or a tuple of ``outputs`` values."""
        names = [self._value(x) for x in inputs]
        stem = f"{op.lower()}{len(self._nodes)}" if name is None else name
        made = [stem if i == 0 else f"{stem}_{i}" for i in range(outputs)]
        node = helper.make_node(op, names, made, name=stem, **attributes)
        self._nodes.append(node)
        self._types |= self._infer(node)
        return made[0] if outputs == 1 else tuple(made)

    def _infer(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        given = [name for name in node.input if name]
        if node.op_type == "Shape":
            self._known[node.output[0]] = np.array(self.shape(given[0]), np.int64)
        elif all(name in self._known for name in given):
            results = ReferenceEvaluator(node).run(None, {i: self._known[i] for i in given})
            self._known |= dict(zip(node.output, results, strict=True))
        types = shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, self.opset),
            node,
            {name: self._types[name] for name in given},
            {n: numpy_helper.from_array(self._known[n], n) for n in given if n in self._known},
            opset_imports=[helper.make_opsetid("", self.opset)],
        )
        # Of some operators (GroupNormalization) ONNX infers nothing; they keep the shape.
        known = all(
            types[o].tensor_type.HasField("shape") or types[o].HasField("sequence_type")
            for o in node.output
            if o in types
        )
        return types if types and known else {node.output[0]: self._types[given[0]]}

    def conv(
        self, x, channels=8, kernel=3, *, op="Conv", bias=True, weight=None, name=None, **attributes
    ) -> str:
        """A convolution (``op="ConvTranspose"``: a transposed one) of any rank.

        Without ``pads`` and ``auto_pad`` such that a stride of 1 keeps the size.
        """
        _, depth, *space = self.shape(x)
        kernel = (kernel,) * len(space) if isinstance(kernel, int) else tuple(kernel)
        group = attributes.get("group", 1)
        if not {"pads", "auto_pad"} & set(attributes):
            dilations = attributes.get("dilations", [1] * len(space))
            attributes["pads"] = [
                d * (k - 1) // 2 for d, k in zip(dilations, kernel, strict=True)
            ] * 2
        if weight is None:
            fan_in = depth // group * int(np.prod(kernel))
            ends = (channels, depth // group) if op == "Conv" else (depth, channels // group)
            weight = self.normal(*ends, *kernel, scale=(2 / fan_in) ** 0.5)
        biases = [self.normal(channels, scale=0.1)] if bias else []
        return self(op, x, weight, *biases, kernel_shape=kernel, name=name, **attributes)

    def dense(self, x, units=16) -> str:
        """A dense layer over the last axis: Gemm of a matrix, otherwise MatMul and Add."""
        *lead, width = self.shape(x)
        weight, bias = self.normal(width, units, scale=width**-0.5), self.normal(units, scale=0.1)
        if len(lead) == 1:
            return self("Gemm", x, weight, bias)
        return self("Add", self("MatMul", x, weight), bias)

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "zoo",
            [helper.make_value_info(name, self._types[name]) for name in self._inputs],
            [helper.make_value_info(name, self._types[name]) for name in outputs],
            self._weights,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        version = self.ir_version or helper.find_min_ir_version_for(opsets)
        if version < 4:  # Before, a weight had to be among the inputs.
            graph.input.extend(
                helper.make_value_info(w.name, self._types[w.name]) for w in self._weights
            )
        return helper.make_model(graph, opset_imports=opsets, ir_version=version)
