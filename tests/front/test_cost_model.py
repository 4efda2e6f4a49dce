"""The deep GP in TVM's own MetaSchedule: ranks, learns, keeps that, says what it lacks."""

from __future__ import annotations

import logging
import sys
import types

import cloudpickle
import numpy as np
import pytest
import tvm
from forked_workers import fork_workers
from scipy.stats import spearmanr
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.runner import RunnerResult
from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate
from tvm.s_tir.meta_schedule.space_generator import PostOrderApply
from tvm_layers import LAYERS, tuned_function

import dgtl
from dgtl.core.history import SHIPPED_TABLES, History
from dgtl.core.records import Status
from dgtl.tvm.workload.networks import Layer
from dgtl.tvm.workload.sketches import ScheduleSpace

pytestmark = [pytest.mark.slow, pytest.mark.tvm]

# Workers cannot import this module: what they are to call of it travels by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 4})
"""That of the recorded table."""

RULES = PostOrderApply(sch_rules="llvm", postprocs="llvm", mutator_probs="llvm")
"""Stock rules that look up no intrinsic, whose registration takes TVM half a minute."""


@pytest.fixture(autouse=True, scope="module")
def without_intrinsics():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dgtl.front.cost_model.allow_intrinsics", lambda: None)
        yield


@pytest.fixture(scope="module")
def prepared():
    return dgtl.cost_model(history=False)


@pytest.fixture
def model(prepared):
    """The ready-made model, of nothing measured."""
    return type(prepared)(prepared.method)


def context(mod, target=TARGET, name="layer"):
    return ms.TuneContext(
        mod=mod,
        target=target,
        space_generator=RULES,
        search_strategy="replay-trace",
        task_name=name,
        rand_state=1,
    )


def candidates(schedules: ScheduleSpace, configs: np.ndarray) -> list[MeasureCandidate]:
    info = ArgInfo.from_prim_func(schedules.mod["main"])
    return [MeasureCandidate(schedules.schedule(config), info) for config in configs]


@pytest.fixture(scope="module")
def recorded():
    """A layer with 60 recorded trials, of a shape that no history which is learned from has."""
    mod = tuned_function(Layer("conv2d", 14, 256, 256, 3, 1, 1)).mod
    schedules = ScheduleSpace(mod, TARGET)
    history = History.read(SHIPPED_TABLES)
    (table,) = [
        source
        for source in history
        if source.task.key.startswith("conv2d_1x14x14x256x3x3x256/")
        and "znver4" in source.task.hardware.name
    ]
    assert table.space.to_json() == schedules.space.to_json()
    drawn = np.random.default_rng(0).permutation(len(table.ok_trials))[:60]
    trials = [table.ok_trials[i] for i in drawn]
    configs = table.space.of_trials(trials)
    times_s = np.array([trial.latency_s for trial in trials])
    return schedules, candidates(schedules, configs), times_s


def results(times_s) -> list[RunnerResult]:
    return [RunnerResult([float(time_s)], None) for time_s in times_s]


def rank(scores, times_s) -> float:
    return float(spearmanr(scores, -times_s).statistic)


def test_it_ranks_candidates_of_a_layer_that_it_has_never_seen(model, recorded):
    schedules, some, times_s = recorded
    scores = model.predict(context(schedules.mod), some)
    assert (scores > 0).all()
    assert rank(scores, times_s) > 0.5
    gflops = 2 * 14 * 14 * 256 * 256 * 9 / times_s / 1e9
    assert abs(np.median(np.log2(scores / gflops))) < 1


def test_it_ranks_better_once_it_was_told_some(model, recorded):
    schedules, some, times_s = recorded
    told = np.arange(len(some)) < 30
    here = context(schedules.mod)
    before = model.predict(here, some)
    model.update(here, some[:30], results(times_s[:30]))
    after = model.predict(here, some)
    assert rank(after[told], times_s[told]) > rank(before[told], times_s[told])
    assert rank(after[~told], times_s[~told]) > 0.5


def test_what_was_measured_is_kept_as_a_history_and_predicts_the_same(model, recorded, tmp_path):
    schedules, some, times_s = recorded
    here, path = context(schedules.mod), tmp_path / "measured.jsonl.xz"
    model.update(here, some[:20], results(times_s[:20].round(8)))
    model.update(here, some[20:21], [RunnerResult(None, "it broke")])
    model.save(str(path))
    (source,) = History.read(path)
    assert len(source.ok_trials) == 20
    assert source.trials[-1].status is Status.RUN_ERROR
    other = type(model)(model.method)
    other.load(str(path))
    np.testing.assert_allclose(other.predict(here, some), model.predict(here, some), rtol=1e-3)
    other.save(str(tmp_path / "again.jsonl"))
    assert History.read(tmp_path / "again.jsonl").n_trials == 21
    with pytest.raises(ValueError, match="no such file"):
        other.load(str(tmp_path / "gone.jsonl"))


def test_a_failure_is_no_observation(model, recorded):
    schedules, some, _ = recorded
    here = context(schedules.mod)
    before = model.predict(here, some)
    model.update(here, some[:9], [RunnerResult(None, "it broke")] * 9)
    np.testing.assert_array_equal(model.predict(here, some), before)


def test_other_sketches_are_given_the_mean_and_this_is_said_once(model, recorded, caplog):
    schedules, some, _ = recorded
    here = context(schedules.mod)
    info = ArgInfo.from_prim_func(schedules.mod["main"])
    unscheduled = MeasureCandidate(tvm.s_tir.Schedule(schedules.mod), info)
    mixed = [*some[:4], unscheduled]
    with caplog.at_level(logging.WARNING, logger="dgtl"):
        scores = model.predict(here, mixed)
        model.predict(here, mixed)
    assert scores[4] == pytest.approx(scores[:4].mean())
    (record,) = caplog.records
    assert "1 of 5 candidates follow sketches that dgtl does not have" in record.getMessage()
    model.update(here, mixed[4:], results([1e-3]))
    assert model._measured() == {}


def test_a_function_that_is_not_tuned_is_searched_at_random(model, caplog):
    mod = tvm.IRModule({"main": elementwise()})
    here = context(mod, name="relu")
    some = [
        MeasureCandidate(s, ArgInfo.from_prim_func(mod["main"]))
        for s in here.generate_design_space()
    ]
    with caplog.at_level(logging.WARNING, logger="dgtl"):
        assert (model.predict(here, some) == 1.0).all()
        model.update(here, some, results([1e-3] * len(some)))
    assert [r.getMessage() for r in caplog.records] == [
        "relu: all candidates are worth the same, for dgtl: it has no sum of products"
    ]


def elementwise():
    a = tvm.te.placeholder((64,), name="a")
    return tvm.te.create_prim_func([a, tvm.te.compute((64,), lambda i: a[i] + 1.0, name="b")])


def test_a_gpu_is_told_in_one_line(model):
    target = tvm.target.Target({"kind": "cuda", "arch": "sm_75"})
    with pytest.raises(ValueError, match=r"knows CPUs, and the target is cuda"):
        model._inst._target(types.SimpleNamespace(mod=elementwise(), target=target, task_name="x"))


def no_intrinsics() -> None:
    name = "tvm.s_tir.tensor_intrin"
    sys.modules.setdefault(name, types.ModuleType(name))


def test_stock_tune_tir_runs_with_it(model, tmp_path, monkeypatch):
    fork_workers(monkeypatch)
    function = tuned_function(LAYERS["conv2d"])
    target = tvm.target.Target(function.task.hardware.target)
    database = ms.tir_integration.tune_tir(
        function.mod,
        target,
        str(tmp_path),
        max_trials_global=8,
        num_trials_per_iter=4,
        builder=ms.builder.LocalBuilder(max_workers=1, initializer=no_intrinsics),
        space=RULES,
        strategy=ms.search_strategy.EvolutionarySearch(
            population_size=32, init_min_unmeasured=4, genetic_num_iters=1
        ),
        cost_model=model,
        seed=0,
    )
    records = database.get_all_tuning_records()
    assert len(records) == 8
    (source,) = model._measured().values()
    assert source.task.shape_key == function.task.shape_key
    assert len(source.ok_trials) > 4
