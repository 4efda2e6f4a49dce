"""Extents that an ONNX model leaves open, and what they are given as."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from dgtl.tvm.workload.importer.graph import graph_inputs, graphs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

TYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
    TensorProto.INT64: "int64",
    TensorProto.INT32: "int32",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.BOOL: "bool",
}
"""Types of elements that an input may have, as NumPy names them."""

Extent = int | str | None
"""A length, the name of one that is open, or None for an open one without a name."""


def input_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shape of each input of a model whose shapes are fixed."""
    return {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in graph_inputs(model)
    }


def input_types(model: onnx.ModelProto) -> dict[str, str]:
    """Type of the elements of each input, as NumPy names it.

    Raises:
        ValueError: an input that is no tensor, or of a type that is not taken.
    """
    found = {}
    for value in graph_inputs(model):
        if not value.type.HasField("tensor_type"):
            kind = value.type.WhichOneof("value") or "nothing"
            raise ValueError(
                f"input {value.name} is a {kind.removesuffix('_type')}: networks whose inputs are "
                "tensors can be tuned"
            )
        kind = value.type.tensor_type.elem_type
        if kind not in TYPES:
            name = TensorProto.DataType.Name(kind).lower()
            raise ValueError(
                f"input {value.name} is of {name}: inputs of {', '.join(TYPES.values())} are taken"
            )
        found[value.name] = TYPES[kind]
    return found


def fix_shapes(
    model: onnx.ModelProto, shapes: Mapping[Any, Any] | None
) -> tuple[onnx.ModelProto, list[str]]:
    """A model whose inputs have the given shapes, and what was assumed.

    Equal names of open extents are equal lengths. A batch (the first extent) that alone is open
    counts as 1.

    Args:
        model: any.
        shapes: ``workload.shapes``: of each input its extents, None for all as they are.

    Raises:
        ValueError: an extent that stays open; a shape of another input, of another rank, or other
            than the model has it.
    """
    inputs = graph_inputs(model)
    declared = {value.name: _declared(value) for value in inputs}
    given = _given({} if shapes is None else shapes, declared)
    named: dict[str, int] = {}
    for name, lengths in given.items():
        for extent, length in zip(declared[name] or [], lengths, strict=False):
            if isinstance(extent, str):
                named.setdefault(extent, length)
    fixed: dict[str, list[Extent]] = {}
    remarks = []
    for name, extents in declared.items():
        known: list[Extent] = list(given.get(name, extents or ()))
        known = [named.get(e, e) if isinstance(e, str) else e for e in known]
        if [i for i, e in enumerate(known) if not isinstance(e, int)] == [0]:
            known[0] = 1
        fixed[name] = known
        if name not in given and known != extents and _is_fixed(known):
            remarks.append(f"input {name} ({_text(extents or [])}) counts as {_text(known)}")
    still_open = {
        name: extents
        for name, extents in fixed.items()
        if not _is_fixed(extents) or (declared[name] is None and name not in given)
    }
    if still_open:
        raise ValueError(_ask(still_open, declared, inputs))
    return _with_shapes(model, fixed), remarks


def _is_fixed(extents: list[Extent]) -> bool:
    return all(isinstance(extent, int) for extent in extents)


def _declared(value: onnx.ValueInfoProto) -> list[Extent] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    # Paddle calls all by the same name, which is none.
    names = [None if d.dim_param in ("", "?") else d.dim_param for d in tensor.shape.dim]
    return [
        d.dim_value if d.dim_value > 0 else n for d, n in zip(tensor.shape.dim, names, strict=True)
    ]


def _given(
    shapes: Mapping[Any, Any], declared: Mapping[str, list[Extent] | None]
) -> dict[str, tuple[int, ...]]:
    """What the user gave, checked."""
    if not hasattr(shapes, "items"):
        raise ValueError(f"workload.shapes={shapes}: give shapes by name, as in '{{x: [1, 3]}}'")
    found = {}
    for key, extents in shapes.items():
        name = input_name("workload.shapes", key, declared)
        if isinstance(extents, str) or not hasattr(extents, "__iter__"):
            extents = [extents]
        lengths = list(extents)
        for length in lengths:
            if isinstance(length, bool) or not isinstance(length, int) or length < 1:
                raise ValueError(
                    f"workload.shapes: input {name}: {length} is no extent: give whole numbers "
                    "from 1"
                )
        known = declared[name]
        if known is not None:
            if len(known) != len(lengths):
                raise ValueError(
                    f"workload.shapes: input {name} has {len(known)} extents ({_text(known)}), "
                    f"{len(lengths)} are given"
                )
            for i, (extent, length) in enumerate(zip(known, lengths, strict=True)):
                if isinstance(extent, int) and extent != length:
                    raise ValueError(
                        f"workload.shapes: input {name}: extent {i} is {extent} in the network "
                        f"({_text(known)}), {length} is given"
                    )
        found[name] = tuple(lengths)
    return found


def input_name(setting: str, key: Any, inputs: Collection[str]) -> str:
    """The input that a key of a setting means.

    Raises:
        ValueError: there is none of that name.
    """
    name = str(key)  # Hydra reads the name 0 as a number
    if name not in inputs:
        raise ValueError(
            f"{setting}: the network has no input {name}; its inputs are {', '.join(inputs)}"
        )
    return name


def _text(extents: list[Extent]) -> str:
    return "x".join("?" if e is None else str(e) for e in extents) or "a scalar"


def _ask(
    still_open: Mapping[str, list[Extent]],
    declared: Mapping[str, list[Extent] | None],
    inputs: list[onnx.ValueInfoProto],
) -> str:
    """The line that asks for shapes, with an example to paste."""
    said, example = [], []
    lengths: dict[str, int] = {}  # guessed of a name
    types = {value.name: value.type.tensor_type.elem_type for value in inputs}
    for name, extents in still_open.items():
        if declared[name] is None:
            said.append(f"input {name} has no shape")
            guess = [1, 3, 224, 224]
        else:
            places = [i for i, e in enumerate(extents) if not isinstance(e, int)]
            names = ", ".join(f"{i} ({extents[i]})" if extents[i] else str(i) for i in places)
            plural = "s" if len(places) > 1 else ""
            said.append(f"input {name} ({_text(extents)}) is open in extent{plural} {names}")
            image = len(extents) == 4 and types[name] != TensorProto.INT64
            guess = []
            for i, extent in enumerate(extents):
                length = 1 if i == 0 else 224 if image else 128
                if isinstance(extent, int):
                    length = extent
                elif extent is not None:
                    length = lengths.setdefault(extent, length)
                guess.append(length)
        # What Hydra's grammar has a meaning for.
        plain = re.sub(r"([\\()\[\]{}:=,'\" \t])", r"\\\1", name)
        example.append(f"{plain}: [{','.join(map(str, guess))}]")
    paste = f"workload.shapes='{{{', '.join(example)}}}'"
    if not "".join(still_open).isascii():
        paste = "workload.inputs=FILE.npz, with an array for each input"
    return f"{'; '.join(said)}: give {paste}"


def _with_shapes(model: onnx.ModelProto, shapes: Mapping[str, list[Extent]]) -> onnx.ModelProto:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        if value.name in shapes:
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shapes[value.name]))
    # What is kept of other shapes would contradict: all are inferred anew.
    for graph in graphs(fixed.graph):
        del graph.value_info[:]
        for output in graph.output:
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.ClearField("shape")
    return fixed
