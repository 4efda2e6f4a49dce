"""Values for a network's inputs: constants, real ones of a file, or seeded ones that are valid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from dgtl.tvm.workload.importer.graph import graph_inputs, shapes
from dgtl.tvm.workload.importer.shapes import input_name, input_shapes, input_types

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

SMALL = 2
"""Whole numbers of which nothing is known are below this: 0 and 1 are valid in most places."""

HANDED_ON = (
    *("Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Transpose", "Expand"),
    *("Slice", "Concat", "Split", "Tile", "Clip", "Max", "Min", "Where", "Abs"),
)
"""Operators whose result has the values of what they are given."""


def with_constants(
    model: onnx.ModelProto, constants: Mapping[Any, Any] | None
) -> tuple[onnx.ModelProto, list[str]]:
    """A model some of whose inputs are constants, and what was done, for the user.

    An input that selects a branch or a length, such as a sampling rate, makes the network one that
    can be compiled.

    Args:
        model: any.
        constants: ``workload.constants``: the value of each such input, nested lists or one number
            for all its elements; None for none.

    Raises:
        ValueError: a value of another input, or one that the input cannot have.
    """
    if constants is None:
        return model, []
    if not hasattr(constants, "items"):
        raise ValueError(
            f"workload.constants={constants}: give values by name, as in '{{sr: 16000}}'"
        )
    inputs = {value.name: value.type.tensor_type for value in graph_inputs(model)}
    types = input_types(model)
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    remarks = []
    for key, given in constants.items():
        name = input_name("workload.constants", key, inputs)
        value = _constant(name, _plain(given), inputs[name], types[name])
        fixed.graph.initializer.append(numpy_helper.from_array(value, name))
        remarks.append(f"input {name} is the constant {' '.join(str(value).split())}")
    kept = [value for value in fixed.graph.input if value.name not in set(map(str, constants))]
    del fixed.graph.input[:]
    fixed.graph.input.extend(kept)
    return fixed, remarks


def _plain(given: Any) -> Any:
    """Nested lists of what a configuration holds."""
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        return given
    return [_plain(part) for part in given]


def _constant(name: str, given: Any, tensor: onnx.TypeProto.Tensor, kind: str) -> NDArray[Any]:
    """What an input is given as, in its type and shape."""
    lengths = [d.dim_value for d in tensor.shape.dim]
    try:
        raw = np.asarray(given)
        value = raw.astype(kind)
        # A number is rounded to what floating point can say, but 0.5 or 300 is no byte.
        if raw.dtype.kind not in "biuf" or (value.dtype.kind != "f" and np.any(value != raw)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"workload.constants: input {name}: {given} is no value of {kind}"
        ) from None
    if value.ndim == 0 and all(lengths):
        value = np.full(lengths, value)
    fits = not tensor.HasField("shape") or (
        value.ndim == len(lengths)
        and all(n in (0, m) for n, m in zip(lengths, value.shape, strict=True))
    )
    if not fits:
        wanted = "x".join(str(n or "?") for n in lengths) or "a scalar"
        raise ValueError(
            f"workload.constants: input {name} is {wanted} in the network, the value given has "
            f"shape {'x'.join(map(str, value.shape)) or 'of a scalar'}"
        )
    return value


def read_inputs(path: Path, model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file, one for each input of the model, in the order of the inputs.

    Raises:
        ValueError: no such file, or arrays that are not those of the inputs.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        if not all(isinstance(value, np.ndarray) for value in found.values()):
            raise TypeError("a member is no array")  # NumPy hands on its bytes
    except FileNotFoundError:
        raise ValueError(f"workload.inputs={path}: no such file") from None
    except Exception as error:
        raise ValueError(f"workload.inputs={path}: no npz file of plain arrays") from error
    types = input_types(model)
    if set(found) != set(types):
        raise ValueError(
            f"workload.inputs={path} holds {', '.join(sorted(found)) or 'nothing'}; the network's "
            f"inputs are {', '.join(types)}"
        )
    for name, kind in types.items():
        if found[name].dtype != kind:
            raise ValueError(
                f"workload.inputs={path}: {name} is of {found[name].dtype}, the network takes "
                f"{kind}"
            )
    declared = {v.name: v.type.tensor_type for v in graph_inputs(model)}
    for name, tensor in declared.items():
        shape = found[name].shape
        fits = not tensor.HasField("shape") or (
            len(tensor.shape.dim) == len(shape)
            and all(d.dim_value in (0, n) for d, n in zip(tensor.shape.dim, shape, strict=True))
        )
        if not fits:
            wanted = "x".join(str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim)
            raise ValueError(
                f"workload.inputs={path}: {name} has shape {'x'.join(map(str, shape))}, the "
                f"network takes {wanted or 'a scalar'}"
            )
    return {name: np.asarray(found[name], order="C") for name in types}


def seeded_inputs(
    original: onnx.ModelProto, model: onnx.ModelProto, seed: int
) -> dict[str, NDArray[Any]]:
    """Random values that are valid, the same for the same seed.

    Standard normal numbers, any byte, true and false; whole numbers that index a table are rows of
    it, masks are ones, and others 0 or 1.

    Args:
        original, model: before and after simplification; tables are looked for in both.
        seed: of the values.
    """
    rng = np.random.default_rng(seed)
    types = input_types(original)
    values: dict[str, NDArray[Any]] = {}
    for name, shape in input_shapes(original).items():
        kind = np.dtype(types[name])
        rows = [r for r in (_rows(model, name), _rows(original, name)) if r is not None]
        value: Any
        if kind.kind == "f":
            value = rng.standard_normal(shape, dtype=np.float32)
        elif kind.kind == "b":
            value = rng.integers(0, 2, shape)
        elif rows:
            value = rng.integers(0, max(min(rows), 1), shape)
        elif kind.itemsize == 1:
            value = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, shape)
        elif "mask" in name.lower():
            value = np.ones(shape)
        else:
            value = rng.integers(0, SMALL, shape)
        values[name] = np.asarray(value).astype(kind)
    return values


def _rows(model: onnx.ModelProto, name: str) -> int | None:
    """Least number of rows of the tables that an input indexes; None where none is seen."""
    constants = {w.name: w for w in model.graph.initializer}
    lengths = shapes(model)
    # By how much what is handed on is more than the input.
    added: dict[str, int] = {name: 0}
    found: list[int] = []
    for node in model.graph.node:
        reached = [i for i in node.input if i in added]
        if not reached:
            continue
        more = max(added[i] for i in reached)
        op = node.op_type
        if op in ("Gather", "GatherElements") and node.input[1] in added:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            shape = lengths.get(node.input[0])
            if shape is not None and -len(shape) <= axis < len(shape) and shape[axis]:
                found.append(shape[axis] - added[node.input[1]])
        if op == "Gather" and node.input[0] not in added:
            continue
        if op in ("Add", "Sub") and len(node.input) == 2:
            others = [constants[i] for i in node.input if i in constants]
            if len(others) == 1:
                other = numpy_helper.to_array(others[0])
                if other.size and other.dtype.kind in "iu":
                    more += int(other.max()) if op == "Add" else -int(other.min())
                    added |= dict.fromkeys(node.output, more)
        elif op in HANDED_ON or op == "Gather":
            added |= dict.fromkeys(node.output, more)
    return min(found, default=None)
