"""A design space is a product of finite choices: every configuration has one rank and one key."""

import itertools
import json
import math

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from dgtl.core.knob import Knob, autotvm_splits, factorisations
from dgtl.core.space import SPACE_SCHEMA, DesignSpace

SPACES = [toys.space_of(toys.dense()), toys.space_of(toys.conv2d(), located=True)]
spaces = st.sampled_from(SPACES)
seeds = st.integers(0, 2**32)


def small(*sizes: int) -> DesignSpace:
    knobs = (Knob.choice(f"k{i}", "other", tuple(range(n))) for i, n in enumerate(sizes))
    return DesignSpace(tuple(knobs), "")


@given(extent=st.integers(1, 60), parts=st.integers(1, 4), max_inner=st.integers(1, 64))
def test_factorisations_are_complete_and_ordered(extent, parts, max_inner):
    divisors = [d for d in range(1, extent + 1) if extent % d == 0]
    expected = [
        option
        for option in itertools.product(divisors, repeat=parts)
        if math.prod(option) == extent and option[-1] <= max_inner
    ]
    assert list(factorisations(extent, parts, max_inner)) == expected
    assert expected == sorted(set(expected))


@given(space=spaces, seed=seeds)
def test_index_and_configuration_are_inverse(space, seed):
    configs = space.sample(np.random.default_rng(seed), 5)
    np.testing.assert_array_equal(space.at(space.index(configs)), configs)


@given(space=spaces, rank=st.integers(0, 10**30))
def test_rank_and_index_are_inverse(space, rank):
    rank %= space.size
    assert space.index(space.at([rank])) == [rank]


def test_ranks_number_the_whole_space():
    space = small(2, 3, 4)
    configs = space.at(range(space.size))
    assert len(np.unique(configs, axis=0)) == space.size == 24
    assert space.index(configs) == list(range(24))


@pytest.mark.parametrize("rank", [-1, 24])
def test_rank_outside_the_space_is_refused(rank):
    with pytest.raises(ValueError, match="outside"):
        small(2, 3, 4).at([rank])


@given(space=spaces, seed=seeds)
def test_key_and_configuration_are_inverse(space, seed):
    configs = space.sample(np.random.default_rng(seed), 5)
    np.testing.assert_array_equal(space.parse_all(space.keys(configs)), configs)


@pytest.mark.parametrize("key", ["", "1", "0.0.0.0", "0.3.0", "0.-1.0", "a.b.c", "0.0.4"])
def test_key_of_another_space_is_refused(key):
    with pytest.raises(ValueError, match="no configuration of this space"):
        small(2, 3, 4).parse(key)


@given(space=spaces, seed=seeds)
def test_neighbours_differ_in_exactly_one_knob(space, seed):
    rng = np.random.default_rng(seed)
    configs = space.sample(rng, 20)
    before = configs.copy()
    neighbours = space.neighbours(rng, configs)
    assert ((neighbours != configs).sum(axis=1) == 1).all()
    assert (neighbours >= 0).all()
    assert (neighbours < space.sizes).all()
    np.testing.assert_array_equal(configs, before)


def test_neighbours_reach_every_other_value_about_equally_often():
    space, n = small(1, 2, 5), 20_000
    start = np.tile(np.array([[0, 1, 3]], dtype=np.int32), (n, 1))
    found, counts = np.unique(
        space.neighbours(np.random.default_rng(0), start), axis=0, return_counts=True
    )
    expected = {(0, 0, 3): n / 2, **{(0, 1, v): n / 8 for v in (0, 1, 2, 4)}}
    assert {tuple(row) for row in found} == set(expected)
    for row, count in zip(found, counts, strict=True):
        assert abs(count / expected[tuple(row)] - 1) < 0.1


def test_space_of_one_configuration_is_its_own_neighbour():
    space = small(1, 1)
    configs = space.sample(np.random.default_rng(0), 3)
    np.testing.assert_array_equal(space.neighbours(np.random.default_rng(0), configs), configs)


@given(space=spaces, seed=seeds, n=st.integers(0, 50))
def test_samples_lie_in_the_space_and_follow_the_seed(space, seed, n):
    configs = space.sample(np.random.default_rng(seed), n)
    assert configs.shape == (n, len(space.knobs))
    assert (configs >= 0).all()
    assert (configs < space.sizes).all()
    np.testing.assert_array_equal(configs, space.sample(np.random.default_rng(seed), n))


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), n=st.integers(0, 40), seed=seeds)
def test_distinct_samples_are_distinct_and_as_many_as_asked_for(sizes, n, seed):
    space = small(*sizes)
    configs = space.sample_distinct(np.random.default_rng(seed), n)
    assert len(configs) == min(n, space.size)
    assert len(set(space.keys(configs))) == len(configs)


def test_unique_keeps_the_order_of_first_appearance():
    configs = np.array([[1, 0], [0, 0], [1, 0], [0, 1]], dtype=np.int32)
    np.testing.assert_array_equal(small(2, 2).unique(configs), configs[[0, 1, 3]])


def test_values_say_what_a_configuration_chooses():
    space = DesignSpace((Knob.tile("tile_i", 0, 6, 2, 64), Knob.choice("u", "unroll", (0, 16))), "")
    assert space.values(space.parse("1.1")) == {"tile_i": (2, 3), "u": (16,)}


@pytest.mark.parametrize("space", SPACES)
def test_space_json_round_trip(space):
    copy = DesignSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert copy.knobs == space.knobs
    assert copy.structure == space.structure


def test_newer_schema_is_refused():
    with pytest.raises(ValueError, match="newer"):
        DesignSpace.from_json({"schema": SPACE_SCHEMA + 1})


def test_knob_without_options_is_refused_by_name():
    with pytest.raises(ValueError, match="tile_k"):
        DesignSpace((Knob.tile("tile_k", 0, 7, 1, 4),), "")


@given(extent=st.integers(1, 40), parts=st.integers(1, 3), limit=st.integers(1, 40))
@pytest.mark.parametrize("tails", [False, True])
def test_splits_of_autotvm_are_all_products_that_fit(tails, extent, parts, limit):
    """All but the outermost part are allowed factors; the outermost covers what is left.

    Not their order: with tails that is the one of a set in the interpreter (see `autotvm_splits`).
    """
    divisors = {d for d in range(1, extent + 1) if extent % d == 0}
    powers = {2**p for p in range(10) if 2**p <= extent} if tails else set()
    allowed = [f for f in sorted(divisors | powers) if f <= limit]
    expected = set()
    for inner in itertools.product(allowed, repeat=parts - 1):
        product = math.prod(inner)
        if extent % product == 0 or (tails and product < extent):
            expected.add((math.ceil(extent / product), *inner))
    found = autotvm_splits(extent, parts, limit, tails=tails)
    assert set(found) == expected
    assert len(found) == len(expected)


@given(extent=st.integers(1, 40), parts=st.integers(1, 3), limit=st.integers(1, 40))
def test_splits_without_tails_vary_the_innermost_slowest(extent, parts, limit):
    found = autotvm_splits(extent, parts, limit)
    assert list(found) == sorted(found, key=lambda option: option[:0:-1])


def test_samples_are_uniform_over_every_knob_and_over_the_space():
    space, n = small(2, 3, 4), 24_000
    configs = space.sample(np.random.default_rng(0), n)
    counts = np.bincount(space.index(configs), minlength=24)
    assert (abs(counts - n / 24) < 5 * math.sqrt(n / 24)).all()


@pytest.mark.parametrize("size", [(2, 3), (3, 4, 5)])
def test_distinct_samples_are_uniform_over_the_space(size):
    """Six of 6 in random order, or three of 60 found by drawing."""
    space = small(*size)
    rng = np.random.default_rng(0)
    first = [space.index(space.sample_distinct(rng, 3))[0] for _ in range(40 * space.size)]
    counts = np.bincount(first, minlength=space.size)
    assert (abs(counts - 40) < 5 * math.sqrt(40)).all()


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_ranks_count_the_first_knob_fastest(sizes):
    space = small(*sizes)
    nested = [row[::-1] for row in itertools.product(*(range(n) for n in reversed(sizes)))]
    assert space.at(range(space.size)).tolist() == [list(row) for row in nested]
