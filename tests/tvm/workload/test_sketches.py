"""A configuration is a schedule, always the same one, and every schedule computes the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx_models as forms
import pytest
import tvm
from tvm.ir import assert_structural_equal
from tvm.s_tir.meta_schedule import TuneContext
from tvm.s_tir.meta_schedule.space_generator import PostOrderApply
from tvm_layers import LAYERS, schedules, tuned_function

from dgtl.tvm import hardware as machine
from dgtl.tvm.measure import workers
from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.networks import Layer
from dgtl.tvm.workload.sketches import InvalidConfigurationError, ScheduleSpace, loop_order, rules
from dgtl.tvm.workload.tasks import extract, lower
from dgtl.tvm.workload.traces import TraceText

pytestmark = pytest.mark.slow

CUDA = {
    "kind": "cuda",
    "arch": "sm_75",
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 49152,
    "max_num_threads": 1024,
    "thread_warp_size": 32,
}
layers = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


def some(space, n: int, seed: int = 0) -> np.ndarray:
    """Random configurations [n, K] that take the sketches in turn."""
    configs = space.sample(np.random.default_rng(seed), n)
    configs[:, 0] = np.arange(n) % len(space.knobs[0])
    return configs


@layers
def test_a_configuration_is_always_the_same_schedule(layer):
    """Also in a space made anew, as the worker processes make it."""
    space = schedules(layer)
    again = ScheduleSpace(space.mod, space.target)
    assert again.space.to_json() == space.space.to_json()
    for config in some(space.space, 6):
        first, second = space.schedule(config), again.schedule(config)
        assert_structural_equal(first.mod, second.mod)
        assert str(first.trace) == str(second.trace)


@layers
def test_other_decisions_are_another_schedule(layer):
    space = schedules(layer)
    texts = [space.schedule(config).mod.script() for config in some(space.space, 9)]
    assert len(set(texts)) > 6


@layers
def test_a_schedule_is_an_ordinary_trace_that_tvm_replays(layer):
    space = schedules(layer)
    for config in some(space.space, 3):
        schedule = space.schedule(config)
        replayed = tvm.s_tir.Schedule(space.mod)
        schedule.trace.apply_to_schedule(replayed, remove_postproc=False)
        assert_structural_equal(replayed.mod, schedule.mod)


@layers
def test_random_schedules_compute_what_the_unscheduled_function_does(layer, tmp_path):
    space = schedules(layer)
    file = tmp_path / "mod.json"
    file.write_text(tvm.ir.save_json(space.mod))
    target = str(tuned_function(layer).task.hardware.target)
    for key in space.space.keys(some(space.space, 3, seed=1)):
        assert workers.check(str(file), target, key)[0] <= 1e-5


@layers
def test_the_default_schedule_is_one_of_the_space_without_tiles(layer):
    space = schedules(layer)
    script = space.default().mod.script()
    assert "T.parallel" in script
    assert "T.vectorized" in script


def test_a_layer_of_resnet18_has_more_than_a_million_configurations():
    assert schedules(Layer("conv2d", 56, 64, 64, 3, 1, 1)).space.size > 1_000_000


def test_knobs_are_named_by_the_loops_and_tile_all_of_each():
    layer = LAYERS["conv2d"]
    task, space = tuned_function(layer).task, schedules(layer).space
    tiles = [knob for knob in space.knobs if knob.role == "tile"]
    assert [knob.name for knob in tiles] == [f"tile_{axis.name}" for axis in task.axes]
    for knob, axis in zip(tiles, task.axes, strict=True):
        assert (np.prod(knob.table, axis=1) == axis.extent).all()
        assert knob.table.shape[1] == (4 if axis.kind == "S" else 2)
    roles = [knob.role for knob in space.knobs]
    assert roles.count("sketch") == roles.count("unroll") == roles.count("location") == 1


def test_loops_go_level_by_level():
    assert loop_order("SRS", [True, False, True]) == [0, 2, 1, 0, 2]


@pytest.mark.parametrize("kind", ["conv2d_1x1", "depthwise_conv2d", "dense"])
def test_sketches_for_a_gpu_need_no_gpu(kind):
    """Most random configurations ask for too many threads or too much shared memory."""
    function = tuned_function(LAYERS[kind])
    space = ScheduleSpace(function.mod, tvm.target.Target(CUDA))
    assert space.space.structure == "SSSRRSRS"
    valid, refused = 0, 0
    for config in some(space.space, 60):
        try:
            script = space.schedule(config).mod.script()
        except InvalidConfigurationError as error:
            refused += "VerifyGPUCode" in str(error)
        else:
            assert "threadIdx.x" in script
            valid += 1
    assert valid > 0
    assert valid + refused == 60


def test_a_target_without_rules_is_told():
    with pytest.raises(ValueError, match="no schedule rules for target kind 'vulkan'"):
        rules("vulkan")


def test_saving_a_function_as_json_works(tmp_path):
    """Guards a pin: other versions of tvm-ffi crash the process here."""
    program = """
import tvm
from tvm.script import tirx as T

@T.prim_func
def main(a: T.Buffer((4,), "float32"), b: T.Buffer((4,), "float32")):
    for i in range(4):
        b[i] = a[i]

mod = tvm.IRModule({"main": main})
tvm.ir.assert_structural_equal(mod, tvm.ir.load_json(tvm.ir.save_json(mod)))
"""
    path = tmp_path / "save.py"
    path.write_text(program)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@layers
def test_a_schedule_tells_its_configuration(layer):
    """But for the compute location, of which TVM takes the nearest possible one."""
    space = schedules(layer)
    free = [i for i, knob in enumerate(space.space.knobs) if knob.role != "location"]
    for config in some(space.space, 9):
        found = space.configuration(space.schedule(config).trace)
        np.testing.assert_array_equal(found[free], config[free])


@layers
def test_sketches_of_stock_tvm_are_those_of_the_space_but_for_rfactor(layer):
    space = schedules(layer)
    context = TuneContext(
        mod=space.mod,
        target=space.target,
        space_generator=PostOrderApply(sch_rules="llvm", postprocs="llvm", mutator_probs="llvm"),
        search_strategy="replay-trace",
        rand_state=3,
    )
    found, others = set(), []
    for sketch in context.generate_design_space():
        config = space.configuration(sketch.trace)
        if config is None:
            others.append(str(sketch.trace))
        else:
            found.add(int(config[0]))
    assert found == set(range(len(space.space.knobs[0])))
    assert all("rfactor" in text for text in others)


def test_the_trace_of_another_layer_has_no_configuration():
    dense, conv = schedules(LAYERS["dense"]), schedules(LAYERS["conv2d"])
    trace = dense.schedule(some(dense.space, 1)[0]).trace
    assert dense.configuration(trace) is not None
    assert conv.configuration(trace) is None


def test_how_far_to_parallelise_is_no_part_of_a_sketch():
    space = schedules(LAYERS["conv2d"])
    (config,) = some(space.space, 1)
    text = TraceText.of(space.schedule(config).trace)
    assert "meta_schedule.parallel" in text.text
    assert 'ann_key="meta_schedule.parallel", ann_val=)' in text.text
    assert "decision" not in text.text


def test_the_empty_module_of_intrinsics_goes_only_where_it_is_ours():
    """TVM's own rules look intrinsics up, which takes TVM half a minute to register."""
    program = """
import sys, types
import dgtl.tvm
name = "tvm.s_tir.tensor_intrin"
assert sys.modules[name] is not None
dgtl.tvm.allow_intrinsics()
assert name not in sys.modules
other = sys.modules[name] = types.ModuleType(name)
dgtl.tvm.allow_intrinsics()
assert sys.modules[name] is other
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_scores_with_a_mask_that_is_chosen_have_sketches():
    """As attention of transformers is exported: the mask is And, then Where of two numbers."""
    given = forms.model(
        [
            forms.node("And", "rows columns", "seen"),
            forms.node("Where", "seen none much", "mask"),
            forms.node("MatMul", "q k", "scores"),
            forms.node("Add", "scores mask", "y"),
        ],
        [
            forms.value("q", [1, 2, 8, 4]),
            forms.value("k", [1, 2, 4, 8]),
            forms.value("rows", [1, 1, 8, 1], forms.BOOL),
            forms.value("columns", [1, 1, 1, 8], forms.BOOL),
        ],
        [forms.value("y", [1, 2, 8, 8])],
        [forms.constant("none", 0.0, np.float32), forms.constant("much", -1e4, np.float32)],
    )
    hardware = machine.detect(1)
    target = tvm.target.Target(hardware.target)
    network = lower(import_model(given).model, target)
    (layer,) = [f for f in extract(network, hardware) if f.task is not None]
    assert "where" in layer.name
    assert ScheduleSpace(layer.mod, target).space.size > 1000
