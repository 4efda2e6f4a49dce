"""From a network to its tasks: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import collections
import math
import subprocess
import sys
from pathlib import Path

import pytest
import tvm
from tvm import relax
from tvm_layers import LAYERS, tuned_function
from zoo import ZOO

from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.networks import Layer, load
from dgtl.tvm.workload.tasks import extract, lower

pytestmark = pytest.mark.slow


def functions_of(name: str, hardware):
    return extract(lower(load(name, 0).model, tvm.target.Target(hardware.target)), hardware)


@pytest.fixture(scope="module")
def tiny(hardware):
    return functions_of("tiny", hardware)


@pytest.fixture(scope="module")
def resnet18(hardware):
    return functions_of("resnet18", hardware)


def test_tiny_has_one_task_of_each_kind_in_order_of_the_network(tiny):
    tasks = [f.task for f in tiny if f.task is not None]
    assert [task.kind for task in tasks] == ["conv2d", "depthwise_conv2d", "conv2d", "dense"]
    assert [[axis.extent for axis in task.axes] for task in tasks] == [
        [1, 16, 16, 16, 3, 3, 3],
        [1, 16, 16, 16, 3, 3, 1],
        [1, 16, 16, 16, 1, 1, 16],
        [1, 10, 16],
    ]
    assert [task.flops for task in tasks] == [221184.0, 73728.0, 131072.0, 320.0]


def test_resnet18_has_its_convolutions_and_one_dense_layer(resnet18):
    """Eleven distinct convolutions, four of them with and without the residual added."""
    tasks = [f.task for f in resnet18 if f.task is not None]
    assert len(tasks) == 16
    runs: collections.Counter = collections.Counter()
    for task in tasks:
        runs[task.shape_key] += task.weight
    assert runs == {
        "conv2d_1x112x112x64x7x7x3_yy*2_xx*2": 1,
        "conv2d_1x56x56x64x3x3x64": 4,
        "conv2d_1x28x28x128x3x3x64_yy*2_xx*2": 1,
        "conv2d_1x28x28x128x1x1x64_yy*2_xx*2": 1,
        "conv2d_1x28x28x128x3x3x128": 3,
        "conv2d_1x14x14x256x3x3x128_yy*2_xx*2": 1,
        "conv2d_1x14x14x256x1x1x128_yy*2_xx*2": 1,
        "conv2d_1x14x14x256x3x3x256": 3,
        "conv2d_1x7x7x512x3x3x256_yy*2_xx*2": 1,
        "conv2d_1x7x7x512x1x1x256_yy*2_xx*2": 1,
        "conv2d_1x7x7x512x3x3x512": 3,
        "dense_1x1000x512": 1,
    }
    assert sum(t.flops * t.weight for t in tasks if t.kind == "conv2d") == pytest.approx(
        3.628e9, 1e-3
    )


def test_tasks_of_a_network_have_keys_of_their_own(resnet18):
    keys = [f.task.key for f in resnet18 if f.task is not None]
    assert len(set(keys)) == len(keys)


def test_a_layer_has_one_shape_wherever_it_occurs(resnet18, hardware):
    alone = tuned_function(Layer("conv2d", 56, 64, 64, 3, 1, 1)).task
    assert alone.shape_key in {f.task.shape_key for f in resnet18 if f.task is not None}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_flops_axes_and_accesses_agree_with_the_layer(layer):
    task = tuned_function(layer).task
    out = (layer.size + 2 * layer.pad - layer.kernel) // layer.stride + 1
    depth = 1 if layer.kind == "depthwise_conv2d" else layer.inputs
    expected = 2.0 * out * out * layer.outputs * depth * layer.kernel**2
    assert task.kind == layer.kind
    assert task.flops == expected == 2.0 * math.prod(axis.extent for axis in task.axes)
    data, weight, output = task.accesses
    assert [data.write, weight.write, output.write] == [False, False, True]
    assert [data.constant, weight.constant, output.constant] == [False, True, False]
    assert math.prod(weight.shape) == layer.outputs * depth * layer.kernel**2
    assert math.prod(output.shape) == out * out * layer.outputs
    # The output is written once per spatial point, whichever way the loops go.
    spatial = [a for a, axis in enumerate(task.axes) if axis.kind == "S"]
    assert math.prod(task.axes[a].extent for a in spatial) == math.prod(output.shape)
    assert all(
        row[a] == 0 for row in output.strides for a in range(len(task.axes)) if a not in spatial
    )


def test_the_stride_of_a_window_is_in_the_access_to_its_data():
    task = tuned_function(LAYERS["conv2d"]).task
    names = [axis.name for axis in task.axes]
    steps = [
        {n: c for n, c in zip(names, row, strict=True) if c} for row in task.accesses[0].strides
    ]
    assert steps == [{"nn": 1}, {"yy": 2, "ry": 1}, {"xx": 2, "rx": 1}, {"rc": 1}]
    assert task.shape_key.endswith("_yy*2_xx*2")


def test_a_function_that_is_loops_alone_goes_through_all_passes(hardware):
    """TVM writes a scatter by hand: it has no root block, without which the build ends."""
    target = tvm.target.Target(hardware.target)
    network = lower(import_model(ZOO["scatter_elements"].model()).model, target)
    assert sum(f.task is None for f in extract(network, hardware)) >= 1
    relax.transform.SplitLayoutRewritePreproc()(network)


def test_keys_are_the_same_in_every_process():
    """A run that goes on finds its trials by the key of the task."""
    program = (
        "from tvm_layers import LAYERS, tuned_function\n"
        "print(tuned_function(LAYERS['conv2d']).task.key)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2] / "helpers",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == tuned_function(LAYERS["conv2d"]).task.key


def test_a_model_that_tvm_cannot_import_is_told(hardware):
    model = load("tiny", 0).model
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ValueError, match=r"TVM cannot import this model: .*NoSuchOperator"):
        lower(model, tvm.target.Target(hardware.target))
