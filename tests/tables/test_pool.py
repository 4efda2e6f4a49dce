"""In a pool every configuration stands for a recorded one: no tuner leaves the table."""

import math

import numpy as np
import pytest
import toys

from baselines.autotvm.cost_model import TreeOptions
from baselines.autotvm.tuner import AutoTVM
from baselines.chameleon.tuner import Chameleon
from baselines.droplet import Droplet
from baselines.gga import GGA
from baselines.random_search import RandomSearch
from dgtl.core.records import Status
from dgtl.features.loop_nest import FeatureMap
from dgtl.features.problem import Problem
from dgtl.measure.replay import ReplayMeasurer, SharedMeasurer
from dgtl.methods.loop import Budget, tune
from dgtl.models.xgb import XGBConfig
from dgtl.search.annealing import AnnealingOptions, anneal
from dgtl.tables.pool import NEIGHBOURS, PoolProblem, PoolSpace

TASK = toys.dense(rows=8, columns=32, depth=16)
SPACE = toys.space_of(TASK)
TABLE = toys.tuned(TASK, SPACE, 200, seed=0)
ROWS = SPACE.of_trials(TABLE.trials)
POOL = PoolSpace(SPACE, ROWS)
RECORDED = {trial.config for trial in TABLE.trials}
TREES = TreeOptions(rounds=20)
ANNEALING = AnnealingOptions(chains=8, steps=20)


def random_configs(n: int) -> np.ndarray:
    return SPACE.sample(np.random.default_rng(5), n)


def test_rows_stand_for_themselves():
    assert POOL.size == len(RECORDED)
    assert POOL.keys(ROWS) == SPACE.keys(ROWS)
    assert (POOL.at(POOL.index(ROWS)) == ROWS).all()


def test_order_of_the_records_does_not_matter():
    shuffled = np.random.default_rng(1).permutation(ROWS)
    assert (PoolSpace(SPACE, np.concatenate([shuffled, ROWS])).rows == POOL.rows).all()


def test_any_configuration_stands_for_the_nearest_row():
    configs = random_configs(50)
    points = POOL._points(POOL.rows)
    found = POOL.find(configs)
    for config, row in zip(configs, found, strict=True):
        distances = np.linalg.norm(points - POOL._points(config[None]), axis=1)
        assert distances[row] == pytest.approx(distances.min())
    assert set(POOL.keys(configs)) <= RECORDED


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between the log2 tile factors; a step of another choice is as far as a factor of two."""
    steps = []
    for knob, i, j in zip(SPACE.knobs, a, b, strict=True):
        if knob.role == "tile":
            factors = zip(knob.options[i], knob.options[j], strict=True)
            steps += [math.log2(one / other) for one, other in factors]
        else:
            steps.append(float(i) - float(j))
    return math.hypot(*steps)


def test_the_nearest_row_is_that_of_all_distances():
    for config, row in zip(random_configs(30), POOL.find(random_configs(30)), strict=True):
        distances = [distance(config, other) for other in POOL.rows]
        assert distances[row] == pytest.approx(min(distances))


def test_steps_lead_to_the_sixteen_nearest_rows_equally_often():
    assert NEIGHBOURS == 16
    rng, row = np.random.default_rng(0), POOL.rows[17]
    steps = POOL.index(POOL.neighbours(rng, np.tile(row, (4000, 1))))
    distances = np.array([distance(row, other) for other in POOL.rows])
    found, counts = np.unique(steps, return_counts=True)
    assert len(found) == 16
    # Row 17 itself is at 0, so that the sixteenth other is the seventeenth of all.
    assert distances[found].max() == pytest.approx(np.sort(distances)[16])
    assert np.sort(distances[found]) == pytest.approx(np.sort(distances)[1:17])
    assert (abs(counts - 250) < 5 * math.sqrt(250)).all()


def test_the_middle_between_two_rows_is_nearer_to_one_of_them_by_factors_not_by_index():
    """32 = 1 x 32 lies nearer to 2 x 16 than to 32 x 1, however the options are numbered."""
    knob = SPACE.knobs[2]
    assert knob.name == "tile_j"
    rows = np.zeros((2, len(SPACE.knobs)), dtype=np.int32)
    rows[0, 2] = knob.options.index((32, 1, 1, 1))
    rows[1, 2] = knob.options.index((1, 1, 2, 16))
    asked = rows[:1].copy()
    asked[0, 2] = knob.options.index((1, 1, 1, 32))
    pool = PoolSpace(SPACE, rows)
    np.testing.assert_array_equal(pool.at(pool.find(asked)), rows[1:])


def test_features_are_those_of_the_row():
    problem = PoolProblem(TASK, POOL)
    configs = random_configs(50)
    plain = FeatureMap(TASK, SPACE)
    assert (problem.features(configs) == plain(POOL.rows[POOL.find(configs)])).all()
    assert problem.features.names == plain.names


def test_samples_are_rows_and_distinct_ones_are_all_of_them():
    rng = np.random.default_rng(0)
    assert set(SPACE.keys(POOL.sample(rng, 1000))) <= RECORDED
    distinct = POOL.sample_distinct(rng, 10**6)
    assert sorted(SPACE.keys(distinct)) == sorted(RECORDED)
    assert (distinct != POOL.rows).any()


def test_neighbours_are_other_rows_nearby():
    rng = np.random.default_rng(0)
    steps = [POOL.neighbours(rng, POOL.rows) for _ in range(200)]
    for i, row in enumerate(POOL.rows):
        around = set(SPACE.keys(np.array([step[i] for step in steps])))
        assert SPACE.key(row) not in around
        assert around <= RECORDED
        assert len(around) <= NEIGHBOURS


@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_small_pools_work(n_rows):
    pool = PoolSpace(SPACE, ROWS[:n_rows])
    rng = np.random.default_rng(0)
    stepped = pool.neighbours(rng, pool.sample(rng, 4))
    assert set(SPACE.keys(stepped)) <= set(SPACE.keys(ROWS[:n_rows]))


def test_what_is_no_pool_is_said():
    with pytest.raises(ValueError, match="at least one"):
        PoolSpace(SPACE, ROWS[:0])
    with pytest.raises(ValueError, match="outside of a pool"):
        POOL.at([POOL.size])


def test_annealing_finds_the_best_rows():
    values = np.random.default_rng(2).random(POOL.size)
    found, scores = anneal(
        POOL, lambda configs: values[POOL.find(configs)], np.random.default_rng(0), top=5
    )
    assert scores.tolist() == sorted(values, reverse=True)[:5]
    assert len(set(SPACE.keys(found))) == 5


METHODS = {
    "random": RandomSearch(),
    "autotvm": AutoTVM(plan=16, annealing=ANNEALING, trees=TREES),
    "knobs": AutoTVM(plan=16, features="knobs", annealing=ANNEALING, trees=TREES),
    "chameleon": Chameleon(plan=16, exploration="annealing", annealing=ANNEALING, trees=TREES),
    "chameleon mode": Chameleon(
        plan=16, variant="paper", exploration="annealing", annealing=ANNEALING, trees=TREES
    ),
    "gga": GGA(
        population=16,
        offspring=64,
        survivors=32,
        patience=None,
        trees=XGBConfig(trees=10, nthread=1),
    ),
    "droplet": Droplet(RandomSearch(), start=16),
    "gatuner": GGA(population=16, surrogate=False, history=False, patience=None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_stays_in_the_table_and_tries_no_row_twice(name, tmp_path):
    method = METHODS[name]
    other = toys.dense(rows=8, columns=16, depth=16)
    method.prepare([toys.tuned(other, toys.space_of(other), 60, seed=1)], tmp_path, 0)
    tuner = method.tuner(PoolProblem(TASK, POOL), np.random.SeedSequence(0))
    measurer = ReplayMeasurer.of(TABLE.trials)
    trials = tune(PoolProblem(TASK, POOL), tuner, measurer, Budget(120, 16))
    assert len({trial.config for trial in trials}) == len(trials) == 120
    assert {trial.config for trial in trials} <= RECORDED


@pytest.mark.slow
def test_a_pool_can_be_tried_to_its_last_row():
    tuner = METHODS["autotvm"].tuner(PoolProblem(TASK, POOL), np.random.SeedSequence(0))
    trials = tune(PoolProblem(TASK, POOL), tuner, ReplayMeasurer.of(TABLE.trials), Budget(10**4))
    assert sorted(trial.config for trial in trials) == sorted(RECORDED)


def test_outside_of_the_table_is_refused_or_answered_by_the_nearest():
    config = next(key for key in SPACE.keys(random_configs(50)) if key not in RECORDED)
    (refused,) = ReplayMeasurer.of(TABLE.trials).measure(TASK, [config], best_s=1.0)
    assert refused.status is Status.INVALID

    def nearest(task: str, configs: list[str]) -> list[str]:
        assert task == TASK.key
        return POOL.keys(SPACE.parse_all(configs))

    measurer = ReplayMeasurer.of(TABLE.trials, nearest)
    first = TABLE.trials[0]
    answered, recorded = measurer.measure(TASK, [config, first.config], best_s=1.0)
    (row,) = nearest(TASK.key, [config])
    (original,) = [trial for trial in TABLE.trials if trial.config == row]
    assert answered == original.replace(config=config)
    assert recorded == first


def test_a_plain_problem_searches_outside_of_the_table():
    tuner = RandomSearch().tuner(Problem(TASK, SPACE), np.random.SeedSequence(7))
    trials = tune(Problem(TASK, SPACE), tuner, ReplayMeasurer.of(TABLE.trials), Budget(50))
    assert any(trial.config not in RECORDED for trial in trials)


def test_what_others_measured_is_answered_at_its_cost_and_the_rest_is_measured():
    asked: list[str] = []

    class Machine(ReplayMeasurer):
        def measure(self, task, configs, **kwargs):
            asked.extend(configs)
            return super().measure(task, configs, **kwargs)

    known = {(t.task, t.config): t.replace(build_s=7.0) for t in TABLE.trials[::2]}
    told: list[str] = []
    trials = SharedMeasurer(Machine.of(TABLE.trials), known).measure(
        TASK,
        [trial.config for trial in TABLE.trials],
        best_s=1.0,
        on_trial=lambda trial: told.append(trial.config),
    )
    assert [trial.config for trial in trials] == [trial.config for trial in TABLE.trials]
    assert {trial.build_s for trial in trials[::2]} == {7.0}
    assert trials[1::2] == list(TABLE.trials[1::2])
    assert asked == [trial.config for trial in TABLE.trials[1::2]]
    assert sorted(told) == sorted(RECORDED)
