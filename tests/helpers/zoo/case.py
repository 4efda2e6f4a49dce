"""What a case of the zoo is, and the table of them."""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from zoo.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx


@dataclasses.dataclass(frozen=True)
class Case:
    """A small network with what must hold of it.

    Args:
        name: of the case.
        build: makes the network in an empty graph; its output, or a tuple of them.
        kinds: of the tuned layers, one for each place where the network has one (of two equal
            layers too). ``[grouped_|depthwise_]convND[_transpose]`` is a convolution;
            ``dense`` a product of a value with a constant matrix on its right, whatever the
            value's rank; ``matmul`` any other product of two matrices; ``batch_matmul`` a product
            of two stacks of matrices.
        transposes: how many transpositions the network may be left with besides those at its
            inputs and outputs: those that it has itself (DepthToSpace and channel shuffle
            count), and of values of convolutions one into the order N, C, H, W and one back
            around what depends on that order (a Reshape, a MatMul). Constants do not count.
        opset: of the model.
    """

    name: str
    build: Callable[[Graph], str | tuple[str, ...]]
    kinds: tuple[str, ...]
    transposes: int
    opset: int

    def model(self) -> onnx.ModelProto:
        """The network; always the same."""
        graph = Graph(self.opset, seed=zlib.crc32(self.name.encode()))
        outputs = self.build(graph)
        return graph.model(*((outputs,) if isinstance(outputs, str) else outputs))

    @property
    def kind_counts(self) -> Counter[str]:
        return Counter(self.kinds)


ZOO: dict[str, Case] = {}
"""Every case by its name."""

TWO = ("conv2d", "conv2d")


def add(name, build, *kinds: str, transposes: int = 0, opset: int = 17) -> None:
    """Puts a case into the table; without ``kinds`` it has two two-dimensional convolutions."""
    if name in ZOO:
        raise ValueError(f"the zoo has two cases called {name}")
    ZOO[name] = Case(name, build, kinds or TWO, transposes, opset)


def case(*kinds: str, transposes: int = 0, opset: int = 17):
    """`add`, as a decorator: the function's name is the case's."""

    def decorate(build):
        add(build.__name__, build, *kinds, transposes=transposes, opset=opset)
        return build

    return decorate


def between(name, op, *kinds: str, transposes: int = 0, opset: int = 17) -> None:
    """A case with ``op(g, x)`` between two convolutions, from 8 channels of 12x12."""

    def build(g: Graph) -> str:
        return g.conv(op(g, g.conv(g.input(1, 4, 12, 12))))

    add(name, build, *kinds, transposes=transposes, opset=opset)


def inputs(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal numbers, fair bits or indices that fit, for each input without a value of its own."""
    rng = np.random.default_rng(seed)
    weights = {w.name: w for w in model.graph.initializer}
    made = {}
    for value in model.graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        shape = [d.dim_value for d in tensor.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if dtype == np.bool_:
            made[value.name] = rng.random(shape) < 0.5
        elif np.issubdtype(dtype, np.integer):
            made[value.name] = rng.integers(0, _bound(model, value.name), shape, dtype)
        else:
            made[value.name] = rng.standard_normal(shape).astype(dtype)
    return made


def _bound(model: onnx.ModelProto, name: str) -> int:
    """The length of the shortest constant table that is looked up at ``name``; 2 without one."""
    tables = {w.name: w.dims for w in model.graph.initializer}
    lengths = []
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[1] == name and node.input[0] in tables:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            lengths.append(tables[node.input[0]][axis])
    return min(lengths, default=2)
