"""What a device refuses is never drawn, and what it takes is not thrown away."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from dgtl.core.gpu_limits import DeviceLimits, GPULimits
from dgtl.core.knob import Knob
from dgtl.core.space import DesignSpace

LIMITS = DeviceLimits(threads=64, shared_bytes=1024, warp=8)
STAGES = (3, 1)


def space_of(task, limits: DeviceLimits = LIMITS) -> DesignSpace:
    tiles = [
        Knob.tile(f"tile_{axis.name}", a, axis.extent, 5 if axis.kind == "S" else 3, 64)
        for a, axis in enumerate(task.axes)
    ]
    knobs = (Knob.choice("sketch", "sketch", (0, 1)), *tiles)
    accepts = GPULimits(task.axes, task.accesses, knobs, limits, STAGES)
    return DesignSpace(knobs, "SSSRRSRS", accepts)


DENSE = space_of(toys.dense(8, 24, 16))


def possible(config) -> bool:
    """By hand, of the matrix product of 8 x 24 and 24 x 16."""
    sketch, (i, j, k) = (
        int(config[0]),
        [knob.options[o] for knob, o in zip(DENSE.knobs[1:], config[1:], strict=True)],
    )
    rows, columns, depth = math.prod(i[1:]), math.prod(j[1:]), math.prod(k[1:])
    n_bytes = 4 * STAGES[sketch] * (rows * depth + depth * columns)
    ahead = STAGES[sketch] > 1
    return 8 <= i[2] * j[2] <= 64 and n_bytes <= 1024 and (not ahead or k[0] > 1)


@given(st.integers(0, 2**32 - 1))
def test_limits_are_those_counted_by_hand(seed):
    free = DesignSpace(DENSE.knobs, DENSE.structure)
    configs = free.sample(np.random.default_rng(seed), 200)
    assert DENSE.accepts(configs).tolist() == [possible(config) for config in configs]


def test_a_window_counts_once_where_it_overlaps():
    """A 3x3 convolution of stride 1 over a tile of 2x2 reads 4x4 of each channel."""
    task = toys.conv2d(8, 4, 4)
    space = space_of(task)
    tiles = {"nn": 1, "yy": 2, "xx": 2, "ff": 4, "ry": 3, "rx": 3, "rc": 4}
    config = [1]
    for knob, axis in zip(space.knobs[1:], task.axes, strict=True):
        inside = tiles[axis.name]
        config.append(
            next(
                o
                for o, parts in enumerate(knob.options)
                if math.prod(parts[1:]) == inside and (len(parts) == 3 or parts[2] == inside)
            )
        )
    n_bytes = 4 * (4 * 4 * 4 + 3 * 3 * 4 * 4)
    row = np.array([config])
    for limit, fits in ((n_bytes, True), (n_bytes - 1, False)):
        limits = DeviceLimits(threads=64, shared_bytes=limit, warp=1)
        assert space_of(task, limits).accepts(row).tolist() == [fits]


@given(st.integers(0, 2**32 - 1))
def test_nothing_drawn_or_moved_to_is_refused(seed):
    rng = np.random.default_rng(seed)
    drawn = DENSE.sample(rng, 50)
    assert len(drawn) == 50
    for configs in (drawn, DENSE.sample_distinct(rng, 50), DENSE.neighbours(rng, drawn)):
        assert DENSE.accepts(configs).all()


def test_all_that_is_accepted_can_be_drawn():
    small = space_of(toys.dense(4, 4, 4), DeviceLimits(threads=8, shared_bytes=64, warp=1))
    every = small.at(range(small.size))
    accepted = {small.key(config) for config in every[small.accepts(every)]}
    assert 0 < len(accepted) < small.size
    drawn = small.sample_distinct(np.random.default_rng(0), small.size)
    assert set(small.keys(drawn)) == accepted
    few = small.sample_distinct(np.random.default_rng(0), len(accepted) // 2)
    assert len({small.key(config) for config in few}) == len(accepted) // 2


def test_neighbours_reach_every_accepted_configuration_one_step_away():
    start = DENSE.sample(np.random.default_rng(1), 1)
    near = {
        DENSE.key(config)
        for knob, other in itertools.product(range(len(DENSE.knobs)), range(DENSE.sizes.max()))
        if other < DENSE.sizes[knob] and other != start[0, knob]
        for config in [np.where(np.arange(len(DENSE.knobs)) == knob, other, start[0])]
        if DENSE.accepts(config[None])[0]
    }
    moved = DENSE.neighbours(np.random.default_rng(2), np.repeat(start, 20_000, axis=0))
    assert near <= set(DENSE.keys(moved)) <= near | {DENSE.key(start[0])}


@pytest.mark.slow
def test_a_device_that_takes_nothing_is_said():
    space = space_of(toys.dense(8, 24, 16), DeviceLimits(threads=64, shared_bytes=1, warp=8))
    with pytest.raises(ValueError, match="none keeps to the device's limits"):
        space.sample(np.random.default_rng(0), 4)
