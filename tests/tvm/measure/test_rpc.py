"""Measuring by RPC: trials as on this machine, and none of a device that is unlike the others."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
import rpc_farms
import tvm
from forked_workers import fork_workers
from rpc_farms import KEY, server
from tvm_layers import LAYERS, schedules, tuned_function

from dgtl.core.records import Status
from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.measure import rpc
from dgtl.tvm.measure.rpc import RPCMeasurer, device_hardware
from dgtl.tvm.rpc.farm import RPCSettings
from dgtl.tvm.workload.tasks import lower

pytestmark = pytest.mark.tvm

CONV = LAYERS["conv2d"]
TASK = tuned_function(CONV).task
OPTIONS = MeasureOptions(repeats=3, min_repeat_ms=1e-3, quick_factor=1e9, throttle_wait_s=0.0)


@pytest.fixture(autouse=True, scope="module")
def forked():
    """What speaks with the devices; these are processes as users start them."""
    with pytest.MonkeyPatch.context() as patch:
        fork_workers(patch)
        yield


@pytest.fixture(scope="module")
def settings():
    with rpc_farms.tracker() as port, server(port), server(port):
        yield RPCSettings(port=port, key=KEY, queue_timeout_s=60, calibration_factor=100)


@pytest.fixture(scope="module")
def device(settings):
    return device_hardware(settings, 1, say=lambda _: None)


def keys(n: int) -> list[str]:
    space = schedules(CONV).space
    return space.keys(space.sample_distinct(np.random.default_rng(0), n))


@contextlib.contextmanager
def measurer(device, settings):
    said: list[str] = []
    functions = {TASK.key: tuned_function(CONV).mod}
    with RPCMeasurer(device, functions, OPTIONS, settings, said.append) as ours:
        ours.said = said
        yield ours


def test_a_device_says_what_it_is(device, hardware):
    assert device.name == hardware.name
    assert device.num_cores == 1
    assert '"num-cores": 1' in device.target


def test_more_cores_than_a_device_has_are_refused(settings):
    with pytest.raises(ValueError, match="num_cores=99: the device offers 1 to"):
        device_hardware(settings, 99, say=lambda _: None)


def test_trials_are_those_of_this_machine(device, settings, scratch, monkeypatch):
    configs = keys(6)
    told = []
    with measurer(device, settings) as ours:
        trials = ours.measure(TASK, configs[:5], best_s=math.inf, on_trial=told.append)
        (slow,) = ours.measure(TASK, configs[5:], best_s=1e-18)
        assert ours.measure(TASK, [], best_s=math.inf) == []
        assert ours.check([(TASK, configs[0])]) == [None]
        monkeypatch.setattr(rpc.workers, "wrong_above", lambda _: -1.0)
        (wrong,) = ours.check([(TASK, configs[0])])
        assert wrong.status is Status.WRONG_RESULT
        (folder,) = [path for path in scratch.iterdir() if path.is_dir()]
        assert not list(folder.glob("candidate*"))
    assert list(scratch.iterdir()) == []
    assert [trial.config for trial in trials] == configs[:5]
    assert {id(trial) for trial in told} == {id(trial) for trial in trials}
    for trial in trials:
        assert trial.status is Status.OK, trial.error
        assert len(trial.run_times_s) == OPTIONS.repeats
        assert 0 < trial.latency_s < 1
        assert trial.build_s > 0
        assert trial.wall_s > 0
    assert slow.quick
    assert len(slow.run_times_s) == 1


def test_a_device_of_another_speed_is_left_alone_and_named(device, settings, scratch):
    """What the first one took is made up: as of a board a thousand times as fast."""
    slow = RPCSettings(port=settings.port, key=KEY, queue_timeout_s=8)
    with measurer(device, slow) as ours:
        ours._farm._first = "10.0.0.1:9090", {"arithmetic": 1e-9, "memory": 1e-9}
        with pytest.raises(ValueError, match="free or fit to measure"):
            ours.measure(TASK, keys(1), best_s=math.inf)
        assert any(
            "left alone: it is not like the others: arithmetic takes" in text for text in ours.said
        )


def test_a_network_runs_on_a_device(device, settings, scratch):
    model = CONV.model(0)
    lowered = lower(model, tvm.target.Target(device.target))
    library = scratch / "model.so"
    deploy.build(lowered, device, library)
    name, shape = next(
        (value.name, [d.dim_value for d in value.type.tensor_type.shape.dim])
        for value in model.graph.input
    )
    inputs = {name: np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}
    by_rpc = deploy.time_network(
        library,
        device,
        inputs,
        repeats=3,
        throttle_wait_s=0.0,
        timer=lambda *what: rpc.time_network(settings, *what),
    )
    here = deploy.time_network(library, device, inputs, repeats=1, throttle_wait_s=0.0)
    assert len(by_rpc.run_times_s) == 3
    for there, ours in zip(by_rpc.outputs, here.outputs, strict=True):
        np.testing.assert_allclose(there, ours, rtol=1e-5, atol=1e-5)
