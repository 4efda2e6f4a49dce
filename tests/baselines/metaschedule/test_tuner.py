"""MetaSchedule's search: TVM's constants, TVM's model, TVM's mutants; and that it takes tables."""

from __future__ import annotations

import inspect
import re
from collections import Counter

import landscape
import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.cost_model import xgb_model
from tvm.s_tir.meta_schedule.cost_model.xgb_model import XGBConfig, XGBModel

from baselines.metaschedule import cost_model as metaschedule_model
from baselines.metaschedule.cost_model import MetaScheduleModel, TreeOptions, boost
from baselines.metaschedule.tuner import MUTATORS, MetaSchedule, Mutation, TileMutation
from dgtl.core.knob import Knob
from dgtl.core.space import DesignSpace
from dgtl.features.problem import Problem
from dgtl.methods.loop import Budget, tune
from dgtl.tables.pool import PoolProblem, PoolSpace

pytestmark = pytest.mark.slow

SEED = np.random.SeedSequence(0)
OURS = MetaSchedule()


def defaults(function) -> dict:
    """Default arguments of a function."""
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, 12] and relative throughput [N], the first ten failed."""
    features = np.random.default_rng(seed).normal(size=(n, 12)).astype(np.float32)
    relative = np.exp(-np.abs(features[:, 0]) - np.abs(features[:, 1] * features[:, 2]))
    relative[:10] = 0
    return features, relative / relative.max()


def test_search_has_the_constants_of_tvm() -> None:
    tvms = defaults(ms.search_strategy.EvolutionarySearch.__init__)
    # What has no use here, see baselines/metaschedule/tuner.py.
    for unused in ("self", "init_min_unmeasured", "max_fail_count"):
        del tvms[unused]
    assert tvms == {
        "population_size": OURS.population,
        "init_measured_ratio": OURS.measured,
        "genetic_num_iters": OURS.generations,
        "genetic_mutate_prob": OURS.mutate,
        "genetic_max_fail_count": OURS.tries,
        "eps_greedy": OURS.epsilon,
    }
    assert defaults(ms.tune.tune_tasks)["num_trials_per_iter"] == OURS.plan


@pytest.mark.parametrize("kind", sorted(MUTATORS))
def test_mutators_have_the_weights_of_tvm(kind: str) -> None:
    tvms = {
        type(mutator).__name__.removeprefix("Mutate"): float(getattr(weight, "value", weight))
        for mutator, weight in ms.mutator.Mutator.create(kind).items()
    }
    assert tvms == MUTATORS[kind]


def test_model_has_the_constants_of_tvm() -> None:
    trees = OURS.trees
    tvms = XGBConfig()
    assert (tvms.max_depth, tvms.gamma) == (trees.depth, trees.gamma)
    assert (tvms.min_child_weight, tvms.eta) == (trees.min_child_weight, trees.rate)
    assert tvms.tree_method == "auto"
    model = defaults(XGBModel.__init__)
    assert model["config"] == tvms
    assert model["num_warmup_samples"] == trees.warm_up
    assert model["early_stopping_rounds"] == trees.patience
    assert model["adaptive_training"]
    source = inspect.getsource(xgb_model)
    assert re.findall(r"num_boost_round=(\d+)", source) == [str(trees.rounds)]
    (parts,) = re.findall(r"self.last_train_size < self.last_train_size / (\d+)", source)
    assert trees.growth == 1 / int(parts)


@pytest.mark.parametrize("n", [60, 200])
def test_trees_predict_what_tvms_predict(n: int) -> None:
    features, relative = rows(n)
    tvms = XGBModel(config=XGBConfig(nthread=1))
    tvms._train(xs=[row[None] for row in features], ys=relative.astype(np.float32))
    ours = boost(TreeOptions(), features, relative)
    assert ours.num_boosted_rounds() == tvms.booster.num_boosted_rounds()
    expected = tvms._predict(xs=[row[None] for row in features])
    np.testing.assert_allclose(ours.inplace_predict(features), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("extent", "limit", "tile"), [(48, 8, (1, 1, 8, 6)), (48, 64, (4, 3, 2, 2)), (60, 64, (60, 1))]
)
def test_tiles_mutate_as_tvms_do(extent: int, limit: int, tile: tuple[int, ...]) -> None:
    a = te.placeholder((extent,), name="a")
    b = te.compute((extent,), lambda i: a[i] * 2.0, name="b")
    schedule = Schedule(tvm.IRModule({"main": te.create_prim_func([a, b])}))
    (loop,) = schedule.get_loops(schedule.get_sblock("b"))
    schedule.sample_perfect_tile(loop, len(tile), limit, decision=list(tile))
    mutator, n = ms.mutator.MutateTileSize(), 8000
    traces = [mutator.apply(schedule.trace) for _ in range(n)]
    theirs = Counter(tuple(int(f) for d in t.decisions.values() for f in d) for t in traces)

    knob = Knob.tile("tile", 0, extent, len(tile), limit)
    mutate = TileMutation(knob)
    chosen = knob.options.index(tile)
    ours = Counter(knob.options[mutate(chosen, (i + 0.5) / n)] for i in range(n))
    assert ours.keys() == theirs.keys()
    # Six standard deviations of a share drawn 8,000 times.
    assert all(abs(ours[key] - theirs[key]) / n < 0.034 for key in ours)


@given(st.data())
def test_a_mutated_tile_is_another_option_one_factor_away(data: st.DataObject) -> None:
    knob = data.draw(
        st.builds(
            Knob.tile,
            *(st.just("tile"), st.just(0), st.integers(1, 60), st.integers(2, 4), st.just(64)),
            policy=st.sampled_from(["perfect", "factors", "verbose"]),
        )
    )
    option = data.draw(st.integers(0, len(knob) - 1))
    mutant = TileMutation(knob)(option, data.draw(st.floats(0, 1, exclude_max=True)))
    before, after = knob.table[option], knob.table[mutant]
    if len(knob) == 1:
        assert mutant == option
    # The outermost part of a tile with a tail follows from the others.
    assert np.count_nonzero(before[1:] != after[1:]) <= 2
    if mutant == option:
        # Only where no factor can be moved at all.
        assert {TileMutation(knob)(option, u) for u in np.linspace(0, 0.99, 50)} == {option}


def test_a_mutant_differs_in_one_knob_and_never_in_its_sketch() -> None:
    rng = np.random.default_rng(0)
    configs = landscape.SPACE.sample(rng, 2000)
    mutants = Mutation(landscape.SPACE, "llvm")(rng, configs)
    changed = configs != mutants
    assert changed.sum(axis=1).max() == 1
    names = [knob.name for knob in landscape.SPACE.knobs]
    shares = dict(zip(names, changed.mean(axis=0), strict=True))
    assert shares["sketch"] == 0
    # The weights of TVM's mutators; no location to compute at here, so that nothing changes.
    assert shares["unroll"] == pytest.approx(0.03, abs=0.015)
    assert sum(shares[f"tile_{axis}"] for axis in "ijk") == pytest.approx(0.9, abs=0.03)


def test_without_mutation_every_parent_is_kept_once() -> None:
    method = MetaSchedule(population=40, mutate=0.0, tries=2000)
    tuner = method.tuner(Problem(landscape.TASK, landscape.SPACE), SEED)
    population = landscape.SPACE.sample_distinct(np.random.default_rng(1), 40)
    children = tuner._children(population, np.ones(40))
    assert sorted(landscape.SPACE.keys(children)) == sorted(landscape.SPACE.keys(population))


def test_a_child_that_cannot_be_had_is_its_parent() -> None:
    only = DesignSpace((Knob.tile("tile", 0, 1, 4, 64),), "SSRSRS")
    tuner = MetaSchedule(population=8).tuner(Problem(landscape.TASK, only), SEED)
    children = tuner._children(np.zeros((8, 1), np.int32), np.zeros(8))
    np.testing.assert_array_equal(children, np.zeros((8, 1)))


def test_first_generation_holds_the_best_trials_that_ran() -> None:
    method = MetaSchedule(population=50, measured=0.2)
    tuner = method.tuner(Problem(landscape.TASK, landscape.SPACE), SEED)
    trials = landscape.Machine(landscape.SPACE).measure(
        landscape.TASK, landscape.SPACE.keys(tuner.ask(64)), best_s=np.inf
    )
    tuner.tell(trials)
    ran = sorted((t for t in trials if t.ok), key=lambda t: t.latency_s)
    first = tuner._first()
    assert len(first) == 50
    assert landscape.SPACE.keys(first[:10]) == [t.config for t in ran[:10]]


def test_model_waits_for_100_trials_and_learns_again_after_a_fifth_more(monkeypatch) -> None:
    trained_on = []

    def counted(options, features, relative):
        trained_on.append(len(relative))
        return boost(TreeOptions(rounds=1), features, relative)

    monkeypatch.setattr(metaschedule_model, "boost", counted)
    features, relative = rows(512)
    model, ready = MetaScheduleModel(TreeOptions()), []
    for n in range(64, 513, 64):
        model.update(features[:n], relative[:n])
        ready.append(model.ready)
    assert trained_on == [64, 128, 192, 256, 320, 384, 512]
    assert ready == [False] + [True] * 7


def test_a_model_of_failures_only_is_none() -> None:
    model = MetaScheduleModel(TreeOptions())
    model.update(np.zeros((200, 3)), np.zeros(200))
    assert not model.ready
    with pytest.raises(RuntimeError, match="too few"):
        model.score(np.zeros((1, 3)))


def test_a_table_is_searched_row_by_row() -> None:
    rng = np.random.default_rng(0)
    space = PoolSpace(landscape.SPACE, landscape.SPACE.sample_distinct(rng, 400))
    problem = PoolProblem(landscape.TASK, space)
    method = MetaSchedule(population=128, trees=TreeOptions(rounds=20))
    # The machine knows keys only, and those of the rows alone.
    tuner = method.tuner(problem, SEED)
    trials = tune(problem, tuner, landscape.Machine(space), Budget(1000))
    assert sorted(trial.config for trial in trials) == sorted(space.keys(space.rows))
    best = [landscape.best(trials[:n]) for n in (192, 400)]
    # After 192 of 400 rows, one plan of the model, the best row is found.
    assert best[0] == best[1]
