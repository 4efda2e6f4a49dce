"""Droplet: steps along coordinates, which of them are taken, and where a descent starts."""

from __future__ import annotations

import landscape
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.autotvm.tuner import AutoTVM
from baselines.droplet import Droplet, directions, steps, surely_faster
from baselines.metaschedule.tuner import MetaSchedule
from baselines.random_search import RandomSearch
from dgtl.core.records import Status, Trial
from dgtl.core.space import DesignSpace, Knob
from dgtl.features.problem import Problem
from dgtl.methods.base import stream
from dgtl.methods.dgp import DGP
from dgtl.methods.loop import Budget, tune
from dgtl.tables.pool import PoolSpace

SPACE = landscape.SPACE
seeds = st.integers(0, 2**32)
TILES = [
    Knob.tile("tile", 0, 24, 4, 64),
    Knob.tile("tile", 0, 128, 2, 16),
    Knob.tile("tile", 0, 12, 3, 8, "factors"),
    Knob.tile("tile", 0, 7, 3, 8, "verbose"),
]


def some(seed: int) -> np.ndarray:
    return SPACE.sample(np.random.default_rng(seed), 1)[0]


@given(st.sampled_from(TILES), seeds)
def test_a_step_of_a_tile_takes_one_inner_factor_to_its_next_value(knob: Knob, seed: int) -> None:
    option = seed % len(knob)
    own = knob.options[option]
    for values in directions(knob, option):
        other = knob.options[values[0]]
        (part,) = [p for p in range(1, len(own)) if own[p] != other[p]]
        between = sorted((own[part], other[part]))
        for inner in knob.options:
            same = inner[1:part] + inner[part + 1 :] == own[1:part] + own[part + 1 :]
            assert not (same and between[0] < inner[part] < between[1])


@pytest.mark.slow
@given(seeds)
@settings(deadline=None)
def test_steps_differ_in_one_knob_and_lead_back(seed: int) -> None:
    config = some(seed)
    found = steps(SPACE, config)
    assert len(set(SPACE.keys(found))) == len(found)
    for step in found:
        assert np.sum(step != config) == 1
        assert SPACE.key(config) in SPACE.keys(steps(SPACE, step))


def test_steps_of_a_tile_by_hand() -> None:
    space = DesignSpace((Knob.tile("tile", 0, 24, 3, 64),), "SSS")
    config = np.array([space.knobs[0].options.index((2, 3, 4))])
    values = {space.values(step)["tile"] for step in steps(space, config)}
    # 3 becomes 2 or 6 beside 4; 4 becomes 2 or 8 beside 3.
    assert values == {(3, 2, 4), (1, 6, 4), (4, 3, 2), (1, 3, 8)}


def test_steps_lead_past_what_cannot_run() -> None:
    knob = Knob.choice("unroll", "unroll", (0, 16, 64, 512))
    space = DesignSpace((knob,), "S", lambda configs: configs[:, 0] != 1)
    assert steps(space, np.array([0])).tolist() == [[2]]


@given(seeds)
@settings(deadline=None, max_examples=20)
def test_steps_in_a_pool_lead_to_other_rows(seed: int) -> None:
    pool = PoolSpace(SPACE, SPACE.sample(np.random.default_rng(seed), 60))
    for row in pool.rows[:5]:
        keys = pool.keys(steps(pool, row))
        assert keys
        assert pool.key(row) not in keys
        assert set(keys) <= set(SPACE.keys(pool.rows))


def test_in_a_dense_pool_steps_are_those_of_the_space() -> None:
    space = landscape.tiny_space()
    pool = PoolSpace(space, space.at(range(space.size)))
    for row in pool.rows:
        assert pool.keys(steps(pool, row)) == space.keys(steps(space, row))


def trial(*times_s: float) -> Trial:
    return Trial("task", "0", Status.OK, run_times_s=times_s)


@pytest.mark.parametrize(
    ("new", "old", "faster"),
    [
        ((1.0, 1.01, 0.99), (1.1, 1.11, 1.09), True),
        ((1.0, 1.2, 0.8), (1.1, 1.3, 0.9), False),  # a difference within the noise
        ((1.1, 1.11, 1.09), (1.0, 1.01, 0.99), False),
        ((1.0, 1.0, 1.0), (1.1, 1.1, 1.1), True),
        ((1.0,), (1.1, 1.3, 0.9), True),  # too few runs for a test
        ((1.0, 1.0), (1.0, 1.0), False),
    ],
)
def test_a_step_is_taken_where_it_is_surely_faster(new: tuple, old: tuple, faster: bool) -> None:
    assert surely_faster(trial(*new), trial(*old), 0.05) is faster


def test_p_of_one_takes_every_faster_step() -> None:
    assert surely_faster(trial(1.0, 1.2, 0.8), trial(1.1, 1.3, 0.9), 1.0)


class Steady(landscape.Machine):
    """Where nothing fails."""

    def _trial(self, task, key):
        latency_s = task.flops / 1e9 / landscape.gflops(SPACE, key)
        return Trial(task.key, key, Status.OK, run_times_s=(latency_s,) * 3)


def descent(method: Droplet, seed: int, n: int, batch: int = 16) -> list[Trial]:
    problem = Problem(landscape.TASK, SPACE)
    tuner = method.tuner(problem, np.random.SeedSequence(seed))
    return tune(problem, tuner, Steady(SPACE), Budget(n, batch))


@pytest.mark.parametrize("seed", range(3))
def test_the_descent_reaches_a_configuration_without_a_better_step(seed: int) -> None:
    trials = descent(Droplet(RandomSearch(), start=8), seed, 400)
    best = min(trials, key=lambda t: t.latency_s)
    around = SPACE.keys(steps(SPACE, SPACE.parse(best.config)))
    own = landscape.gflops(SPACE, best.config)
    assert max(landscape.gflops(SPACE, key) for key in around) <= own


def test_a_descent_steps_from_its_position_until_a_step_is_better() -> None:
    trials = descent(Droplet(RandomSearch(), start=8, plan=4), 0, 200, batch=4)
    assert [t.stage for t in trials[:8]] == ["random"] * 8
    assert {t.stage for t in trials[8:]} == {"descent"}
    position = min(trials[:8], key=lambda t: t.latency_s)
    for i in range(8, 40, 4):
        around = SPACE.keys(steps(SPACE, SPACE.parse(position.config)))
        assert {t.config for t in trials[i : i + 4]} <= set(around)
        best = min(trials[i : i + 4], key=lambda t: t.latency_s)
        if best.latency_s < position.latency_s:
            position = best


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", [RandomSearch(), MetaSchedule(plan=8, population=32), AutoTVM(plan=8)]
)
def test_the_first_trials_are_those_of_the_first_search(first) -> None:
    alone = first.tuner(Problem(landscape.TASK, SPACE), stream(np.random.SeedSequence(3), 0))
    expected = tune(Problem(landscape.TASK, SPACE), alone, Steady(SPACE), Budget(20, 16))
    found = descent(Droplet(first, start=20), 3, 60)
    assert [t.config for t in found[:20]] == [t.config for t in expected]


def test_batches_do_not_change_the_trials() -> None:
    method = Droplet(RandomSearch(), start=12)
    whole, parts = descent(method, 1, 100, batch=64), descent(method, 1, 100, batch=5)
    assert [t.config for t in whole] == [t.config for t in parts]


def test_a_first_search_that_ends_early_leaves_the_rest_to_the_descent() -> None:
    first = AutoTVM(plan=8, early_stopping=4)
    trials = descent(Droplet(first, start=1000), 0, 120)
    assert trials[-1].stage == "descent"


def test_what_the_first_search_learns_from_is_prepared(tmp_path) -> None:
    method = Droplet(DGP(), start=80)
    method.first.prepare = lambda sources, cache, seed: setattr(  # type: ignore[method-assign]
        method.first, "cached_training_s", float(len(sources))
    )
    method.prepare(landscape.sources(20), tmp_path, 0)
    assert method.cached_training_s == 4.0


def test_a_budget_without_a_descent_is_said() -> None:
    assert Droplet(start=64).remarks(64) == [
        "budget.trials=64 ends within the first search: model.start=64"
    ]
    assert Droplet(start=64).remarks(65) == []
