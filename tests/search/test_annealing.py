"""Annealing keeps the best distinct configurations, follows its seed, and at T=0 only climbs."""

import math

import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from dgtl.core.knob import Knob
from dgtl.core.space import DesignSpace
from dgtl.search import annealing
from dgtl.search.annealing import (
    AnnealingOptions,
    Best,
    accepted,
    anneal,
    mutants,
    untried,
    walk,
)

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


def flat(configs):
    """A score that knows no difference."""
    return np.zeros(len(configs))


def steps_seen(monkeypatch) -> list[tuple[int, float]]:
    """The number of chains and the temperature of each step of annealing from now on."""
    steps: list[tuple[int, float]] = []

    def spied(current, proposed, temperature, uniform):
        steps.append((len(current), temperature))
        return accepted(current, proposed, temperature, uniform)

    monkeypatch.setattr(annealing, "accepted", spied)
    return steps


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


@settings(max_examples=20)
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


def test_annealing_stops_when_nothing_changes_any_more(monkeypatch):
    steps = steps_seen(monkeypatch)
    options = AnnealingOptions(chains=2, steps=500, patience=7)
    anneal(small(2, 2), flat, np.random.default_rng(0), top=1, options=options)
    assert [chains for chains, _ in steps] == [2] * 7


@given(seeds)
def test_every_configuration_is_scored_once(seed):
    space, asked = small(3, 4, 2), []
    score, *_ = separable(space, seed)

    def told(configs):
        asked.extend(space.keys(configs))
        return score(configs)

    options = AnnealingOptions(chains=8, steps=30, patience=30)
    anneal(space, told, np.random.default_rng(seed), top=24, options=options)
    assert len(asked) == len(set(asked)) <= space.size


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


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.1, 10))
def test_metropolis_accepts_up_to_exactly_its_probability(current, proposed, temperature):
    probability = math.exp(min(proposed - current, 0.0) / temperature)
    below, above = probability * (1 - 1e-9), probability * (1 + 1e-9)
    a, b = np.full(2, current), np.full(2, proposed)
    expected = [True, above < 1]
    found = accepted(a, b, temperature, np.array([below, min(above, 1 - 1e-12)]))
    assert found[0] == expected[0]
    if above < 1:
        assert not found[1]


def test_an_equal_one_is_taken_but_at_zero_temperature():
    equal = np.array([1.0])
    assert accepted(equal, equal, 1e-3, np.array([0.999]))[0]
    with np.errstate(all="raise"):
        assert not accepted(equal, equal, 0.0, np.array([0.0]))[0]


def test_temperature_falls_along_a_line_to_zero(monkeypatch):
    steps = steps_seen(monkeypatch)
    options = AnnealingOptions(chains=3, steps=8, temperature=2.0, patience=8)
    score, *_ = separable(SPACE, 0)
    anneal(SPACE, score, np.random.default_rng(0), top=100, options=options)
    assert [temperature for _, temperature in steps] == pytest.approx(
        [2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25]
    )


def walked(space, score, rng, top, options, start, exclude):
    """`walk` one chain and one configuration at a time: every score seen, and where chains end."""
    chains = [list(row) for row in space.sample(rng, options.chains)]
    for i, row in enumerate(start[: options.chains]):
        chains[i] = list(row)
    seen: dict[str, float] = {}
    at = [score(np.array([chain]))[0] for chain in chains]
    seen |= {
        space.key(c): s for c, s in zip(chains, at, strict=True) if space.key(c) not in exclude
    }

    def best():
        return sorted(seen.values(), reverse=True)[:top]

    stale = 0
    for step in range(options.steps):
        proposals = space.neighbours(rng, np.array(chains, dtype=np.int32))
        uniform = rng.random(len(chains))
        before = best()
        for i, proposal in enumerate(proposals):
            value = score(proposal[None])[0]
            if space.key(proposal) not in exclude:
                seen[space.key(proposal)] = value
            temperature = options.temperature * (options.steps - step) / options.steps
            better = value > at[i]
            if better or (temperature and uniform[i] < math.exp((value - at[i]) / temperature)):
                chains[i], at[i] = list(proposal), value
        stale = 0 if best() != before else stale + 1
        if stale == options.patience:
            break
    return best(), np.array(chains)


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([0.0, 1.0, 3.0]), st.integers(1, 12), st.integers(0, 6))
def test_a_walk_is_that_of_its_chains_one_by_one(seed, temperature, top, n_start):
    space = small(3, 5, 2, 7)
    rng = np.random.default_rng(seed)
    # No two configurations score the same.
    table = rng.normal(size=space.size)

    def score(configs):
        return table[space.index(configs)]

    start = space.sample(rng, n_start)
    exclude = set(space.keys(space.sample(rng, 20)))
    options = AnnealingOptions(chains=4, steps=25, temperature=temperature, patience=6)
    arguments = {"top": top, "options": options, "start": start, "exclude": exclude}
    found = walk(space, score, np.random.default_rng(seed), **arguments)
    best, points = walked(space, score, np.random.default_rng(seed), **arguments)
    np.testing.assert_array_equal(found.points, points)
    np.testing.assert_array_equal(found.best[1], best)
    np.testing.assert_array_equal(score(found.best[0]), found.best[1])
    assert exclude.isdisjoint(space.keys(found.best[0]))


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_a_small_space_are_found_as_by_enumeration(seed):
    space = small(3, 4, 5)
    table = np.random.default_rng(seed).normal(size=space.size)

    def score(configs):
        return table[space.index(configs)]

    options = AnnealingOptions(chains=16, steps=300, patience=300)
    found, scores = anneal(space, score, np.random.default_rng(seed), top=5, options=options)
    ranks = np.argsort(-table)[:5]
    assert space.index(found) == ranks.tolist()
    np.testing.assert_array_equal(scores, table[ranks])


def test_the_first_chains_start_where_told_and_the_others_at_random():
    asked = []

    def score(configs):
        asked.append(configs.copy())
        return np.zeros(len(configs))

    start = SPACE.sample(np.random.default_rng(9), 3)
    options = AnnealingOptions(chains=5, steps=1)
    walk(SPACE, score, np.random.default_rng(0), top=1, options=options, start=start)
    np.testing.assert_array_equal(asked[0][:3], start)
    random = SPACE.sample(np.random.default_rng(0), 5)
    np.testing.assert_array_equal(asked[0][3:], random[3:])


def test_settings_are_autotvms_unless_others_are_given(monkeypatch):
    options = AnnealingOptions()
    assert (options.chains, options.steps, options.temperature) == (128, 500, 1.0)
    assert options.patience == 50
    steps = steps_seen(monkeypatch)
    anneal(small(2), flat, np.random.default_rng(0), top=2)
    assert [chains for chains, _ in steps] == [128] * 50


def test_best_is_full_of_the_first_of_equals():
    space = small(10)
    best = Best(space, 2)
    assert best.add(space.at([3, 4]), np.array([1.0, 1.0]))
    assert not best.add(space.at([5]), np.array([1.0]))
    assert not best.add(space.at([3]), np.array([1.0]))
    assert best.add(space.at([0]), np.array([2.0]))
    # Equals are in the order of their keys, so that a result does not depend on the heap.
    found, scores = best.ranked()
    assert scores.tolist() == [2.0, 1.0]
    assert space.keys(found)[0] == "0"
    tied = Best(space, 4)
    tied.add(space.at([7, 2, 9, 4]), np.zeros(4))
    assert space.keys(tied.ranked()[0]) == ["2", "4", "7", "9"]


def test_best_of_nothing_is_empty():
    found, scores = Best(SPACE, 3).ranked()
    assert found.shape == (0, len(SPACE.knobs))
    assert scores.shape == (0,)


def test_untried_are_uniform_over_what_is_left():
    space = small(2, 5)
    tried = set(space.keys(space.at([0, 3, 7])))
    rng = np.random.default_rng(0)
    drawn = [key for _ in range(2000) for key in untried(space, rng, 2, tried)]
    keys, counts = np.unique(drawn, return_counts=True)
    assert set(keys) == set(space.keys(space.at(range(10)))) - tried
    # 4000 draws of 7: five standard errors.
    assert (abs(counts - 4000 / 7) < 5 * math.sqrt(4000 / 7)).all()


def test_mutants_take_one_two_or_three_steps_equally_often_from_parents_equally_often():
    space = small(*[50] * 12)
    parents = np.stack([np.zeros(12, np.int32), np.full(12, 25, np.int32)])
    rng = np.random.default_rng(0)
    steps, chosen = [], []
    for _ in range(900):
        (child,) = space.parse_all(mutants(space, rng, parents, 1))
        changed = (child != parents).sum(axis=1)
        steps.append(changed.min())
        chosen.append(changed.argmin())
    # Two steps of three change the same knob once in twelve, and rarely back.
    expected = {1: 300 + 25, 2: 300 - 25 + 75, 3: 300 - 75}
    for n, count in expected.items():
        assert abs(steps.count(n) - count) < 5 * math.sqrt(count)
    assert abs(np.mean(chosen) - 0.5) < 5 * 0.5 / math.sqrt(900)


def test_mutants_give_up_after_fifty_draws(monkeypatch):
    space = small(2, 2)
    draws = []
    rng = np.random.default_rng(0)
    original = space.keys
    monkeypatch.setattr(space, "keys", lambda configs: draws.append(1) or original(configs))
    assert mutants(space, rng, space.at([0]), 5, ()) != []
    assert len(draws) == 50


@pytest.mark.parametrize("least", [{"chains": 1}, {"steps": 1}, {"patience": 1}])
def test_one_is_enough_of_everything(least):
    found, _ = anneal(
        small(3), lambda c: c[:, 0], np.random.default_rng(0), top=3,
        options=AnnealingOptions(temperature=0.0, **least),
    )  # fmt: skip
    assert 1 <= len(found) <= 3
