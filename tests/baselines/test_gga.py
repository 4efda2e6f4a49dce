"""The reconstruction of GGA: transplanting, neighbours, breeding, stopping."""

from __future__ import annotations

from pathlib import Path

import landscape
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.gga import GGA, GGATuner, most_like, nearest, transplant
from dgtl.core.knob import Knob
from dgtl.core.space import DesignSpace
from dgtl.features.problem import Problem
from dgtl.models.xgb import XGBConfig

FEW = XGBConfig(trees=30, rate=0.3, nthread=1)
extents = st.integers(1, 48)


@given(source=extents, target=extents, parts=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_transplanted_tile_is_a_factorisation_of_the_target(
    source: int, target: int, parts: int, seed: int
) -> None:
    giver = Knob.tile("tile", 0, source, parts, 64)
    taker = Knob.tile("tile", 0, target, parts, 64)
    value = giver.options[seed % len(giver)]
    option = taker.options[most_like(taker, value)]
    assert np.prod(option) == target
    assert option[-1] <= 64


@given(st.integers(0, 3), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_transplanting_gives_a_configuration_of_the_target(which: int, seed: int) -> None:
    source = landscape.sources(1)[which].space
    rng = np.random.default_rng(seed)
    planted = transplant(source, source.sample(rng, 1)[0], landscape.SPACE, rng)
    landscape.SPACE.parse(landscape.SPACE.key(planted))


@pytest.mark.parametrize(
    ("extent", "value", "expected"),
    [
        (64, (2, 2, 4, 4), (2, 2, 4, 4)),  # itself
        (128, (2, 2, 4, 4), (4, 2, 4, 4)),  # the outermost takes the rest
        (8, (2, 2, 4, 4), (1, 1, 2, 4)),  # inner factors come first
        (12, (1, 1, 2, 8), (1, 1, 2, 6)),  # 6 is nearer to 8 than 12 in log2
        (36, (1, 1, 1, 6), (6, 1, 1, 6)),
        (15, (1, 2, 2, 4), (1, 1, 3, 5)),
    ],
)
def test_tiles_by_hand(extent: int, value: tuple, expected: tuple) -> None:
    knob = Knob.tile("tile", 0, extent, 4, 64)
    assert knob.options[most_like(knob, value)] == expected


def test_the_innermost_limit_holds() -> None:
    knob = Knob.tile("tile", 0, 128, 2, 16)
    assert knob.options[most_like(knob, (1, 64))] == (8, 16)


def test_single_values_take_the_nearest_and_unknown_knobs_a_random_one() -> None:
    source = DesignSpace((Knob.choice("unroll", "unroll", (0, 60)),), "S")
    target = DesignSpace(
        (Knob.choice("unroll", "unroll", (0, 16, 64)), Knob.choice("new", "other", (1, 2, 3))), "S"
    )
    rng = np.random.default_rng(0)
    planted = [transplant(source, np.array([1]), target, rng) for _ in range(30)]
    assert {int(p[0]) for p in planted} == {2}
    assert {int(p[1]) for p in planted} == {0, 1, 2}


def test_a_configuration_transplanted_to_its_own_space_is_itself() -> None:
    rng = np.random.default_rng(0)
    for config in landscape.SPACE.sample(rng, 50):
        planted = transplant(landscape.SPACE, config, landscape.SPACE, rng)
        np.testing.assert_array_equal(planted, config)


def test_nearest_by_log2_of_the_shape() -> None:
    sources = landscape.sources(4)
    # log2 distances from 64 x 256 x 128: sqrt(2), 2, sqrt(6), sqrt(4 + 2 + 0.34)
    found = [source.task.key for source in nearest(sources, landscape.TASK, 3)]
    assert found == ["dense_32x256x64", "dense_64x64x128", "dense_128x512x32"]
    assert nearest([], landscape.TASK, 3) == []


def first_plan(method: GGA) -> GGATuner:
    method.prepare(landscape.sources(), Path("unused"), seed=0)
    return method.tuner(Problem(landscape.TASK, landscape.SPACE), np.random.SeedSequence(0))


def test_half_of_the_first_generation_is_transplanted() -> None:
    tuner = first_plan(GGA())
    asked = tuner.ask(64)
    seeds = tuner._seeds(32)
    assert tuner.stage == "seed"
    np.testing.assert_array_equal(asked[: len(seeds)], seeds)
    values = [landscape.gflops(landscape.SPACE, k) for k in landscape.SPACE.keys(asked)]
    assert np.median(values[: len(seeds)]) > 2 * np.median(values[len(seeds) :])


def test_without_history_the_first_generation_is_random() -> None:
    tuner = first_plan(GGA(history=False))
    assert len(tuner.ask(64)) == 64
    assert tuner.stage == "random"


def test_children_come_from_two_parents_and_mutation() -> None:
    tuner = first_plan(GGA(mutation=0.0))
    parents = landscape.SPACE.sample_distinct(np.random.default_rng(3), 2)
    children = tuner._breed(parents, np.array([1.0, 1.0]), 200)
    assert ((children == parents[0]) | (children == parents[1])).all()
    mutants = first_plan(GGA(mutation=1.0))._breed(parents, np.array([1.0, 1.0]), 200)
    assert len(landscape.SPACE.unique(mutants)) > 190


def test_it_ends_after_three_generations_in_vain() -> None:
    method = GGA(trees=FEW, generations=2, offspring=200)
    method.prepare(landscape.sources(), Path("unused"), seed=0)
    trials = landscape.run(method, 0, 64 * 40)
    values = [landscape.TASK.gflops(t.latency_s) if t.ok else 0 for t in trials]
    best_generation = int(np.argmax(values)) // 64
    assert len(trials) == 64 * (best_generation + 1 + 3)


def test_it_says_that_it_is_a_reconstruction() -> None:
    assert "reconstructed" in GGA().name
