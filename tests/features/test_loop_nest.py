"""Features describe the loop nest: what they say of it is arithmetic that can be checked."""

import math

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from dgtl.features import loop_nest as features_module
from dgtl.features.loop_nest import FeatureMap

TASKS = [
    toys.dense(),
    toys.dense(rows=1, columns=48, depth=30),
    toys.conv2d(),
    toys.conv2d(size=7, kernel=5, stride=2),
    toys.conv2d(size=14, kernel=1, stride=2),
]
MAPS = [FeatureMap(task, toys.space_of(task, located=True)) for task in TASKS]
maps = st.sampled_from(MAPS)
seeds = st.integers(0, 2**32)
BUFFERS = ("data", "weight", "out")


def sampled(feature_map: FeatureMap, seed: int, n: int = 16):
    configs = feature_map.space.sample(np.random.default_rng(seed), n)
    return configs, columns(feature_map, configs)


def columns(feature_map: FeatureMap, configs) -> dict[str, np.ndarray]:
    return dict(zip(feature_map.names, feature_map(configs).T, strict=True))


def boundaries(feature_map: FeatureMap) -> list[str]:
    """Names of the boundaries between tile levels, outermost first."""
    structure = feature_map.space.structure
    return [f"{structure[:b]}|{structure[b:]}" for b in range(1, len(structure))]


@given(maps, seeds)
def test_every_column_has_a_name_of_its_own_and_is_finite(feature_map, seed):
    configs, _ = sampled(feature_map, seed)
    x = feature_map(configs)
    assert x.dtype == np.float32
    assert x.shape == (len(configs), len(feature_map.names))
    assert len(set(feature_map.names)) == len(feature_map.names)
    assert np.isfinite(x).all()


def test_all_tasks_share_the_same_columns():
    assert len({feature_map.names for feature_map in MAPS}) == 1


@given(maps, seeds)
def test_product_of_tile_factors_is_the_extent(feature_map, seed):
    _, found = sampled(feature_map, seed)
    for role in ("s1", "s2", "s3", "r1", "r2", "r3"):
        factors = [v for name, v in found.items() if name.startswith(f"tile_{role}_")]
        np.testing.assert_allclose(sum(factors), found[f"extent_{role}"], atol=1e-4)


@given(maps, seeds)
def test_iterations_inside_times_factors_outside_is_the_whole_nest(feature_map, seed):
    _, found = sampled(feature_map, seed)
    structure = feature_map.space.structure
    whole = sum(math.log2(axis.extent) for axis in feature_map.task.axes)
    for b, at in enumerate(boundaries(feature_map), start=1):
        outside = 0.0
        for kind in "SR":
            for role in (f"{kind.lower()}{i}" for i in (1, 2, 3)):
                for p in range(structure[:b].count(kind)):
                    outside = outside + found[f"tile_{role}_{p}"]
        np.testing.assert_allclose(found[f"iterations_{at}"] + outside, whole, atol=1e-3)


@given(maps, seeds)
def test_footprint_never_exceeds_the_buffer_nor_falls_below_one_element(feature_map, seed):
    _, found = sampled(feature_map, seed)
    for at in boundaries(feature_map):
        for buffer, access in zip(BUFFERS, feature_map.task.accesses, strict=True):
            n_bytes = np.exp2(found[f"{buffer}_{at}"])
            assert (n_bytes <= math.prod(access.shape) * access.item_bytes * 1.0001).all()
            assert (n_bytes >= access.item_bytes * 0.9999).all()


@given(maps, seeds)
def test_iterations_and_footprints_shrink_from_level_to_level(feature_map, seed):
    _, found = sampled(feature_map, seed)
    for column in ("iterations", *BUFFERS, "bytes"):
        levels = np.stack([found[f"{column}_{at}"] for at in boundaries(feature_map)])
        assert (np.diff(levels, axis=0) <= 1e-4).all()


@given(maps, seeds)
def test_bytes_and_intensity_follow_from_footprints_and_iterations(feature_map, seed):
    _, found = sampled(feature_map, seed)
    for at in boundaries(feature_map):
        total = np.log2(sum(np.exp2(found[f"{buffer}_{at}"]) for buffer in BUFFERS))
        np.testing.assert_allclose(found[f"bytes_{at}"], total, atol=1e-3)
        intensity = 1 + found[f"iterations_{at}"] - total
        np.testing.assert_allclose(found[f"intensity_{at}"], intensity, atol=1e-3)


@given(maps, seeds, st.data())
def test_larger_inner_tile_touches_no_less(feature_map, seed, data):
    """Moving a factor of a tile inwards grows no iteration count or footprint less than before."""
    space = feature_map.space
    config = space.sample(np.random.default_rng(seed), 1)[0]
    knob = data.draw(st.sampled_from([i for i, k in enumerate(space.knobs) if k.role == "tile"]))
    before = space.knobs[knob].options[config[knob]]
    inner = np.cumprod(before[::-1])[::-1]
    larger = [
        i
        for i, option in enumerate(space.knobs[knob].options)
        if (np.cumprod(option[::-1])[::-1] >= inner).all()
    ]
    other = config.copy()
    other[knob] = data.draw(st.sampled_from(larger))
    found = columns(feature_map, np.stack([config, other]))
    for at in boundaries(feature_map):
        for column in ("iterations", *BUFFERS):
            a, b = found[f"{column}_{at}"]
            assert b >= a - 1e-4


def test_footprint_of_a_strided_window_is_counted_once():
    """For 2 outputs in a row, a window of 3 with stride 2 reads 2 + 3 = 5 inputs, not 2 * 3."""
    task = toys.conv2d(size=4, inputs=1, outputs=1, kernel=3, stride=2)
    feature_map = FeatureMap(task, toys.space_of(task))
    space = feature_map.space
    tiles = {"tile_yy": (1, 1, 2, 2), "tile_xx": (1, 1, 2, 2), "tile_ry": (1, 3), "tile_rx": (1, 3)}
    config = np.zeros((1, len(space.knobs)), dtype=np.int32)
    for i, knob in enumerate(space.knobs):
        if knob.name in tiles:
            config[0, i] = knob.options.index(tiles[knob.name])
    found = columns(feature_map, config)
    innermost = boundaries(feature_map)[-2]
    assert np.exp2(found[f"data_{innermost}"][0]) == pytest.approx(4 * 5 * 5)
    assert np.exp2(found[f"out_{innermost}"][0]) == pytest.approx(4 * 2 * 2)


@given(maps, seeds)
def test_flags_say_what_was_chosen(feature_map, seed):
    configs, found = sampled(feature_map, seed)
    space = feature_map.space
    chosen = [space.values(config) for config in configs]
    for s in range(3):
        np.testing.assert_array_equal(found[f"sketch_{s}"], [v["sketch"][0] == s for v in chosen])
    np.testing.assert_array_equal(
        found["producer_inline"], [v["location"][0] == -2 for v in chosen]
    )
    np.testing.assert_array_equal(found["producer_root"], [v["location"][0] == -1 for v in chosen])
    unroll = np.log2([1 + v["unroll"][0] for v in chosen])
    np.testing.assert_allclose(found["unroll"], unroll, atol=1e-4)


@given(maps, seeds)
def test_features_of_a_configuration_do_not_depend_on_its_batch(feature_map, seed):
    configs, _ = sampled(feature_map, seed, n=7)
    alone = np.concatenate([feature_map(config[None]) for config in configs])
    np.testing.assert_array_equal(alone, feature_map(configs))


@given(maps, seeds)
def test_jobs_that_come_out_even_are_balanced(feature_map, seed):
    """Of 12 jobs on 4 cores, none waits: rounding of logarithms does not make them 16."""
    _, found = sampled(feature_map, seed, 64)
    cores = feature_map.task.hardware.num_cores
    jobs = np.round(np.exp2(found["parallel"])).astype(int)
    rounds = -(-jobs // cores)
    np.testing.assert_allclose(found["imbalance"], np.log2(rounds * cores / jobs), atol=1e-4)


def test_large_batches_are_done_in_pieces(monkeypatch):
    configs, _ = sampled(MAPS[0], seed=0, n=25)
    whole = MAPS[0](configs)
    monkeypatch.setattr(features_module, "CHUNK", 10)
    np.testing.assert_array_equal(MAPS[0](configs), whole)


def test_no_configurations_make_no_rows():
    empty = np.zeros((0, len(MAPS[0].space.knobs)), dtype=np.int32)
    assert MAPS[0](empty).shape == (0, len(MAPS[0].names))
