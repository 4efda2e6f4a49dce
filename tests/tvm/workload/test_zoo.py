"""Every network of the zoo is lowered with its layers found, fused and nowhere transposed between.

`scripts/check_operators.py` tries schedules of each and compares it with ONNX Runtime; here are
samples of that.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING
from unittest import mock

import onnxruntime
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from zoo import ZOO, inputs, random_chain

from dgtl.device.values import differences
from dgtl.tvm import hardware as machine
from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    import numpy as np

pytestmark = pytest.mark.slow

HARDWARE = machine.detect(1)
TARGET = tvm.target.Target(HARDWARE.target)

SAMPLE = [name for i, name in enumerate(sorted(ZOO)) if i % 5 == 0]
"""Cases that are built and run."""


def calls_of(network: tvm.ir.IRModule) -> list[str]:
    """Names of the functions that a network calls."""
    names: list[str] = []

    def visit(expr: relax.Expr) -> None:
        callee = expr.args[0] if isinstance(expr, relax.Call) and expr.args else None
        if isinstance(callee, tvm.ir.GlobalVar):
            names.append(callee.name_hint)

    relax.analysis.post_order_visit(network["main"], visit)
    return names


def kinds_of(name: str) -> collections.Counter[str]:
    """Kinds that the layers of a case are tuned as."""
    if name == "batch_matmul_broadcast":
        return collections.Counter(["matmul"])  # every stack with every other is one product
    # A transposed convolution is computed as one that is not, with its phases as channels.
    return collections.Counter(kind.removesuffix("_transpose") for kind in ZOO[name].kinds)


@pytest.mark.parametrize("name", ZOO)
def test_layers_have_their_kinds_and_nothing_is_transposed_between_them(name):
    case = ZOO[name]
    model = case.model()
    network = lower(import_model(model).model, TARGET)
    found: collections.Counter[str] = collections.Counter()
    for function in extract(network, HARDWARE):
        if function.task is not None:
            found[function.task.kind] += function.weight
            assert function.task.title != function.task.shape_key
    assert found == kinds_of(name)
    ends = len(model.graph.input) + len(model.graph.output)
    shuffled = sum(kind.endswith("_transpose") for kind in case.kinds)
    transposed = sum("transpose" in call for call in calls_of(network))
    assert transposed <= ends + case.transposes + shuffled


def run_both(model, *, winograd: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outputs of ONNX Runtime and of the network as TVM builds it."""
    network = import_model(model)
    values = inputs(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    lowered = lower(network.model, TARGET, winograd=winograd)
    machine_ = relax.VirtualMachine(tvm.compile(lowered, TARGET), tvm.cpu())
    fed = [v.name for v in network.model.graph.input if v.name in values]
    result = machine_["main"](*(tvm.runtime.tensor(values[name]) for name in fed))
    outputs = [result] if hasattr(result, "numpy") else list(result)
    expected = session.run(None, values)
    return [(e, a.numpy()) for e, a in zip(expected, outputs, strict=True)]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_network_computes_what_it_does_in_onnx_runtime(name):
    allowed = 2e-2 if "float16" in name else 1e-3
    for expected, actual in run_both(ZOO[name].model()):
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        assert max(differences(expected, actual)) <= allowed


@settings(max_examples=8)
@given(random_chain(), st.booleans())
def test_any_chain_of_operators_computes_what_it_does_in_onnx_runtime(model, winograd):
    with mock.patch("dgtl.tvm.workload.winograd.WORTH", 0.0):  # wherever it can be
        for expected, actual in run_both(model, winograd=winograd):
            assert max(differences(expected, actual)) <= 1e-3
