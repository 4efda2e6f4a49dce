"""Every network of the zoo is valid and runs, and is what its name says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from zoo import ZOO, inputs, random_chain

pytestmark = pytest.mark.slow  # Of what other tests use, not of the program.


def run(model: onnx.ModelProto, seed: int = 0) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, inputs(model, seed))


@pytest.mark.parametrize("name", ZOO)
def test_a_case_is_valid_and_runs_with_finite_outputs(name):
    case = ZOO[name]
    model = case.model()
    assert [o.version for o in model.opset_import] == [case.opset]
    for seed in range(2):
        for value, output in zip(run(model, seed), model.graph.output, strict=True):
            assert list(value.shape) == [d.dim_value for d in output.type.tensor_type.shape.dim]
            assert np.isfinite(value).all()


def kinds(model: onnx.ModelProto) -> Counter[str]:
    """Of the layers, read from the operators and the shapes that ONNX infers."""
    constants = {w.name: list(w.dims) for w in model.graph.initializer}
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = constants | {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.value_info]
    }
    found: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in {"Gemm", "MatMul", "Einsum"}:
            left, right = (shapes[name] for name in node.input[:2])
            if node.input[1] in constants and len(right) == 2:
                found["dense"] += 1
            else:
                found["matmul" if len(left) == len(right) == 2 else "batch_matmul"] += 1
        elif node.op_type in {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv"}:
            transposed = node.op_type == "ConvTranspose"
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            kernel = shapes[node.input[3 if node.op_type == "QLinearConv" else 1]]
            depth = kernel[0] if transposed else kernel[1] * groups
            prefix = "" if groups == 1 else "depthwise_" if groups == depth else "grouped_"
            found[f"{prefix}conv{len(kernel) - 2}d{'_transpose' * transposed}"] += 1
    return found


@pytest.mark.parametrize("name", ZOO)
def test_the_kinds_of_a_case_are_those_of_its_operators(name):
    assert kinds(ZOO[name].model()) == ZOO[name].kind_counts


@pytest.mark.parametrize("name", ZOO)
def test_a_case_counts_at_least_the_transpositions_that_it_has(name):
    """Those of inputs and outputs, and of constants, need not be counted."""
    graph = ZOO[name].model().graph
    ends = {value.name for value in [*graph.input, *graph.output]}
    inner = [
        node
        for node in graph.node
        if node.op_type == "Transpose" and not ends & {*node.input, *node.output}
    ]
    assert len(inner) <= ZOO[name].transposes


def test_a_case_is_the_same_each_time():
    assert ZOO["squeeze_excitation"].model() == ZOO["squeeze_excitation"].model()


def test_the_zoo_is_large():
    assert len(ZOO) >= 90


@settings(max_examples=60)
@given(random_chain())
def test_random_chains_are_valid_and_finite(model):
    for value in run(model):
        assert np.isfinite(value).all()
