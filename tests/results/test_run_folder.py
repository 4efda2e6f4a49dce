"""A run's folder tells what made it, whether it is complete, and its trials tell the rest."""

import dataclasses
import subprocess
import sys

import onnx
import onnx_models
import pytest
import toys

from dgtl.core.history import SourceTask, TrialLog
from dgtl.core.records import CHECK, Status, best_trial
from dgtl.results.run_folder import Origin, Run, changed, claim, find_runs, is_complete

TASK = toys.dense()
SPACE = toys.space_of(TASK)
CONFIG = {"workload": {"name": "toy", "path": None}, "seed": 3, "tracking": {"mode": "offline"}}


def finished(folder, result: SourceTask, config=CONFIG, *, complete: bool = True):
    """A folder as a run leaves it; its summary says what no trial tells."""
    folder.mkdir(parents=True, exist_ok=True)
    Origin.now("python run.py seed=3", "dgp", config).begin(folder, fresh=False)
    with TrialLog(folder / "trials.jsonl") as log:
        log.task(result.task, result.space)
        for trial in result.trials:
            log.trial(trial)
    summary = toys.summary(
        [result],
        seed=3,
        pretrain_s=1.5,
        sources=[result],
        untuned_latency_ms=30.0,
        latency_ms=10.0,
    )
    if complete:
        summary.write(folder / "summary.json")
        (folder / "report.html").write_text("")
    return summary


def test_summary_is_read_back_from_the_trials(tmp_path):
    result = toys.tuned(TASK, SPACE, 12, seed=0, n_set=8)
    summary = finished(tmp_path, result)
    run = Run.read(tmp_path)
    assert run.summary == summary
    assert run.results == (result,) or run.results[0].trials == result.trials
    assert run.origin is not None
    assert run.origin.command == "python run.py seed=3"


def test_unfinished_run_is_read_too(tmp_path):
    finished(tmp_path, toys.tuned(TASK, SPACE, 12, seed=0), complete=False)
    summary = Run.read(tmp_path).summary
    assert (summary.workload, summary.model, summary.seed) == ("toy", "dgp", 3)
    assert summary.trials == 12
    assert summary.latency_ms is None


def test_schedule_that_computed_something_wrong_is_not_the_best(tmp_path):
    result = toys.tuned(TASK, SPACE, 12, seed=0)
    best = best_trial(result.trials)
    assert best is not None
    verdict = best.replace(status=Status.WRONG_RESULT, stage=CHECK, error="wrong")
    finished(tmp_path, dataclasses.replace(result, trials=(*result.trials, verdict)))
    run = Run.read(tmp_path)
    assert run.summary.trials == 12
    assert run.summary.tasks[0].best_key != best.config
    assert run.results[0].trials[result.trials.index(best)].status is Status.WRONG_RESULT


@pytest.mark.parametrize(
    ("change", "complete"),
    [
        ({}, True),
        ({"tracking": {"mode": "disabled"}, "fresh": False, "cache": "elsewhere"}, True),
        ({"seed": 4}, False),
        ({"budget": {"trials": 7}}, False),
    ],
)
def test_run_is_complete_for_what_it_was_told(change, complete, tmp_path):
    finished(tmp_path, toys.tuned(TASK, SPACE, 4, seed=0))
    assert is_complete(tmp_path, {**CONFIG, **change}) == complete


@pytest.mark.parametrize(
    ("now", "names"),
    [
        ({}, []),
        ({"seed": 4}, ["seed"]),
        ({"model": {"stack": None}}, ["model.stack"]),
        ({"measure": {"repeats": 9, "throttle_wait_s": 1.0}}, ["measure.repeats"]),
        ({"budget": {"trials": 9, "final": 8}}, ["budget.final"]),
        ({"deploy": {"repeats": 9}, "tracking": {"mode": "disabled"}, "fresh": True}, []),
    ],
)
def test_trials_of_other_settings_do_not_belong_together(now, names):
    """What only one version of the program knows, and what is made of trials, does not count."""
    before = {
        **CONFIG,
        "model": {"stack": {"folds": 5}},
        "measure": {"repeats": 3},
        "budget": {"trials": 80, "final": 16},
        "deploy": {"repeats": 100},
        "fresh": False,
    }
    assert changed(before, {**before, **now}) == names


def test_run_without_a_summary_or_an_origin_is_not_complete(tmp_path):
    finished(tmp_path / "a", toys.tuned(TASK, SPACE, 4, seed=0), complete=False)
    assert not is_complete(tmp_path / "a", CONFIG)
    finished(tmp_path / "b", toys.tuned(TASK, SPACE, 4, seed=0))
    (tmp_path / "b" / "run.json").unlink()
    assert not is_complete(tmp_path / "b", CONFIG)


def test_run_that_was_killed_before_its_report_is_not_complete(tmp_path):
    finished(tmp_path, toys.tuned(TASK, SPACE, 4, seed=0))
    (tmp_path / "report.html").unlink()
    assert not is_complete(tmp_path, CONFIG)


def test_run_is_not_complete_once_its_network_has_changed(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"one")
    config = {**CONFIG, "workload": {"name": "onnx", "path": str(model)}}
    finished(tmp_path / "run", toys.tuned(TASK, SPACE, 4, seed=0), config)
    assert is_complete(tmp_path / "run", config)
    model.write_bytes(b"another")
    assert not is_complete(tmp_path / "run", config)


def test_run_is_not_complete_once_weights_beside_its_network_have_changed(tmp_path):
    """What is in the files counts, and not when they were written."""
    model, weights = tmp_path / "model.onnx", tmp_path / "weights"
    network = onnx_models.dense([onnx_models.value("x", [1, 4])])
    onnx.save(network, model, save_as_external_data=True, location=weights.name, size_threshold=0)
    config = {**CONFIG, "workload": {"name": "onnx", "path": str(model)}}
    finished(tmp_path / "run", toys.tuned(TASK, SPACE, 4, seed=0), config)
    kept = weights.read_bytes()
    weights.write_bytes(kept[::-1])
    assert not is_complete(tmp_path / "run", config)
    weights.write_bytes(kept)
    assert is_complete(tmp_path / "run", config)
    inputs = {**config, "workload": {**config["workload"], "inputs": str(tmp_path / "x.npz")}}
    finished(tmp_path / "with inputs", toys.tuned(TASK, SPACE, 4, seed=0), inputs)
    assert is_complete(tmp_path / "with inputs", inputs)
    (tmp_path / "x.npz").write_bytes(b"values")
    assert not is_complete(tmp_path / "with inputs", inputs)


@pytest.mark.parametrize(
    ("change", "fresh", "kept"), [({}, False, True), ({"seed": 4}, False, False), ({}, True, False)]
)
def test_summary_of_another_run_does_not_stay(change, fresh, kept, tmp_path):
    finished(tmp_path, toys.tuned(TASK, SPACE, 4, seed=0))
    Origin.now("again", "dgp", {**CONFIG, **change}).begin(tmp_path, fresh=fresh)
    assert (tmp_path / "summary.json").exists() == kept


def test_runs_are_found_below_a_folder_and_none_is_an_error(tmp_path):
    for name in ("b", "a/x"):
        finished(tmp_path / "runs" / name, toys.tuned(TASK, SPACE, 2, seed=0))
    folders = [tmp_path / "runs" / name for name in ("a/x", "b")]
    assert find_runs([tmp_path / "runs", folders[1]]) == folders
    with pytest.raises(ValueError, match="no run in"):
        find_runs([tmp_path / "elsewhere"])
    with pytest.raises(ValueError, match=r"holds no trials\.jsonl"):
        Run.read(tmp_path)


@pytest.mark.parametrize("name", ["run.json", "summary.json", "replay.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "x", "best_gflops": 1}'])
def test_a_damaged_file_is_named(tmp_path, name, text):
    finished(tmp_path, toys.tuned(TASK, SPACE, 3, seed=0))
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        Run.read(tmp_path)


def test_a_folder_belongs_to_one_process_at_a_time(tmp_path):
    """Of which the end gives it back, however it comes."""
    program = "import sys; from pathlib import Path; from dgtl.results.run_folder import claim\n"
    program += "lock = claim(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(ValueError, match="another run is at work in"):
        claim(tmp_path)
    other.kill()
    other.wait()
    claim(tmp_path).close()
