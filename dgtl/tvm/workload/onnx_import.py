"""From an ONNX file as people have them to what TVM imports.

Exporters leave open extents, arithmetic on shapes, old operator sets, functions and recurrent
layers in a model; TVM's importer wants none of them. The way is: local functions inlined, shapes
fixed, an old operator set converted, simplified by onnxslim with the shapes known, what TVM has no
operator for written out in others, and cut where shapes depend on values.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

import onnx
import onnxslim
from onnx import inliner, version_converter
from tvm.relax.frontend.onnx import onnx_frontend

from dgtl.tvm.workload import onnx_recurrent
from dgtl.tvm.workload.onnx_converters import converters
from dgtl.tvm.workload.onnx_inputs import read_inputs, seeded_inputs
from dgtl.tvm.workload.onnx_shapes import fix_shapes, graph_inputs, graphs, input_types
from dgtl.tvm.workload.onnx_tail import cut_tail

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import tvm
    from numpy.typing import NDArray

OPSET = 17
"""Models of older operator sets than 13 are converted to this one, which keeps the meaning of its
operators: from 13 on axes are inputs and Softmax is of one axis, as TVM has them."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as it is tuned, and what it came from.

    Args:
        model: with fixed shapes, of operators that TVM imports.
        original: as it was given, with the same shapes: what another runtime is asked about.
        inputs: valid values of its inputs, in their order.
        tail: what comes after `model` and is left to ONNX Runtime, where shapes depend on values.
        remarks: what was assumed or left out, for the user.
    """

    model: onnx.ModelProto
    original: onnx.ModelProto
    inputs: dict[str, NDArray[Any]]
    tail: onnx.ModelProto | None = None
    remarks: tuple[str, ...] = ()


def import_model(
    model: onnx.ModelProto,
    *,
    shapes: Mapping[Any, Any] | None = None,
    inputs: Path | None = None,
    seed: int = 0,
) -> Network:
    """Makes a model ready for `to_relax`.

    Args:
        model: any, its weights included.
        shapes: as of `dgtl.tvm.workload.onnx_shapes.fix_shapes`.
        inputs: npz file with an array for each input; None: seeded random values.
        seed: of the latter.

    Raises:
        ValueError: it cannot be imported; one line says why, and where the user can help, how.
    """
    model = _readable(model)
    input_types(model)
    values = None if inputs is None else read_inputs(inputs, model)
    if values is not None:
        shapes = {**{name: list(v.shape) for name, v in values.items()}, **(shapes or {})}
    original, remarks = fix_shapes(model, shapes)
    prepared = _new_operators(original, remarks)
    prepared = _simplified(prepared, remarks)
    prepared, tail = cut_tail(_decomposed(prepared, remarks))
    _check_operators(prepared)
    if tail is not None:
        remarks.append(tail.remark)
    if values is None:
        values = seeded_inputs(original, prepared, seed)
    return Network(prepared, original, values, None if tail is None else tail.model, tuple(remarks))


def _readable(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its own functions inlined, and versions that are known.

    Raises:
        ValueError: they are not.
    """
    newest = onnx.defs.onnx_opset_version()
    opset = opset_of(model)
    if opset is None or not 1 <= opset <= newest:
        raise ValueError(
            f"the model is of operator set {opset or 'unknown'}: those up to {newest} are known"
        )
    if model.functions:
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:
            raise ValueError(
                f"the functions of the model cannot be inlined: {one_line(error)}"
            ) from error
    if model.ir_version < 3:
        model.ir_version = 3  # what TVM asks for; it only tells how versions are written down
    return model


def opset_of(model: onnx.ModelProto) -> int | None:
    """Version of ONNX's own operators in a model."""
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    # A model of other operators alone has none of them.
    return versions[0] if versions else (None if not model.opset_import else 1)


def _new_operators(model: onnx.ModelProto, remarks: list[str]) -> onnx.ModelProto:
    """The model in an operator set that TVM reads as it is meant."""
    opset = opset_of(model)
    if opset is None or opset >= 13:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:
        remarks.append(
            f"operator set {opset} is taken as it is, for ONNX cannot convert it to {OPSET}: "
            f"{one_line(error)}"
        )
        return model


def _simplified(model: onnx.ModelProto, remarks: list[str]) -> onnx.ModelProto:
    """The model without arithmetic on constants and shapes, by onnxslim."""
    reasons = []
    for gentler in ([], ["graph_fusion"], ["graph_fusion", "subexpression_elimination"]):
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        try:
            with quiet():
                slim = onnxslim.slim(copied, skip_optimizations=gentler or None)
            return _same_signature(model, slim)
        except Exception as error:
            reasons.append(one_line(error))
    remarks.append(f"the network is taken as it is, for onnxslim cannot simplify it: {reasons[0]}")
    return model


def _same_signature(model: onnx.ModelProto, slim: onnx.ModelProto) -> onnx.ModelProto:
    """The simplified model with the inputs of the model, those without use included."""
    outputs = [output.name for output in model.graph.output]
    if [output.name for output in slim.graph.output] != outputs:
        raise ValueError("its outputs changed")
    inputs = graph_inputs(model)
    if not {v.name for v in graph_inputs(slim)} <= {v.name for v in inputs}:
        raise ValueError("its inputs changed")
    del slim.graph.input[:]
    slim.graph.input.extend(inputs)
    return slim


def _decomposed(model: onnx.ModelProto, remarks: list[str]) -> onnx.ModelProto:
    """What TVM has no operator for written out in others, where there is a known way."""
    unrolled = onnx_recurrent.unrolled(model)
    changed = unrolled is not model
    functions = {
        (node.domain, node.op_type)
        for node in unrolled.graph.node
        if not _known(node) and node.domain in ("", "ai.onnx")
    }
    if functions:
        with contextlib.suppress(Exception):
            names = [(domain, name) for domain, name in functions]
            inlined = inliner.inline_selected_functions(
                unrolled, names, inline_schema_functions=True
            )
            changed = changed or len(inlined.graph.node) != len(unrolled.graph.node)
            unrolled = inlined
    return _simplified(unrolled, remarks) if changed else model


DOMAINS = {
    "SkipLayerNormalization": "com.microsoft",
    "EmbedLayerNormalization": "com.microsoft",
    "BiasGelu": "com.microsoft",
    "FastGelu": "com.microsoft",
    "MatMulInteger16": "com.microsoft",
    "AllClassNMS": "",
}
"""Where TVM's operators come from that are not ONNX's: it looks at the name alone."""


def _known(node: onnx.NodeProto) -> bool:
    """Whether TVM has an operator for a node."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    if node.op_type not in onnx_frontend._get_convert_map():
        return False
    return DOMAINS.get(node.op_type, "") == domain


def _check_operators(model: onnx.ModelProto) -> None:
    """
    Raises:
        ValueError: operators that TVM does not have: all of them, with how often each occurs.
    """
    counts: dict[str, int] = {}
    for graph in graphs(model.graph):
        for node in graph.node:
            if not _known(node):
                domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}::"
                name = domain + node.op_type
                counts[name] = counts.get(name, 0) + 1
    if counts:
        said = [f"{name} ({n}{' times' if n > 1 else ''})" for name, n in counts.items()]
        said[0] = said[0].replace(" times)", " times)").replace("(1)", "(once)")
        kinds = f"{len(counts)} kinds of operators" if len(counts) > 1 else "an operator"
        raise ValueError(f"TVM cannot import {kinds}: {', '.join(said)}")


class _Importer(onnx_frontend.ONNXGraphImporter):
    """TVM's importer, which says at which node it failed."""

    node = ""

    def _convert_operator(self, op_name, inputs, attrs, opset):
        self.node = f"{attrs['tvm_custom']['name'] or 'a node without a name'} ({op_name})"
        return super()._convert_operator(op_name, inputs, attrs, opset)


def to_relax(model: onnx.ModelProto) -> tvm.ir.IRModule:
    """A model with fixed shapes as a Relax module.

    Raises:
        ValueError: TVM cannot import it; in one line.
    """
    importer = _Importer({}, "float32")
    try:
        with quiet(), converters():
            return importer.from_onnx(model.graph, opset_of(model) or 1)
    except Exception as error:
        where = f"{importer.node}: " if importer.node else ""
        raise ValueError(f"TVM cannot import this model: {where}{one_line(error)}") from error


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
    return (text or type(error).__name__)[:300]
