"""A network's file: read with the weights that lie beside it, and hashed with them.

ONNX keeps weights of large models in files of their own, which the model names relative to its
folder. A file is somebody else's: what it names may not lead out of that folder.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import onnx
from onnx.external_data_helper import (
    ExternalDataInfo,
    _get_all_tensors,
    load_external_data_for_model,
    uses_external_data,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_model(path: Path) -> onnx.ModelProto:
    """An ONNX model with all its weights.

    Raises:
        ValueError: no such file, none of ONNX, weights that are missing, too short, or out of the
            model's folder; in one line.
    """
    model = _read_graph(path)
    for name, location in _locations(model):
        _check_inside(path, name, location)
    _check_size(path, model)
    try:
        load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise ValueError(
            f"workload.path={path}: weights beside the model cannot be read: {_one_line(error)}"
        ) from error
    return model


def file_digest(path: Path) -> str:
    """Hash of a model's file and of the weights beside it; of what there is of them.

    A file that is missing or no model has a digest too: reading it says what is wrong.
    """
    digest = hashlib.sha256()
    files = [path]
    try:
        locations = {location for _, location in _locations(_read_graph(path))}
        files += [path.parent / location for location in sorted(locations)]
    except ValueError:
        pass
    for file in files:
        digest.update(f"{file.name}\n".encode())
        if file.is_file():
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _read_graph(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ValueError(f"workload.path={path}: no such file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ValueError(
            f"workload.path={path} is not an ONNX model, or cut short: {_one_line(error)}"
        ) from error
    if not model.graph.output:
        raise ValueError(f"workload.path={path} is not an ONNX model: it has no outputs")
    return model


def _locations(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """Every weight that lies in another file, with the name of that file."""
    for tensor in _get_all_tensors(model):
        if uses_external_data(tensor):
            location = _external(tensor).location
            if not isinstance(location, str) or "\0" in location:
                raise ValueError(f"weight {tensor.name[:80]} lies in a file without a name")
            yield tensor.name, location


def _external(tensor: onnx.TensorProto) -> ExternalDataInfo:
    """Where a weight lies."""
    try:
        return ExternalDataInfo(tensor)
    except Exception as error:  # of whatever kind: onnx trusts the entries to be text and numbers
        raise ValueError(
            f"weight {tensor.name[:80]}: where it lies cannot be read: {_one_line(error)}"
        ) from error


def _check_inside(path: Path, name: str, location: str) -> None:
    outside = (
        not location
        or PurePosixPath(location).is_absolute()
        or PureWindowsPath(location).anchor
        or ".." in PurePosixPath(location.replace("\\", "/")).parts
    )
    if outside or not (path.parent / location).resolve().is_relative_to(path.parent.resolve()):
        raise ValueError(
            f"workload.path={path}: weight {name} lies in '{location}', outside of the model's "
            "folder: put the file beside the model"
        )
    if not (path.parent / location).is_file():
        raise ValueError(
            f"workload.path={path}: weight {name} lies in {location}, which is missing: copy it "
            "beside the model"
        )


MOST_SHARED = 8
"""So many times the size of its files the weights of a model may come to: several may share one."""


def _check_size(path: Path, model: onnx.ModelProto) -> None:
    """Refuses weights that name the same bytes over and over, to fill the memory."""
    sizes: dict[str, int] = {}
    total = 0
    for tensor in _get_all_tensors(model):
        if uses_external_data(tensor):
            info = _external(tensor)
            size = sizes.setdefault(info.location, (path.parent / info.location).stat().st_size)
            total += size - (info.offset or 0) if info.length is None else info.length
    if total > MOST_SHARED * sum(sizes.values()):
        raise ValueError(
            f"workload.path={path}: weights beside the model cannot be read: they are {total} "
            "bytes of smaller files"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
