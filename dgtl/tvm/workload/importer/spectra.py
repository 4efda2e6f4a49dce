"""Fourier transforms as products with constant sines and cosines, which are layers like others.

Of the lengths that models have (speech: 200 to 2048) that is no more work than their other layers.
https://onnx.ai/onnx/operators, DFT and STFT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dgtl.tvm.workload.importer.graph import (
    OWN,
    Writer,
    attributes_of,
    element_types,
    inferred,
    opset_of,
    replaced,
    shapes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

OPERATORS = {"DFT", "STFT"}

AXIS_IS_INPUT = 20
"""The operator set from which on the axis of DFT is an input."""


def written_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without Fourier transforms, as far as their lengths are known.

    The model itself where there is none.
    """
    if not any(n.op_type in OPERATORS and n.domain in OWN for n in model.graph.node):
        return model
    known = inferred(model)
    lengths, types = shapes(known), element_types(known)
    constants = {w.name: w for w in model.graph.initializer}

    def write(node: onnx.NodeProto) -> Writer | None:
        if node.op_type not in OPERATORS or node.domain not in OWN:
            return None
        told = {i: name for i, name in enumerate(node.input) if i and name}
        if not set(told.values()) <= constants.keys():
            return None
        values = {i: numpy_helper.to_array(constants[name]) for i, name in told.items()}
        shape = lengths.get(node.input[0], ())
        kind = helper.tensor_dtype_to_np_dtype(types.get(node.input[0], onnx.TensorProto.FLOAT))
        if node.op_type == "STFT":
            return _stft(node, shape, kind, values)
        before = opset_of(model) < AXIS_IS_INPUT
        axis = attributes_of(node).get("axis", 1) if before else int(values.pop(2, np.array(-2)))
        return _dft(node, shape, kind, axis, values.get(1))

    return replaced(model, write)


def waves(length: int, outputs: int, *, inverse: bool = False) -> NDArray[np.float64]:
    """What takes elements to their transform: [length, outputs, complex of it, complex]."""
    angle = 2 * np.pi / length * (np.outer(np.arange(length), np.arange(outputs)) % length)
    sign = 1 if inverse else -1
    cosine, sine = np.cos(angle), sign * np.sin(angle)
    matrix = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], -2)
    return matrix / (length if inverse else 1)


def _dft(
    node: onnx.NodeProto,
    shape: tuple[int, ...],
    kind: np.dtype[Any],
    axis: int,
    said: NDArray[Any] | None,
) -> Writer | None:
    """One product along the axis, which stands last for it; of the length that is there."""
    given = attributes_of(node)
    rank = len(shape)
    inverse, onesided = bool(given.get("inverse", 0)), bool(given.get("onesided", 0))
    if not shape or not all(shape) or (inverse and onesided):
        return None
    axis %= rank
    length, parts = shape[axis], shape[-1]
    if said is not None and int(said) != length:
        return None
    outputs = length // 2 + 1 if onesided else length
    matrix = waves(length, outputs, inverse=inverse)[:, :, :parts]
    matrix = matrix.transpose(0, 2, 1, 3).reshape(length * parts, outputs * 2).astype(kind)
    writer = Writer(node.output[0])
    order = [*(i for i in range(rank - 1) if i != axis), axis, rank - 1]
    rows = [shape[i] for i in order[:-2]]
    last = writer.op("Transpose", node.input[0], perm=order)
    last = writer.op("Reshape", last, writer.constant(np.array([*rows, -1])))
    last = writer.op("MatMul", last, writer.constant(matrix))
    last = writer.op("Reshape", last, writer.constant(np.array([*rows, outputs, 2])))
    writer.op("Transpose", last, name=node.output[0], perm=np.argsort(order).tolist())
    return writer


def _stft(
    node: onnx.NodeProto,
    shape: tuple[int, ...],
    kind: np.dtype[Any],
    values: Mapping[int, NDArray[Any]],
) -> Writer | None:
    """A convolution of a real signal, whose kernels are waves within the window."""
    if len(shape) not in (2, 3) or not all(shape) or (len(shape) == 3 and shape[2] != 1):
        return None
    step, window = int(values[1]), values.get(2)
    length = int(values[3]) if 3 in values else 0 if window is None else len(window)
    window = np.ones(length) if window is None else window
    if not length or len(window) != length:
        return None
    onesided = bool(attributes_of(node).get("onesided", 1))
    outputs = length // 2 + 1 if onesided else length
    kernels = waves(length, outputs)[:, :, 0] * window[:, None, None]
    kernels = kernels.reshape(length, -1).T[:, None].astype(kind)
    writer = Writer(node.output[0])
    batch, samples = shape[:2]
    last = writer.op("Reshape", node.input[0], writer.constant(np.array([batch, 1, samples])))
    last = writer.op("Conv", last, writer.constant(kernels), strides=[step])
    last = writer.op("Transpose", last, perm=[0, 2, 1])
    shape_after = writer.constant(np.array([batch, -1, outputs, 2]))
    writer.op("Reshape", last, shape_after, name=node.output[0])
    return writer
