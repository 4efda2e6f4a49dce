"""AutoTVM: recall by hand, what its model learns, epsilon-greedy places, transfer, stopping."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import landscape
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.autotvm.cost_model import (
    HALF_LIFE,
    AutoTVMModel,
    HistoryModel,
    TreeOptions,
    average_recall,
    knob_features,
)
from baselines.autotvm.tuner import AutoTVM, AutoTVMTuner
from baselines.chameleon.tuner import Chameleon
from baselines.planning import Plan, PlannedTuner
from dgtl.features.problem import Problem
from dgtl.methods.base import stream
from dgtl.search.annealing import AnnealingOptions

pytestmark = pytest.mark.slow

SHORT = AnnealingOptions(chains=32, steps=60, patience=20)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def test_average_recall_by_hand() -> None:
    """True order a b c d, predicted order b a d c: recalls 0, 1, 2/3, 1."""
    labels, predicted = np.array([4.0, 3, 2, 1]), np.array([3.0, 4, 1, 2])
    assert average_recall(predicted, labels, 4) == pytest.approx((0 + 1 + 2 / 3 + 1) / 4)
    assert average_recall(predicted, labels, 2) == pytest.approx(0.5)
    assert average_recall(labels, labels, 64) == 1.0


@given(st.integers(1, 40), st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_average_recall_equals_its_definition(size: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.random(size), rng.random(size)
    by_label, by_prediction = np.argsort(-labels), np.argsort(-predicted)
    recalls = [
        len(set(by_label[:i]) & set(by_prediction[:i])) / i for i in range(1, min(n, size) + 1)
    ]
    assert average_recall(predicted, labels, n) == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("objective", ["reg", "rank"])
def test_model_learns_the_order_of_throughput(objective: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((600, 10)).astype(np.float32)
    y = x[:, 0] + x[:, 1] ** 2
    model = AutoTVMModel(TreeOptions(), objective, 64)
    model.fit(x[:400], y[:400], seed=0)
    assert rank_correlation(model.score(x[400:]), y[400:]) > 0.9


def test_failures_count_as_zero_and_throughput_by_the_best() -> None:
    x = np.arange(40, dtype=np.float32)[:, None]
    y = np.where(np.arange(40) < 20, 0.0, 250.0)
    model = AutoTVMModel(TreeOptions(), "reg", 64)
    model.fit(x, y, seed=0)
    np.testing.assert_allclose(model.score(x), y / 250, atol=0.05)


def test_nothing_but_failures_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a trial that ran"):
        AutoTVMModel(TreeOptions(), "reg", 64).fit(np.zeros((4, 1)), np.zeros(4), seed=0)


def history_model(objective: str = "reg") -> tuple[HistoryModel, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.random((500, 5)).astype(np.float32)
    y = x[:, 0]
    return HistoryModel(TreeOptions(rounds=400, patience=100), objective, x, y, 128, seed=0), x, y


@pytest.mark.parametrize("objective", ["reg", "rank"])
def test_before_any_trial_the_history_speaks_alone(objective: str) -> None:
    history, x, y = history_model(objective)
    model = AutoTVMModel(TreeOptions(), objective, 64, history)
    assert model.ready
    np.testing.assert_allclose(model.score(x), history.margin(x))
    assert rank_correlation(model.score(x), y) > 0.9


def test_the_history_fades_by_half_every_64_trials_and_is_dropped_below_a_twentieth() -> None:
    history, x, _ = history_model()
    model = AutoTVMModel(TreeOptions(), "reg", 64, history)
    model.fit(x[:64], x[:64, 1], seed=0)
    np.testing.assert_allclose(model._base_margin(x), 0.5 * history.margin(x), rtol=1e-6)
    # 64 log2(20) = 276.6
    model.fit(x[:276], x[:276, 1], seed=0)
    assert model._base_margin(x) is not None
    model.fit(x[:277], x[:277, 1], seed=0)
    assert model._base_margin(x) is None
    assert HALF_LIFE == 64


def test_history_needs_500_records_of_the_same_kind() -> None:
    method = AutoTVM(load_history=True, annealing=SHORT)
    problem = Problem(landscape.TASK, landscape.SPACE)

    def first_stage(n: int) -> str:
        method.prepare(landscape.sources(n), Path("unused"), seed=0)
        tuner = method.tuner(problem, np.random.SeedSequence(0))
        tuner.ask(64)
        return tuner.stage

    assert first_stage(124) == "random"
    assert first_stage(125) == "search"


def test_first_plan_is_random_then_searched() -> None:
    trials = landscape.run(AutoTVM(annealing=SHORT), 0, 192)
    assert [trial.stage for trial in trials] == ["random"] * 64 + ["search"] * 128


class Fixed(PlannedTuner):
    """Always plans the same configurations."""

    def __init__(self, configs: np.ndarray, random_places: int):
        problem = Problem(landscape.TASK, landscape.SPACE)
        super().__init__(problem, np.random.default_rng(0), random_places)
        self.planned = configs

    def _plan(self) -> Plan:
        return Plan(self.planned, 64, "search")


def test_the_last_three_places_of_a_plan_are_random() -> None:
    configs = landscape.SPACE.sample_distinct(np.random.default_rng(1), 64)
    asked = Fixed(configs, int(AutoTVM().epsilon * AutoTVM().plan)).ask(64)
    planned = set(landscape.SPACE.keys(configs))
    np.testing.assert_array_equal(asked[:61], configs[:61])
    assert not planned.intersection(landscape.SPACE.keys(asked[61:])) - set(
        landscape.SPACE.keys(configs[61:])
    )
    assert len(asked) == 64


def test_a_short_plan_is_filled_at_random_and_nothing_is_planned_twice() -> None:
    configs = landscape.SPACE.sample_distinct(np.random.default_rng(1), 10)
    tuner = Fixed(configs, 3)
    first, second = tuner.ask(64), tuner.ask(64)
    np.testing.assert_array_equal(first[:10], configs)
    keys = landscape.SPACE.keys(np.concatenate([first, second]))
    assert len(set(keys)) == 128


def test_early_stopping_ends_after_n_trials_in_vain() -> None:
    method = AutoTVM(early_stopping=70, annealing=SHORT)
    trials = landscape.run(method, 0, 2000, batch=1)
    values = [landscape.TASK.gflops(t.latency_s) if t.ok else 0 for t in trials]
    assert len(trials) == int(np.argmax(values)) + 70
    assert len(landscape.run(method, 0, 2000, batch=1, broken=True)) == 70


def test_chains_go_on_from_plan_to_plan() -> None:
    problem = Problem(landscape.TASK, landscape.SPACE)
    tuner = AutoTVM(annealing=SHORT).tuner(problem, np.random.SeedSequence(0))
    machine = landscape.Machine(landscape.SPACE)
    keys = landscape.SPACE.keys(tuner.ask(64))
    tuner.tell(machine.measure(landscape.TASK, keys, best_s=np.inf))
    assert tuner._points is None
    tuner.ask(64)
    assert tuner._points is not None
    assert tuner._points.shape == (32, len(landscape.SPACE.knobs))
    start = tuner._points.copy()
    still = dataclasses.replace(SHORT, steps=1, temperature=0.0)
    tuner._options = dataclasses.replace(tuner._options, annealing=still)
    tuner._explore(64)
    # One step changes at most one knob of a chain.
    assert ((tuner._points != start).sum(axis=1) <= 1).all()


def test_chameleon_with_both_parts_off_is_autotvm() -> None:
    plain = Chameleon(exploration="annealing", sampling="greedy", annealing=SHORT)
    pairs = zip(
        landscape.run(plain, 5, 192), landscape.run(AutoTVM(annealing=SHORT), 5, 192), strict=True
    )
    assert all(ours.config == theirs.config for ours, theirs in pairs)


def test_chameleon_measures_whole_clusters_and_stops_after_its_iterations() -> None:
    method = Chameleon(exploration="annealing", annealing=SHORT, iterations=3)
    trials = landscape.run(method, 0, 1000)
    sizes = [len(list(g)) for _, g in itertools.groupby(trials, key=lambda t: t.stage)]
    assert sizes[0] == 64
    assert sizes[1] % 8 == 0
    assert len(trials) < 64 + 2 * 64 + 1


def test_knob_features_are_the_raw_values() -> None:
    space = landscape.SPACE
    config = space.sample(np.random.default_rng(0), 1)
    row = knob_features(space)(config)[0]
    expected = [value for values in space.values(config[0]).values() for value in values]
    assert row.tolist() == expected


def test_stream_is_what_spawning_gives() -> None:
    seed = np.random.SeedSequence(7, spawn_key=(2,))
    for child, index in zip(
        np.random.SeedSequence(7, spawn_key=(2,)).spawn(3), range(3), strict=True
    ):
        assert stream(seed, index).generate_state(2).tolist() == child.generate_state(2).tolist()
    assert seed.n_children_spawned == 0


def test_the_tuner_is_one_of_autotvm() -> None:
    problem = Problem(landscape.TASK, landscape.SPACE)
    assert isinstance(AutoTVM().tuner(problem, np.random.SeedSequence(0)), AutoTVMTuner)
