"""Every column is what walking the loops one by one counts: nothing is looked up in a table."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import toys
import walked_loops
from hypothesis import given, settings
from hypothesis import strategies as st

from dgtl.core.knob import Knob
from dgtl.core.records import Hardware
from dgtl.core.space import DesignSpace
from dgtl.features.loop_nest import FeatureMap

if TYPE_CHECKING:
    from dgtl.core.records import Task

few = settings(max_examples=6, deadline=None)
seeds = st.integers(0, 2**32)

GPU = Hardware("gtx1650", '{"kind": "cuda"}', 3)


def cpu(name: str, cores: int = 4) -> Hardware:
    return Hardware(name, json.dumps({"kind": "llvm", "mcpu": name}), cores)


AVX512, AVX, SSE, NEON = (cpu(name) for name in walked_loops.REGISTERS)


def depthwise(size: int, channels: int, kernel: int):
    """A depthwise convolution NHWC: as many axes as a convolution has, less one reduction."""
    task = toys.conv2d(size=size, inputs=channels, outputs=1, kernel=kernel)
    # The channel that is reduced becomes spatial, in the place of the output's.
    axes = tuple(
        dataclasses.replace(axis, extent=channels if axis.name == "ff" else axis.extent)
        for axis in task.axes
        if axis.name != "rc"
    )
    order = [a for a, axis in enumerate(task.axes) if axis.name != "rc"]
    channel = [0, 0, 0, 1, 0, 0]
    strides = [[[row[a] for a in order] for row in access.strides] for access in task.accesses]
    strides[0][3] = strides[1][2] = strides[2][3] = channel
    strides[1][3] = [0] * 6
    shapes = [a.shape for a in task.accesses]
    shapes[2] = (*shapes[2][:3], channels)
    accesses = tuple(
        dataclasses.replace(access, shape=shape, strides=tuple(map(tuple, rows)))
        for access, shape, rows in zip(task.accesses, shapes, strides, strict=True)
    )
    flops = 2.0 * float(np.prod([axis.extent for axis in axes]))
    return dataclasses.replace(
        task, kind="depthwise_conv2d", axes=axes, accesses=accesses, flops=flops
    )


def on(hardware: Hardware, task: Task) -> Task:
    return dataclasses.replace(task, hardware=hardware)


CPU_TASKS = {
    "dense": toys.dense(rows=4, columns=48, depth=6, hardware=AVX512),
    "wide dense": toys.dense(rows=2, columns=640, depth=1, hardware=cpu("haswell", cores=3)),
    "conv": on(AVX, toys.conv2d(size=4, inputs=2, outputs=6, kernel=3)),
    "strided conv": on(AVX512, toys.conv2d(size=4, inputs=2, outputs=4, kernel=3, stride=2)),
    "pointwise strided conv": on(NEON, toys.conv2d(6, inputs=3, outputs=4, kernel=1, stride=2)),
    "depthwise": on(SSE, depthwise(size=4, channels=6, kernel=3)),
}


def cpu_map(name: str, located: bool) -> FeatureMap:
    task = CPU_TASKS[name]
    return FeatureMap(task, toys.space_of(task, located=located))


CPU_MAPS = {(name, located): cpu_map(name, located) for name in CPU_TASKS for located in (0, 1)}


def gpu_map(name: str) -> FeatureMap:
    """Knobs as TVM's sketches have them on a GPU (SSSRRSRS)."""
    task = dataclasses.replace(CPU_TASKS[name], hardware=GPU)
    tiles = [
        Knob.tile(f"tile_{axis.name}", a, axis.extent, 5 if axis.kind == "S" else 3, 64)
        for a, axis in enumerate(task.axes)
    ]
    choices = (
        Knob.choice("sketch", "sketch", (0, 1, 2)),
        Knob.choice("vector_load", "vector_load", (1, 2, 3, 4)),
        Knob.choice("vector_load_2", "vector_load", (1, 2, 3, 4)),
        Knob.choice("unroll", "unroll", (0, 16, 64, 512)),
        Knob.choice("unroll_explicit", "unroll_explicit", (0, 1)),
    )
    return FeatureMap(task, DesignSpace((*tiles, *choices), "SSSRRSRS"))


GPU_MAPS = {name: gpu_map(name) for name in CPU_TASKS}


def compare(feature_map: FeatureMap, config: np.ndarray, expected: dict[str, float]) -> None:
    found = dict(zip(feature_map.names, feature_map(config[None])[0], strict=True))
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2e-4), name


@few
@given(seeds, st.booleans())
@pytest.mark.parametrize("name", CPU_TASKS)
def test_columns_of_a_cpu_are_what_walking_the_loops_counts(name, seed, located):
    feature_map = CPU_MAPS[name, located]
    task, space = feature_map.task, feature_map.space
    config = space.sample(np.random.default_rng(seed), 1)[0]
    expected = walked_loops.nest_columns(task, space, config)
    compare(feature_map, config, expected | walked_loops.cpu_columns(task, space, config))


@few
@given(seeds)
@pytest.mark.parametrize("name", CPU_TASKS)
def test_columns_of_a_gpu_are_what_walking_the_loops_counts(name, seed):
    feature_map = GPU_MAPS[name]
    task, space = feature_map.task, feature_map.space
    config = space.sample(np.random.default_rng(seed), 1)[0]
    expected = walked_loops.nest_columns(task, space, config)
    compare(feature_map, config, expected | walked_loops.gpu_columns(task, space, config))


@few
@given(seeds)
def test_without_a_stride_the_box_is_what_is_touched(seed):
    """Distinct bytes, one by one: no box about them is needed."""
    feature_map = CPU_MAPS["conv", True]
    task, space = feature_map.task, feature_map.space
    config = space.sample(np.random.default_rng(seed), 1)[0]
    found = dict(zip(feature_map.names, feature_map(config[None])[0], strict=True))
    loops = walked_loops.loops_of(task, space, config)
    for b in range(1, len(space.structure)):
        at = f"{space.structure[:b]}|{space.structure[b:]}"
        inside = [loop for loop in loops if loop.level >= b]
        for buffer, access in zip(walked_loops.BUFFERS, task.accesses, strict=True):
            touched = walked_loops.touched(task, access, inside)
            assert 2 ** found[f"{buffer}_{at}"] == pytest.approx(4 * len(touched), rel=1e-4)


@pytest.mark.parametrize("name", CPU_TASKS)
def test_all_loops_walk_every_iteration_once(name):
    """The reference itself: a tiled nest visits what the plain one does, each index once."""
    feature_map = CPU_MAPS[name, 0]
    task, space = feature_map.task, feature_map.space
    config = space.sample(np.random.default_rng(0), 1)[0]
    visited = list(walked_loops.walk(task, walked_loops.loops_of(task, space, config)))
    plain = np.ndindex(*(axis.extent for axis in task.axes))
    assert sorted(visited) == sorted(plain)


@pytest.mark.parametrize(
    ("hardware", "factors", "vector", "waste", "accumulators"),
    [
        (AVX512, (1, 1, 4, 12), 12, 16 / 12, 1),
        (AVX512, (1, 1, 1, 48), 48, 1, 3),
        (AVX512, (1, 3, 1, 16), 16, 1, 1),
        (AVX, (1, 1, 4, 12), 12, 16 / 12, 2 * 2),
        (AVX, (1, 3, 1, 16), 16, 1, 2 * 2),
        (SSE, (1, 3, 1, 16), 16, 1, 4 * 2),
        (NEON, (1, 1, 4, 12), 12, 1, 3),
    ],
)
def test_vectors_by_hand(hardware, factors, vector, waste, accumulators):
    """Sixteen floats fill a register of 64 bytes; 12 leave a quarter of one empty.

    Where there are 16 registers, each is two of 32.
    """
    task = on(hardware, CPU_TASKS["dense"])
    feature_map = FeatureMap(task, toys.space_of(task))
    space = feature_map.space
    config = np.zeros((1, len(space.knobs)), dtype=np.int32)
    for i, knob in enumerate(space.knobs):
        if knob.name == "tile_j":
            config[0, i] = knob.options.index(factors)
        if knob.name == "tile_i":
            config[0, i] = knob.options.index((4, 1, 1, 1))
    found = dict(zip(feature_map.names, np.exp2(feature_map(config)[0]), strict=True))
    assert found["vector"] == pytest.approx(vector, rel=1e-4)
    assert found["vector_waste"] == pytest.approx(waste, rel=1e-4)
    assert found["accumulators"] == pytest.approx(accumulators, rel=1e-4)


@few
@given(seeds, st.booleans())
def test_axes_without_a_knob_and_parts_that_skip_levels_are_walked_too(seed, gpu):
    """Templates of AutoTVM split some axes only, and not at every level."""
    task = dataclasses.replace(CPU_TASKS["conv"], hardware=GPU if gpu else AVX)
    # Two parts of the output's channels at the outermost and two at the innermost level.
    knobs = (
        Knob.tile("tile_xx", 2, 4, 2, 64, levels=(0, 2)),
        Knob.tile("tile_ff", 3, 6, 3, 64, levels=(1, 3, 3)),
        Knob.tile("tile_rc", 6, 2, 2, 64, levels=(0, 1)),
    )
    space = DesignSpace(knobs, "SSSRRSRS" if gpu else "SSRSRS")
    config = space.sample(np.random.default_rng(seed), 1)[0]
    own = walked_loops.gpu_columns if gpu else walked_loops.cpu_columns
    expected = walked_loops.nest_columns(task, space, config) | own(task, space, config)
    compare(FeatureMap(task, space), config, expected)


@pytest.mark.parametrize(("columns", "jobs"), [((16, 1, 1, 3), 64), ((48, 1, 1, 1), 4)])
def test_sixteen_jobs_a_core_are_fused_and_no_more(columns, jobs):
    """Of 4 rows and 16 columns on 4 cores; 4 x 48 would be too many, so that rows are all."""
    feature_map = CPU_MAPS["dense", 0]
    space = feature_map.space
    config = np.zeros((1, len(space.knobs)), dtype=np.int32)
    for i, knob in enumerate(space.knobs):
        if knob.name == "tile_j":
            config[0, i] = knob.options.index(columns)
        if knob.name == "tile_i":
            config[0, i] = knob.options.index((4, 1, 1, 1))
    found = dict(zip(feature_map.names, np.exp2(feature_map(config)[0]), strict=True))
    assert found["parallel"] == pytest.approx(jobs, rel=1e-4)


@pytest.mark.parametrize("steps", [0, 16, 64, 512])
def test_a_body_of_just_the_limit_is_unrolled(steps):
    """Sums of float32 logarithms of 3, 2 and 6 need not be those of their product."""
    task = toys.dense(rows=4, columns=48, depth=6)
    feature_map = FeatureMap(task, toys.space_of(task))
    space = feature_map.space
    configs = space.sample(np.random.default_rng(0), 4000)
    unroll = next(i for i, knob in enumerate(space.knobs) if knob.name == "unroll")
    configs[:, unroll] = space.knobs[unroll].options.index((steps,))
    found = dict(zip(feature_map.names, feature_map(configs).T, strict=True))
    bodies = []
    for b in range(1, len(space.structure)):
        at = f"{space.structure[:b]}|{space.structure[b:]}"
        # Whole numbers, and vectors divide them.
        bodies.append(np.round(np.exp2(found[f"iterations_{at}"])))
    whole = np.stack(bodies) / np.minimum(np.round(np.exp2(found["vector"])), 64)
    expected = np.where(whole <= max(steps, 1), whole, 1).max(axis=0)
    np.testing.assert_allclose(np.exp2(found["unrolled"]), expected, rtol=1e-4)
