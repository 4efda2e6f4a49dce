"""Records survive JSON, and a failure is a value that is never the best."""

import dataclasses
import json
import math

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from dgtl.core.records import SCHEMA, Hardware, Provenance, Status, Task, Trial

seconds = st.floats(0, 1e6, allow_nan=False)
run_times = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=5).map(tuple)
trials = st.builds(
    Trial,
    task=st.text(min_size=1),
    config=st.lists(st.integers(0, 999), min_size=1).map(lambda o: ".".join(map(str, o))),
    status=st.sampled_from(list(Status)),
    run_times_s=run_times,
    build_s=seconds,
    run_s=seconds,
    wall_s=seconds,
    model_s=seconds,
    quick=st.booleans(),
    error=st.text(),
    stage=st.text(),
    timestamp=seconds,
    provenance=st.text(),
)


def through_json(record: dict) -> dict:
    return json.loads(json.dumps(record))


@given(trials)
def test_trial_json_round_trip(trial):
    assert Trial.from_json(through_json(trial.to_json())) == trial


def test_trial_json_leaves_out_defaults():
    assert set(Trial("t", "0", Status.INVALID).to_json()) == {
        "type",
        "schema",
        "task",
        "config",
        "status",
    }


@pytest.mark.parametrize("task", [toys.dense(), toys.conv2d(), toys.conv2d(stride=2)])
def test_task_json_round_trip(task):
    assert Task.from_json(through_json(task.to_json())) == task


def test_provenance_json_round_trip():
    source = Provenance("ab", toys.HARDWARE, 0, {"tvm": "0.27"}, "f00+", {"repeats": 3}, 1.0)
    assert Provenance.from_json(through_json(source.to_json())) == source


@pytest.mark.parametrize("reader", [Task.from_json, Trial.from_json, Provenance.from_json])
def test_newer_schema_is_refused(reader):
    with pytest.raises(ValueError, match="update dgtl"):
        reader({"schema": SCHEMA + 1})


@given(trials)
def test_only_ok_trials_have_a_finite_latency(trial):
    assert trial.ok == (trial.status is Status.OK)
    assert math.isfinite(trial.latency_s) == trial.ok


def test_latency_is_the_median_run_time():
    trial = Trial("t", "0", Status.OK, run_times_s=(3.0, 1.0, 100.0))
    assert trial.latency_s == 3.0


def test_throughput_is_flops_over_latency():
    task = toys.dense(rows=10, columns=10, depth=10)
    assert task.gflops(1e-6) == pytest.approx(2.0)


@given(trials)
def test_search_time_counts_wall_clock_and_model_but_not_overlapping_builds(trial):
    assert trial.search_s == trial.wall_s + trial.model_s


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ('{"kind": "llvm", "mcpu": "znver4"}', "llvm"),
        ('{"mcpu": "znver4", "kind": "llvm"}', "llvm"),
        ("cuda -arch=sm_90", "cuda"),
        ("llvm", "llvm"),
    ],
)
def test_hardware_kind_is_the_family_of_targets(target, kind):
    assert Hardware("x", target, 1).kind == kind


def test_shape_key_tells_shapes_apart_but_not_epilogues():
    task = toys.conv2d()
    fused = dataclasses.replace(task, key="other", name="fused_conv2d_add_relu_add", weight=7)
    assert fused.shape_key == task.shape_key
    assert toys.conv2d(stride=2).shape_key != task.shape_key
    assert toys.conv2d(kernel=1).shape_key != task.shape_key
    assert toys.dense().shape_key != task.shape_key


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        toys.dense().weight = 2
