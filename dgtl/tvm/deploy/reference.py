"""What ONNX Runtime makes of a network, and whether the network that was built does the same.

A check of schedules against unscheduled functions sees wrong schedules; only another runtime sees
a network that was imported wrong.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import tvm
from onnx import TensorProto, helper

from dgtl.device.values import differences
from dgtl.tvm.deploy.network import build, time_network
from dgtl.tvm.workload.importer.graph import title
from dgtl.tvm.workload.importer.recurrent import QUANTIZED
from dgtl.tvm.workload.importer.to_relax import one_line
from dgtl.tvm.workload.tasks import lower

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dgtl.core.records import Hardware
    from dgtl.tvm.workload.importer.model import Network

TOLERANCE, COARSE_TOLERANCE = 1e-2, 1e-1
"""Relative error of an output from which a network counts as wrong: rounding differs in every
layer, a wrong layer gives errors of order one. The second is of networks that compute in float16 or
in bytes, where a sum in another order moves whole steps."""

FLIPS = 1e-2
"""Fraction of true and false, of whole numbers, and of nan and inf that may differ: a value beside
a threshold falls on either side of it."""

NOISE = 4 * float(np.finfo(np.float32).eps)
"""Difference of an output that says nothing: numbers of size one are as coarse. A detector that
sees nothing gives sigmoids of 1e-7 everywhere, of which ONNX Runtime's are multiples of 9e-8."""

EXACT = "session.x64quantprecision", "1"
"""Setting for products of bytes, which else saturate on processors without VNNI: wrong by much."""

PROTOBUF_LIMIT = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far outputs are from those expected.

    Args:
        relative_error: largest over the outputs that are of floating point.
        flips: largest fraction of elements that differ otherwise.
        tolerance: of the relative error.
        shapes: what is wrong with their number, shapes or types; empty if nothing is.
    """

    relative_error: float
    flips: float
    tolerance: float
    shapes: str = ""

    @property
    def ok(self) -> bool:
        return not self.shapes and self.relative_error <= self.tolerance and self.flips <= FLIPS

    def __str__(self) -> str:
        if self.shapes:
            return self.shapes
        flips = f", {self.flips:.1%} of the elements differ" if self.flips else ""
        return f"relative error {self.relative_error:.1g}{flips}"


def tolerance(model: onnx.ModelProto) -> float:
    """Relative error that a network may have, by what it computes in."""
    coarse = (TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8)
    kinds = [w.data_type for w in model.graph.initializer]
    kinds += [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.value_info)]
    return COARSE_TOLERANCE if any(kind in coarse for kind in kinds) else TOLERANCE


def compare_outputs(
    expected: Sequence[NDArray[Any]], actual: Sequence[NDArray[Any]], tolerance: float
) -> Agreement:
    """How far outputs are from those expected, beyond `NOISE`; the same nan and inf agree."""
    if len(expected) != len(actual):
        said = f"{len(actual)} outputs instead of {len(expected)}"
        return Agreement(math.inf, 1.0, tolerance, said)
    errors, flips = [0.0], [0.0]
    for e, a in zip(expected, actual, strict=True):
        if e.shape != a.shape or e.dtype != a.dtype:
            said = f"an output is {a.dtype} {a.shape} instead of {e.dtype} {e.shape}"
            return Agreement(math.inf, 1.0, tolerance, said)
        error, flipped = differences(e, a, noise=NOISE)
        errors.append(error)
        flips.append(flipped)
    return Agreement(max(errors), max(flips), tolerance)


def compare(network: Network, outputs: Sequence[NDArray[Any]]) -> Agreement:
    """How far the outputs of a network that was built are from those of ONNX Runtime.

    Args:
        network: with the inputs that the outputs are of.
        outputs: of the network in its order.

    Raises:
        UnknownError: ONNX Runtime does not run the network.
    """
    allowed = tolerance(network.model)
    if any(node.op_type == QUANTIZED for node in network.original.graph.node):
        allowed = COARSE_TOLERANCE  # which is rounded there alone
    return compare_outputs(expected_outputs(network), outputs, allowed)


class UnknownError(RuntimeError):
    """ONNX Runtime does not run a network; in one line."""


def expected_outputs(network: Network) -> list[NDArray[Any]]:
    """Outputs of the network as it was given, or, where ONNX Runtime refuses that, as imported.

    Raises:
        UnknownError: it runs neither.
    """
    names = [output.name for output in network.model.graph.output]
    try:
        return run(_with_outputs(network.original, names), network.inputs)
    except UnknownError:
        return run(network.model, network.inputs)


def run(model: onnx.ModelProto, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """All outputs of a model by ONNX Runtime on the CPU.

    Raises:
        UnknownError: it does not run.
    """
    try:
        try:
            session = _session(model, exact=True)
        except Exception:
            # 1.32 cannot do that for some; of most it then makes no products of bytes at all.
            session = _session(model, exact=False)
        taken = {value.name for value in session.get_inputs()}
        fed = {name: value for name, value in inputs.items() if name in taken}
        return [np.asarray(value) for value in session.run(None, fed)]
    except Exception as error:
        raise UnknownError(one_line(error)) from error


def _session(model: onnx.ModelProto, *, exact: bool) -> onnxruntime.InferenceSession:
    """Products of bytes are exact, or, as far as it goes, those of the floats they stand for."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if exact:
        options.add_session_config_entry(*EXACT)
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    providers = ["CPUExecutionProvider"]
    if model.ByteSize() < PROTOBUF_LIMIT:
        source = model.SerializeToString()
        return onnxruntime.InferenceSession(source, options, providers=providers)
    with tempfile.TemporaryDirectory(prefix="dgtl-reference-") as folder:
        path = str(Path(folder) / "model.onnx")
        onnx.save(model, path, save_as_external_data=True, location="weights")
        return onnxruntime.InferenceSession(path, options, providers=providers)


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with these values as its outputs.

    Raises:
        UnknownError: there is no such value in it.
    """
    known = {output.name: output for output in model.graph.output}
    if list(known) == list(names):
        return model
    computed = {name for node in model.graph.node for name in node.output}
    computed |= {value.name for value in model.graph.input}
    if any(name not in computed for name in names):
        raise UnknownError("values of the simplified network are not those of the given one")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.output[:]
    inferred = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for name in names:
        empty = helper.make_empty_tensor_value_info(name)
        result.graph.output.append(known.get(name) or inferred.get(name) or empty)
    return result


def first_difference(network: Network, hardware: Hardware) -> str:
    """Where a network that TVM computes otherwise than ONNX Runtime begins to.

    Every value between the layers is made an output, of which the first that differs is named.

    Args:
        network: all of it is built, without schedules.
        hardware: this machine's CPU.

    Returns:
        A node with its operator; empty where no value differs.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(network.model)
        kinds = {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output)}
        names = [n for node in network.model.graph.node for n in node.output if n in kinds]
        model = _with_outputs(inferred, names)
        expected = run(model, network.inputs)
        with tempfile.TemporaryDirectory(prefix="dgtl-reference-") as folder:
            library = Path(folder) / "all.so"
            target = tvm.target.Target(hardware.target)
            build(lower(model, target, winograd=network.winograd), hardware, library)
            timing = time_network(library, hardware, network.inputs, repeats=0, throttle_wait_s=0.0)
    except (UnknownError, ValueError, TimeoutError, tvm.error.InternalError):
        return ""
    makers = {name: node for node in network.model.graph.node for name in node.output}
    for name, e, a in zip(names, expected, timing.outputs, strict=True):
        if not compare_outputs([e], [a], tolerance(network.model)).ok:
            return title(makers[name])
    return ""
