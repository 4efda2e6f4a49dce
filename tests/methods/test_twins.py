"""Tasks of a network with the same loops: what is tried of one teaches the others."""

from __future__ import annotations

import dataclasses

import landscape
import numpy as np
import pytest
from untrained import given_residual, untrained_network

from baselines.xgb_transfer import XGBTransfer
from dgtl.core.knob import Knob
from dgtl.core.space import DesignSpace
from dgtl.features.problem import Problem
from dgtl.methods.dgp import DGP
from dgtl.methods.dgp_paper import PaperDGP
from dgtl.methods.even import Even
from dgtl.methods.gradient import Gradient
from dgtl.methods.loop import Budget, TaskSearch
from dgtl.methods.schedule import search
from dgtl.models.deep_gp.model import DGPConfig
from dgtl.models.stacked import StackConfig
from dgtl.models.xgb import XGBConfig
from dgtl.search.annealing import AnnealingOptions

pytestmark = pytest.mark.slow  # TensorFlow is imported.

TWIN = dataclasses.replace(landscape.TASK, key="twin", name="with another epilogue")
FEW = XGBConfig(trees=40, rate=0.2, nthread=1)
SMALL = {
    "initial_set": 256,
    "tuning_set": 8,
    "final": 16,
    "rounds": 9,
    "annealing": AnnealingOptions(32, 40),
}
NETWORK = DGPConfig(hidden=2, inducing=16, steps=2)
METHODS = {
    "xgb_transfer": XGBTransfer(**SMALL, trees=FEW),
    "dgp": DGP(**SMALL, network=NETWORK, stack=StackConfig(trees=FEW, folds=2)),
    "dgp_paper": PaperDGP(**SMALL, network=NETWORK),
}


@pytest.fixture
def prepared(monkeypatch, tmp_path):
    untrained_network(monkeypatch)
    given_residual(monkeypatch)

    def prepare(name: str):
        METHODS[name].prepare(landscape.sources(), tmp_path, seed=0)
        return METHODS[name]

    return prepare


def of(method, task=landscape.TASK, space=landscape.SPACE, **more) -> TaskSearch:
    problem = Problem(task, space)
    tuner = method.tuner(problem, np.random.SeedSequence(len(task.key)))
    return TaskSearch(problem, tuner, landscape.Machine(space), **more)


def tried(task: TaskSearch) -> list[str]:
    return [trial.config for trial in task.trials]


def test_twins_have_the_same_loops_and_space(prepared):
    method = prepared("xgb_transfer")
    first = of(method)
    assert first.is_twin(of(method, TWIN))
    other = landscape.dense(64, 128, 128)
    assert not first.is_twin(of(method, other, landscape.space_of(other)))
    fewer = Knob.choice("unroll", "unroll", (0, 16))
    space = DesignSpace((*landscape.SPACE.knobs[:-1], fewer), landscape.SPACE.structure)
    assert not first.is_twin(of(method, TWIN, space))
    half = [dataclasses.replace(access, item_bytes=2) for access in TWIN.accesses]
    assert not first.is_twin(of(method, dataclasses.replace(TWIN, accesses=tuple(half))))


@pytest.mark.parametrize("name", ["xgb_transfer", "dgp"])
def test_a_twin_begins_where_the_other_ended(name, prepared):
    method = prepared(name)
    first, second, alone = of(method), of(method, TWIN), of(method, TWIN)
    for _ in range(7):
        first.step(8)
    second.hear({0: first})
    for task in (second, alone):
        task.step(8)
    best = min(first.trials, key=lambda trial: trial.latency_s)
    assert best.config in tried(second)[:8]
    assert second.best_history_s[0] <= first.best_s < alone.best_history_s[0]
    assert len(set(tried(second))) == len(second.trials)


@pytest.mark.parametrize("name", ["xgb_transfer", "dgp"])
def test_one_at_a_time_and_all_of_a_small_space_are_tried_once(name, prepared):
    method, space = prepared(name), landscape.tiny_space()
    twin = dataclasses.replace(landscape.TINY_TASK, key="twin")
    tasks = [of(method, task, space) for task in (landscape.TINY_TASK, twin)]
    search(tasks, Gradient(Budget(99, batch=1)))
    for task in tasks:
        assert sorted(tried(task)) == sorted(space.keys(space.at(range(space.size))))


def test_the_papers_method_hears_nothing(prepared):
    method = prepared("dgp_paper")
    second, alone = of(method, TWIN), of(method, TWIN)
    search([of(method), second], Gradient(Budget(24, batch=8)))
    search([alone], Gradient(Budget(len(second.trials), batch=8)))
    assert tried(second) == tried(alone)


def test_the_even_plan_searches_each_task_for_itself(prepared):
    method = prepared("xgb_transfer")
    second, alone = of(method, TWIN), of(method, TWIN)
    search([of(method), second], Even(Budget(16, batch=8)))
    search([alone], Even(Budget(16, batch=8)))
    assert tried(second) == tried(alone)


def test_a_search_that_goes_on_hears_the_same(prepared):
    method, budget = prepared("xgb_transfer"), Budget(32, batch=8)
    whole = [of(method), of(method, TWIN)]
    search(whole, Gradient(budget))
    for counts in ((12, 8), (24, 20), (32, 32)):
        tasks = [
            of(method, task.problem.task, recorded={t.config: t for t in task.trials[:n]})
            for task, n in zip(whole, counts, strict=True)
        ]
        search(tasks, Gradient(budget))
        assert [tried(task) for task in tasks] == [tried(task) for task in whole]
