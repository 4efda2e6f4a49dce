"""3x3 convolutions by minimal filtering compute what convolutions do, where that is worth it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from tvm import relax

from dgtl.core.cpus import vector_registers
from dgtl.device.values import differences
from dgtl.tvm import hardware as machine
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.workload import blocks, winograd, winograd_schedule
from dgtl.tvm.workload.networks.graph import Graph
from dgtl.tvm.workload.sketches import default_schedule
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    import onnx

HARDWARE = machine.detect(1)
TARGET = tvm.target.Target(HARDWARE.target)
SMALL = st.integers(-8, 8)


@given(st.lists(SMALL, min_size=6, max_size=6), st.lists(SMALL, min_size=3, max_size=3))
def test_the_matrices_filter_every_signal(signal, taps):
    products = (np.array(winograd.WEIGHTS) @ taps) * (np.array(winograd.INPUT) @ signal)
    found = np.array(winograd.OUTPUT) @ products
    np.testing.assert_allclose(found, np.correlate(signal, taps, "valid"), atol=1e-9)


def network(batch: int, size: tuple[int, int], channels: int, pads: list[int]) -> onnx.ModelProto:
    """A convolution with bias, an addition and a ReLU, its input after another operator."""
    g = Graph(0, (batch, channels, *size))
    x = g.node("Relu", "data")
    y = g.node("Conv", x, g.weight((16, channels, 3, 3), 9 * channels), g.bias(16), pads=pads)
    return g.model(g.node("Relu", g.node("Add", y, g.constant(np.full((1, 16, 1, 1), 0.5)))))


CASES = {
    "even tiles": (1, (8, 12), 8, [1, 1, 1, 1]),
    "tiles beyond the edge, several images": (2, (7, 9), 8, [1, 1, 1, 1]),
    "unequal padding": (1, (9, 6), 24, [0, 2, 1, 0]),
    "none": (1, (6, 6), 40, [0, 0, 0, 0]),
}


@pytest.mark.parametrize("scheduled", ["not", "near", "in runs"])
@pytest.mark.parametrize("case", CASES)
def test_a_network_computes_what_it_does_in_onnx_runtime(case, scheduled, monkeypatch, tmp_path):
    model = network(*CASES[case])
    monkeypatch.setattr(winograd_schedule, "NEAR", 0 if scheduled == "in runs" else 1 << 30)
    monkeypatch.setattr(winograd, "gains", lambda call, kernel: True)
    lowered = lower(model, TARGET, winograd=True)
    functions = extract(lowered, HARDWARE)
    assert [f.task.kind for f in functions if f.task is not None] == ["batch_matmul"]
    names = [f.name for f in functions]
    assert sum("winograd_transform" in name for name in names) == 1
    assert sum("winograd_inverse" in name and "relu" in name for name in names) == 1
    database = None
    if scheduled != "not":
        schedules = [(f, default_schedule(f.mod, TARGET), 1.0) for f in functions]
        database = deploy.write_database(tmp_path / "best", HARDWARE, schedules)
    deploy.build(lowered, HARDWARE, tmp_path / "model.so", database)
    main = relax.VirtualMachine(tvm.runtime.load_module(str(tmp_path / "model.so")), tvm.cpu())
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    value = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(None, {model.graph.input[0].name: value})
    assert max(differences(expected, main["main"](tvm.runtime.tensor(value)).numpy())) <= 1e-4


def test_transformations_are_parallel_and_of_vectors(monkeypatch):
    monkeypatch.setattr(winograd, "gains", lambda call, kernel: True)
    lanes = blocks.VECTORS * vector_registers(HARDWARE.target).n_bytes // 4
    functions = extract(lower(network(1, (8, 8), 64, [1] * 4), TARGET, winograd=True), HARDWARE)
    transformations = [f for f in functions if "winograd" in f.name]
    assert len(transformations) == 2
    for function in transformations:
        channels = 16 if winograd.INVERSE in function.name else 64
        text = default_schedule(function.mod, TARGET).mod.script()
        assert "T.parallel(" in text
        assert re.search(rf"T.vectorized\((T.int64\()?{math.gcd(channels, lanes)}\)", text)


def test_far_matrices_are_moved_in_runs_of_tiles(monkeypatch):
    """A page apart, elements of one tile want the same lines of a cache."""
    monkeypatch.setattr(winograd, "gains", lambda call, kernel: True)
    monkeypatch.setattr(winograd_schedule, "NEAR", 0)
    functions = extract(lower(network(1, (32, 32), 16, [1] * 4), TARGET, winograd=True), HARDWARE)
    runs = {"transform": 32, "inverse": 8}  # of 512 / 16 tiles in all, or what a row has
    for name, tiles in runs.items():
        (mod,) = (f.mod for f in functions if f"winograd_{name}" in f.name)
        text = default_schedule(mod, TARGET).mod.script()
        assert f"T.grid(T.int64(36), T.int64({tiles * 16 // 8}))" in text.replace(
            "T.int64(1), ", ""
        )
        assert re.search(rf"in T.parallel\((T.int64\()?{64 // tiles}\)", text)


def chosen(
    size: int, inputs: int, outputs: int, kernel: int = 3, groups: int = 1, **attributes
) -> bool:
    """Whether a convolution alone is computed by minimal filtering."""
    g = Graph(0, (1, inputs, size, size))
    weight = g.weight((outputs, inputs // groups, kernel, kernel), inputs)
    y = g.node("Conv", "data", weight, pads=[kernel // 2] * 4, group=groups, **attributes)
    names = [f.name for f in extract(lower(g.model(y), TARGET, winograd=True), HARDWARE)]
    return any("winograd" in name for name in names)


def test_only_plain_3x3_convolutions_of_many_channels_are_computed_so():
    assert chosen(28, 256, 256)
    assert not chosen(28, 256, 256, kernel=1)
    assert not chosen(28, 256, 256, kernel=5)
    assert not chosen(28, 256, 256, groups=4)
    assert not chosen(28, 256, 256, strides=[2, 2])
    assert not chosen(28, 256, 256, dilations=[2, 2])
    assert not chosen(224, 3, 64)
    assert not chosen(28, 250, 256)
    assert not chosen(3, 512, 512)


def test_without_being_asked_for_no_convolution_is():
    g = Graph(0, (1, 256, 28, 28))
    model = g.model(g.conv("data", 256, 3, 1, 1))
    assert not any("winograd" in f.name for f in extract(lower(model, TARGET), HARDWARE))
