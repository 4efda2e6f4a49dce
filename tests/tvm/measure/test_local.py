"""Measuring on this machine: whatever a candidate does, the batch goes on and nothing stays."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import math
import os
import signal
import sys
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import tvm
from forked_workers import fork_workers
from tvm_layers import LAYERS, schedules, tuned_function

from dgtl.core.records import Status
from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm.measure import local as measure
from dgtl.tvm.measure import pools, workers
from dgtl.tvm.measure.local import LocalMeasurer

pytestmark = pytest.mark.tvm

# Workers cannot import this module: what they are to call of it travels by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

CONV = LAYERS["conv2d"]
OPTIONS = MeasureOptions(
    repeats=3,
    min_repeat_ms=1.0,
    build_timeout_s=30.0,  # beside another test, or where others slow the machine down
    run_timeout_s=30.0,
    quick_factor=1e9,
    throttle_wait_s=0.0,  # each runner that starts anew would learn the machine's pace first
)
HASTY = dataclasses.replace(OPTIONS, build_timeout_s=4.0, run_timeout_s=4.0)
"""For what hangs."""
TASK = tuned_function(CONV).task


def keys(n: int, seed: int = 0) -> list[str]:
    """Keys of ``n`` random configurations."""
    space = schedules(CONV).space
    return space.keys(space.sample_distinct(np.random.default_rng(seed), n))


def measurer(hardware, options: MeasureOptions = OPTIONS) -> LocalMeasurer:
    return LocalMeasurer(hardware, {TASK.key: tuned_function(CONV).mod}, options)


def do(deed: str) -> None:
    """What a bad candidate does in a worker process."""
    if deed == "raise":
        raise RuntimeError("first line\nthe last line says it")
    if deed == "exit":
        os._exit(13)
    if deed == "hang":
        time.sleep(60)
    if deed == "deadlock":  # keeps the interpreter's lock, so that no timer in there can fire
        ctypes.PyDLL(None).sleep(60)
    if deed.startswith("be killed once: "):
        mark = Path(deed.partition(": ")[2])
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def bad_build(deeds: dict[str, str], mod_file: str, target: str, config: str, library: str):
    do(deeds.get(config, ""))
    if deeds.get(config) == "refuse":
        return "VerifyGPUCode refuses it"
    return workers.build(mod_file, target, config, library)


def bad_timing(numbers: dict[str, str], call: str, library: str, *arguments):
    number = library.rsplit("-", 1)[1].removesuffix(".so")
    do(numbers.get(f"{call}-{number}", ""))
    return getattr(workers, call)(library, *arguments)


def wrong_check(mod_file: str, target: str, config: str) -> tuple[float, float]:
    """The check of a schedule whose last operation, the ReLU, went wrong."""
    space = workers._space(mod_file, target)
    wrong = tvm.script.from_source(space.mod.script().replace("T.max(", "T.min("))
    space.schedule = lambda config: tvm.s_tir.Schedule(wrong)
    return workers.check(mod_file, target, config)


@pytest.fixture
def forked(monkeypatch):
    """For tests in which no worker ends before its time."""
    fork_workers(monkeypatch)


def test_good_candidates_are_timed_as_often_as_asked(hardware, scratch, forked):
    configs = keys(4)
    told = []
    options = dataclasses.replace(OPTIONS, throttle_wait_s=MeasureOptions.throttle_wait_s)
    with measurer(hardware, options) as ours:
        trials = ours.measure(TASK, configs, best_s=math.inf, on_trial=told.append)
        assert ours.check([(TASK, configs[0])]) == [None]
        assert ours.measure(TASK, [], best_s=math.inf) == []
    assert told == trials
    assert [trial.config for trial in trials] == configs
    for trial in trials:
        assert trial.ok
        assert trial.task == TASK.key
        assert len(trial.run_times_s) == OPTIONS.repeats
        assert not trial.quick
        assert 0 < trial.latency_s < 1
        assert trial.build_s > 0
        assert trial.run_s >= 3 * OPTIONS.min_repeat_ms / 1e3
        assert trial.wall_s > trial.run_s


def test_nothing_is_left_on_disk(hardware, scratch, forked):
    with measurer(hardware) as ours:
        ours.measure(TASK, keys(2), best_s=math.inf)
        (folder,) = (path for path in scratch.iterdir() if path.is_dir())
        assert not list(folder.glob("*.so"))
    assert [path for path in scratch.iterdir() if path.is_dir()] == []


def test_bad_builds_fail_alone(hardware, scratch, monkeypatch):
    configs = keys(6)
    deeds = dict(zip(configs[1:5], ("raise", "exit", "hang", "refuse"), strict=True))
    monkeypatch.setattr(workers, "build", functools.partial(bad_build, deeds))
    with measurer(hardware, HASTY) as ours:
        trials = ours.measure(TASK, configs, best_s=math.inf)
    assert [trial.status for trial in trials] == [
        Status.OK,
        Status.BUILD_ERROR,
        Status.BUILD_ERROR,
        Status.BUILD_TIMEOUT,
        Status.INVALID,
        Status.OK,
    ]
    assert trials[1].error == "the last line says it"
    assert trials[3].build_s == HASTY.build_timeout_s
    assert trials[4].error == "VerifyGPUCode refuses it"
    assert all(trial.error and not trial.run_times_s for trial in trials[1:5])
    assert [path for path in scratch.iterdir() if path.is_dir()] == []


def test_bad_runs_fail_alone(hardware, scratch, monkeypatch):
    """Also where only a later timing goes wrong, after which the others are loaded anew."""
    deeds = {
        "first_timing-2": "raise",
        "first_timing-3": "exit",
        "first_timing-4": "hang",
        "next_timing-5": "exit",
    }
    for call in ("first_timing", "next_timing"):
        monkeypatch.setattr(workers, call, functools.partial(bad_timing, deeds, call))
    with measurer(hardware, HASTY) as ours:
        trials = ours.measure(TASK, keys(6), best_s=math.inf)
    assert [trial.status for trial in trials] == [
        Status.OK,
        Status.RUN_ERROR,
        Status.RUN_ERROR,
        Status.RUN_TIMEOUT,
        Status.RUN_ERROR,
        Status.OK,
    ]
    assert all(len(trial.run_times_s) == OPTIONS.repeats for trial in trials if trial.ok)
    assert all(not trial.run_times_s for trial in trials if not trial.ok)
    assert all(trial.build_s > 0 for trial in trials)
    assert trials[3].run_s >= HASTY.run_timeout_s


def test_a_runner_that_hangs_in_native_code_is_ended(hardware, scratch, monkeypatch):
    deeds = {"first_timing-1": "deadlock"}
    monkeypatch.setattr(
        workers, "first_timing", functools.partial(bad_timing, deeds, "first_timing")
    )
    monkeypatch.setattr(pools, "HUNG_AFTER_S", 1.0)
    with measurer(hardware, HASTY) as ours:
        trials = ours.measure(TASK, keys(2), best_s=math.inf)
    assert [trial.status for trial in trials] == [Status.RUN_TIMEOUT, Status.OK]


def test_a_builder_that_hangs_in_native_code_is_ended(hardware, scratch, monkeypatch):
    configs = keys(2)
    monkeypatch.setattr(workers, "build", functools.partial(bad_build, {configs[0]: "deadlock"}))
    monkeypatch.setattr(pools, "HUNG_AFTER_S", 1.0)
    with measurer(hardware, HASTY) as ours:
        trials = ours.measure(TASK, configs, best_s=math.inf)
    assert [trial.status for trial in trials] == [Status.BUILD_TIMEOUT, Status.OK]


def test_who_was_killed_is_asked_once_more(hardware, scratch, tmp_path, monkeypatch):
    """That says nothing of a candidate, whether it was being built or timed."""
    configs = keys(2)
    deed = f"be killed once: {tmp_path / 'built'}"
    monkeypatch.setattr(workers, "build", functools.partial(bad_build, {configs[0]: deed}))
    deeds = {"next_timing-2": f"be killed once: {tmp_path / 'timed'}"}
    monkeypatch.setattr(workers, "next_timing", functools.partial(bad_timing, deeds, "next_timing"))
    with measurer(hardware) as ours:
        trials = ours.measure(TASK, configs, best_s=math.inf)
    assert all(trial.ok and len(trial.run_times_s) == OPTIONS.repeats for trial in trials)
    assert (tmp_path / "built").exists()
    assert (tmp_path / "timed").exists()


def test_trials_are_kept_as_they_come(hardware, scratch, forked, monkeypatch):
    """An interruption loses those of the group in flight; what failed to build is kept first."""
    configs = keys(5)
    monkeypatch.setattr(measure, "GROUP", 2)
    monkeypatch.setattr(workers, "build", functools.partial(bad_build, {configs[4]: "raise"}))
    told = []

    def on_trial(trial):
        told.append(trial)
        if len(told) == 3:
            raise KeyboardInterrupt

    with measurer(hardware) as ours:
        with pytest.raises(KeyboardInterrupt):
            ours.measure(TASK, configs, best_s=math.inf, on_trial=on_trial)
        (folder,) = (path for path in scratch.iterdir() if path.is_dir())
        assert not list(folder.glob("*.so"))
    assert [trial.config for trial in told] == [configs[4], *configs[:2]]
    assert all(len(t.run_times_s) == OPTIONS.repeats and t.wall_s > t.run_s for t in told[1:])


def test_the_runner_starts_anew_before_its_memory_maps_run_out(hardware, scratch, monkeypatch):
    monkeypatch.setattr(measure, "RUNNER_LIFE", 2)
    with measurer(hardware) as ours:
        before = ours._runner
        assert all(t.ok for t in ours.measure(TASK, keys(2), best_s=math.inf))
        assert ours._runner is not before
        assert all(t.ok for t in ours.measure(TASK, keys(4)[2:], best_s=math.inf))


def test_a_slow_candidate_is_timed_once(hardware, scratch, forked):
    options = MeasureOptions(repeats=3, min_repeat_ms=1e-3, quick_factor=3.0)
    with measurer(hardware, options) as ours:
        (trial,) = ours.measure(TASK, keys(1), best_s=1e-9)
    assert trial.ok
    assert trial.quick
    assert len(trial.run_times_s) == 1


def test_what_a_first_timing_shows_to_be_slow_is_not_repeated(
    hardware, scratch, forked, monkeypatch
):
    """By the best of the whole batch, also where that comes last."""
    times_s = {1: 3.1e-6, 2: 2.9e-6, 3: 1e-6, 4: 1e-6}

    def timing(library, *arguments):
        return workers.Timing(times_s[int(library.rsplit("-", 1)[1].removesuffix(".so"))])

    monkeypatch.setattr(workers, "first_timing", timing)
    monkeypatch.setattr(workers, "next_timing", timing)
    options = MeasureOptions(repeats=3, quick_factor=3.0)
    with measurer(hardware, options) as ours:
        trials = ours.measure(TASK, keys(3), best_s=math.inf)
        (known,) = ours.measure(TASK, keys(4)[3:], best_s=1e-9)
    assert [(t.quick, len(t.run_times_s)) for t in trials] == [(True, 1), (False, 3), (False, 3)]
    assert known.quick


@pytest.mark.parametrize("cache_flush_mb", [0.0, 0.01, 1.0, 1e9])
def test_run_after_run_finds_the_weights_as_far_away_as_in_a_network(cache_flush_mb, monkeypatch):
    """As many copies in turn as come to its size, within limits; input and output stay."""
    seen = []

    class Library:
        def __getitem__(self, name):
            return lambda *arguments: seen.append(tuple(a.data_ptr() for a in arguments))

    monkeypatch.setattr(tvm.runtime, "load_module", lambda path: Library())
    shapes = [((4, 4), "float32"), ((32, 32), "float32"), ((32,), "float32"), ((8,), "float32")]
    options = MeasureOptions(cache_flush_mb=cache_flush_mb, min_repeat_ms=50.0, throttle_wait_s=0.0)
    for library in ("a", "b"):  # the second takes the buffers of the first
        workers.first_timing(library, shapes, options, math.inf)
    inputs, weights, biases, outputs = map(set, zip(*seen, strict=True))
    copies = max(1, min(int(cache_flush_mb * 2**20 / (4 * 32 * 33)), workers.MOST_COPIES))
    assert len(inputs) == len(outputs) == 1
    assert len(weights) == len(biases) == copies
    assert len(set(seen[:copies])) == len(set(seen[-copies:])) == copies


def test_buffers_of_another_task_do_not_stay(monkeypatch):
    monkeypatch.setattr(workers, "_buffers", {})
    small, large = ([((n,), "float32")] * 3 for n in (8, 16))
    workers._arguments(small, 0.001)
    workers._arguments(large, 0.001)
    assert {key[2] for key in workers._buffers} == {16}


def test_a_wrong_result_is_found(hardware, scratch, forked, monkeypatch):
    monkeypatch.setattr(workers, "check", wrong_check)
    with measurer(hardware) as ours:
        (trial,) = ours.check([(TASK, keys(1)[0])])
    assert trial is not None
    assert trial.status is Status.WRONG_RESULT
    assert "relative error" in trial.error


def test_a_check_that_breaks_is_a_failure(hardware, scratch, monkeypatch):
    monkeypatch.setattr(workers, "check", lambda *arguments: do("exit"))
    with measurer(hardware) as ours:
        (trial,) = ours.check([(TASK, keys(1)[0])])
    assert trial is not None
    assert trial.status is Status.RUN_ERROR
