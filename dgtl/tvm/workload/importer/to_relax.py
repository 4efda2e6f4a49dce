"""TVM's own importer: a model that is ready for it, as a Relax module.

Worker processes import this module, so that it does without what makes a model ready.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from typing import TYPE_CHECKING

from tvm.relax.frontend.onnx import onnx_frontend

from dgtl.tvm.workload.importer.converters import converters
from dgtl.tvm.workload.importer.graph import inferred, opset_of, reads, title, with_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx
    import tvm


class _Importer(onnx_frontend.ONNXGraphImporter):
    """TVM's importer, which says at which node it failed."""

    node = ""

    def _convert_operator(self, op_name, inputs, attrs, opset):
        self.node = f"{attrs['tvm_custom']['name']} ({op_name})"
        return super()._convert_operator(op_name, inputs, attrs, opset)


def to_relax(model: onnx.ModelProto) -> tvm.ir.IRModule:
    """A model with fixed shapes as a Relax module.

    Raises:
        ValueError: TVM cannot import it; in one line.
    """
    importer = _Importer({}, "float32")
    try:
        with quiet(), converters():
            return importer.from_onnx(model.graph, opset_of(model))
    except Exception as error:
        where = f"{importer.node}: " if importer.node else ""
        raise ValueError(f"TVM cannot import this model: {where}{one_line(error)}") from error


def blamed(model: onnx.ModelProto, attempt: Callable[[onnx.ModelProto], object]) -> str:
    """The first node of a model with which an attempt fails, each as a model alone.

    Args:
        model: of which the attempt failed.
        attempt: raises where it fails.

    Returns:
        Its name and operator; empty where each alone is fine.
    """
    model = inferred(model)
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    known = {value.name: value for value in values}
    weights = {weight.name: weight for weight in model.graph.initializer}
    for node in model.graph.node:
        names = dict.fromkeys(reads(node))
        alone = with_nodes(model, [node])
        for field in ("input", "output", "initializer"):
            alone.graph.ClearField(field)
        alone.graph.initializer.extend(weights[n] for n in names if n in weights)
        alone.graph.input.extend(known[n] for n in names if n in known and n not in weights)
        alone.graph.output.extend(known[n] for n in node.output if n in known)
        try:
            attempt(alone)
        except Exception:
            return title(node)
    return ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what libraries print and warn of."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def one_line(error: BaseException) -> str:
    """What went wrong, without the lines that follow."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines and lines[0].startswith("Traceback") else " ".join(lines[:1])
    # TVM prints the record of an operator first, and its whole numbers as they are in a program.
    text = re.sub(r"^In ir\.Op\(.*?support_level=\d+\), ", "", text)
    text = re.sub(r"T\.int64\((-?\d+)\)", r"\1", text)
    return (text or type(error).__name__)[:300]
