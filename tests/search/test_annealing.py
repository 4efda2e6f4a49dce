"""Annealing keeps the best distinct configurations, follows its seed, and at T=0 only climbs."""

import math

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from dgtl.core.space import DesignSpace, Knob
from dgtl.search.annealing import AnnealingOptions, Best, accepted, anneal, mutants, untried

SPACE = toys.space_of(toys.conv2d(), located=True)
seeds = st.integers(0, 2**32)


def small(*sizes: int) -> DesignSpace:
    knobs = (Knob.choice(f"k{i}", "other", tuple(range(n))) for i, n in enumerate(sizes))
    return DesignSpace(tuple(knobs), "")


def separable(space: DesignSpace, seed: int):
    """A score that is a sum over knobs, its best configuration, and that one's score."""
    rng = np.random.default_rng(seed)
    tables = [rng.permutation(int(n)).astype(float) for n in space.sizes]

    def score(configs):
        return sum(table[configs[:, i]] for i, table in enumerate(tables))

    best = np.array([[int(np.argmax(table)) for table in tables]], dtype=np.int32)
    return score, best, float(score(best)[0])


@pytest.mark.parametrize("seed", range(5))
def test_greedy_annealing_finds_the_optimum_of_a_separable_score(seed):
    space = small(3, 5, 2, 7, 4)
    score, best, optimum = separable(space, seed)
    options = AnnealingOptions(chains=8, steps=600, temperature=0.0, patience=600)
    found, scores = anneal(space, score, np.random.default_rng(seed), top=1, options=options)
    np.testing.assert_array_equal(found, best)
    assert scores[0] == optimum


def test_annealing_beats_random_search_at_equal_predictions():
    score, *_ = separable(SPACE, 0)
    options = AnnealingOptions(chains=32, steps=100)
    _, scores = anneal(SPACE, score, np.random.default_rng(0), top=10, options=options)
    random = score(SPACE.sample(np.random.default_rng(1), 32 * 101))
    assert scores.mean() > np.sort(random)[-10:].mean()


@given(
    current=st.lists(st.floats(-50, 50), min_size=1, max_size=20),
    seed=seeds,
    temperature=st.just(0.0) | st.floats(1e-3, 10),
)
def test_better_is_always_accepted_and_at_zero_temperature_nothing_else(current, seed, temperature):
    rng = np.random.default_rng(seed)
    a = np.array(current)
    b = a + rng.integers(-2, 3, size=len(a))
    accept = accepted(a, b, temperature, rng.random(len(a)))
    assert accept[b > a].all()
    if temperature == 0:
        assert not accept[b <= a].any()


def test_worse_is_accepted_with_the_probability_of_metropolis():
    n, difference, temperature = 100_000, 0.7, 0.5
    uniform = np.random.default_rng(0).random(n)
    accept = accepted(np.zeros(n), np.full(n, -difference), temperature, uniform)
    assert accept.mean() == pytest.approx(math.exp(-difference / temperature), abs=0.01)


@given(seeds)
def test_same_seed_same_result(seed):
    score, *_ = separable(SPACE, 0)
    options = AnnealingOptions(chains=8, steps=20)
    runs = [
        anneal(SPACE, score, np.random.default_rng(seed), top=5, options=options) for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


@given(seeds)
def test_results_are_distinct_ranked_and_scored_as_they_are(seed):
    score, *_ = separable(SPACE, 1)
    options = AnnealingOptions(chains=16, steps=20)
    found, scores = anneal(SPACE, score, np.random.default_rng(seed), top=20, options=options)
    assert len(set(SPACE.keys(found))) == len(found) == 20
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_array_equal(score(found), scores)


def test_excluded_configurations_are_walked_through_but_not_returned():
    space = small(3, 3, 3)
    score, best, _ = separable(space, 0)
    excluded = set(space.keys(best))
    options = AnnealingOptions(chains=8, steps=300, patience=300)
    found, _ = anneal(
        space, score, np.random.default_rng(0), top=27, options=options, exclude=excluded
    )
    assert set(space.keys(found)) == set(space.keys(space.at(range(27)))) - excluded


def test_chains_start_where_they_are_told():
    score, best, optimum = separable(SPACE, 2)
    options = AnnealingOptions(chains=4, steps=1, temperature=0.0)
    rng = np.random.default_rng(0)
    found, scores = anneal(SPACE, score, rng, top=1, options=options, start=best)
    np.testing.assert_array_equal(found, best)
    assert scores[0] == optimum


def test_start_is_left_as_it_was_even_if_there_is_too_much_of_it():
    score, *_ = separable(SPACE, 0)
    start = SPACE.sample(np.random.default_rng(0), 10)
    before = start.copy()
    options = AnnealingOptions(chains=4, steps=5)
    anneal(SPACE, score, np.random.default_rng(0), top=1, options=options, start=start)
    np.testing.assert_array_equal(start, before)


def test_annealing_stops_when_nothing_changes_any_more():
    calls = []

    def score(configs):
        calls.append(len(configs))
        return np.zeros(len(configs))

    options = AnnealingOptions(chains=2, steps=500, patience=7)
    anneal(small(2, 2), score, np.random.default_rng(0), top=1, options=options)
    assert len(calls) == 1 + 7


@given(
    batches=st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=15), max_size=6),
    n=st.integers(1, 8),
    excluded=st.sets(st.integers(0, 59), max_size=10),
    seed=st.integers(0, 50),
)
def test_best_keeps_the_top_n_distinct(batches, n, excluded, seed):
    space = small(3, 4, 5)
    values = np.random.default_rng(seed).integers(0, 20, size=space.size).astype(float)
    best = Best(space, n, exclude=space.keys(space.at(sorted(excluded))))
    for batch in batches:
        before = best.ranked()[1].tolist()
        changed = best.add(space.at(batch), values[batch])
        assert changed or best.ranked()[1].tolist() == before
    seen = {rank for batch in batches for rank in batch} - excluded
    found, scores = best.ranked()
    assert len(set(space.keys(found))) == len(found)
    assert scores.tolist() == sorted((values[rank] for rank in seen), reverse=True)[:n]
    assert scores.tolist() == [values[rank] for rank in space.index(found)]


@pytest.mark.parametrize(
    "wrong", [{"chains": 0}, {"steps": 0}, {"patience": 0}, {"temperature": -1.0}]
)
def test_senseless_options_are_refused(wrong):
    with pytest.raises(ValueError, match="annealing needs"):
        AnnealingOptions(**wrong)


@given(seeds, st.integers(1, 40), st.integers(0, 60))
def test_untried_are_distinct_random_and_as_many_as_there_are(seed, n, n_tried):
    space = small(3, 4, 5)
    rng = np.random.default_rng(seed)
    tried = set(space.keys(space.sample_distinct(rng, n_tried)))
    keys = untried(space, rng, n, tried)
    assert len(set(keys)) == len(keys) == min(n, space.size - n_tried)
    assert tried.isdisjoint(keys)


@given(seeds, st.integers(1, 20))
def test_mutants_are_new_and_at_most_three_knobs_from_a_parent(seed, n):
    rng = np.random.default_rng(seed)
    parents = SPACE.sample(rng, 3)
    tried = set(SPACE.keys(SPACE.neighbours(rng, parents)))
    keys = mutants(SPACE, rng, parents, n, tried)
    assert len(set(keys)) == len(keys) == n
    assert tried.isdisjoint(keys)
    changed = (SPACE.parse_all(keys)[:, None] != parents[None]).sum(axis=2)
    assert (changed.min(axis=1) <= 3).all()


def test_mutants_of_a_space_that_is_tried_out_are_fewer():
    space = small(2, 2)
    tried = set(space.keys(space.at(range(3))))
    parents = space.at([0])
    assert mutants(space, np.random.default_rng(0), parents, 5, tried) == space.keys(space.at([3]))
