"""CUDA without a GPU: spaces, their limits, kernels and whole networks, compiled beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm_layers import LAYERS

from dgtl.core.gpus import GPUS, name_of
from dgtl.core.space import DesignSpace
from dgtl.features.loop_nest import FeatureMap
from dgtl.tvm import cuda
from dgtl.tvm import hardware as machine
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.workload import networks
from dgtl.tvm.workload.sketches import InvalidConfigurationError, ScheduleSpace
from dgtl.tvm.workload.tasks import extract, lower

pytest.importorskip("cuda.bindings", reason="NVRTC comes with dgtl[cuda]")
pytestmark = pytest.mark.slow

GPU = machine.gpu("h100").hardware
TARGET = tvm.target.Target(GPU.target)


def function_of(layer: networks.Layer):
    functions = extract(lower(layer.model(0), TARGET), GPU)
    return next(function for function in functions if function.task is not None)


def accepted(space: ScheduleSpace, config: np.ndarray) -> bool:
    try:
        space.schedule(config)
    except InvalidConfigurationError:
        return False
    return True


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_tvm_accepts_what_is_drawn_and_nothing_it_accepts_is_refused(layer):
    space = ScheduleSpace(function_of(layer).mod, TARGET)
    rng = np.random.default_rng(0)
    assert all(accepted(space, config) for config in space.space.sample(rng, 40))
    free = DesignSpace(space.space.knobs, space.space.structure).sample(rng, 120)
    by_tvm = [accepted(space, config) for config in free]
    assert space.space.accepts(free).tolist() == by_tvm


def test_padding_is_no_condition_in_the_innermost_loop():
    """What is multiplied is read from shared memory as it lies there."""
    space = ScheduleSpace(function_of(LAYERS["conv2d"]).mod, TARGET)
    config = space.space.sample(np.random.default_rng(0), 1)[0]
    script = space.schedule(config).mod.script()
    (update,) = (
        line
        for line in script.splitlines()
        if "T.reads" not in line and "_local[" in line and "_shared[" in line
    )
    assert "if_then_else" not in update
    assert "if_then_else" in script


def test_features_know_the_device_and_the_sketch():
    function = function_of(LAYERS["conv2d"])
    space = ScheduleSpace(function.mod, TARGET).space
    features = FeatureMap(function.task, space)
    configs = space.sample(np.random.default_rng(0), 200)
    columns = dict(zip(features.names, features(configs).T, strict=True))
    assert np.isfinite(features(configs)).all()
    assert set(columns["device_clock"]) == {np.float32(np.log2(GPUS["h100"].clock_mhz))}
    assert {0.0, 1.0} == set(columns["sketch_2"])
    assert len(set(columns["vector_load_data"])) == 4


def test_source_becomes_a_binary_and_an_error_one_line():
    binary = cuda.compile_source('extern "C" __global__ void f(float* x) { x[0] = 1; }', "sm_90")
    assert binary[:4] == b"\x7fELF"
    with pytest.raises(cuda.CompileError, match='identifier "bad" is undefined'):
        cuda.compile_source("bad code", "sm_90")


def test_a_whole_network_is_built_with_binaries_of_all_its_kernels(tmp_path):
    """ResNet-18: what no schedule of ours covers gets TVM's, so that it runs as a whole."""
    network = lower(networks.load("resnet18", 0).model, TARGET)
    binaries = deploy.build(network, GPU, tmp_path / "model.so")
    assert len(binaries) == 1
    (file,) = binaries.values()
    assert Path(file).read_bytes()[:4] == b"\x7fELF"
    assert (tmp_path / "model.so").stat().st_size > 4 * 11e6  # its weights


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA GeForce RTX 3090", "rtx3090"),
        ("NVIDIA GeForce GTX 1650", "gtx1650"),
        ("NVIDIA GeForce GTX 1650 SUPER", "gtx1650-super"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "rtx4090-laptop"),
    ],
)
def test_devices_go_by_the_names_of_histories(product, name):
    assert name_of(product) == name
