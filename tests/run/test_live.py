"""The command itself, on a network of milliseconds: what it leaves, and how it goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from commands import RUN, here
from forked_workers import fork_workers
from tvm_layers import write_history

from dgtl.core.history import History
from dgtl.core.records import AGAIN
from dgtl.results.summary import SUMMARY_SCHEMA, Summary, TaskSummary

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

TUNING_SET, FINAL = 2, 2
TRIALS = 4 * (TUNING_SET + FINAL)


def write_log(path: Path) -> None:
    """What AutoTVM tried of a dense layer on another processor."""
    tensors = [["TENSOR", [rows, 18], "float32"] for rows in (4, 10)]
    path.parent.mkdir()
    with path.open("w") as log:
        for factor in (1, 2, 5):
            tiles = {"tile_y": 1, "tile_x": factor, "tile_k": 1}
            record = {
                "input": [
                    "llvm -mcpu=skylake",
                    "dense_nopack.x86",
                    [*tensors, None, "float32"],
                    {},
                ],
                "config": {
                    "index": 0,
                    "code_hash": None,
                    "entity": [[name, "sp", [-1, size]] for name, size in tiles.items()],
                },
                "result": [[1e-6 * factor], 0, 1.5, 1.6e9],
                "version": 0.2,
            }
            log.write(json.dumps(record) + "\n")


def arguments(*overrides: str) -> list[str]:
    """Of ``python run.py``: few trials of `tiny`, its results in ``out``."""
    return [
        "workload=tiny",
        "tracking=disabled",
        # Beside other tests: threads that wait for one another take long.
        "hardware.num_cores=1",
        "history.path=history.jsonl",
        "history.import=skylake",
        "history.hardware=any",
        "cache=models",
        "hydra.run.dir=out",
        "budget=even",
        "budget.initial_set=64",
        f"budget.tuning_set={TUNING_SET}",
        f"budget.final={FINAL}",
        "measure.min_repeat_ms=1",
        "measure.throttle_wait_s=0.1",
        "model.network.layers=1",
        "model.network.steps=5",
        "model.network.inducing=16",
        "model.stack.folds=2",
        "model.stack.trees.trees=20",
        "model.stack.residual.steps=4",
        "model.annealing.chains=8",
        "model.annealing.steps=20",
        "deploy.repeats=5",
        *overrides,
    ]


def command(*overrides: str) -> list[str]:
    return [sys.executable, str(RUN), *arguments(*overrides)]


def run(folder: Path, *overrides: str, report: bool = False) -> subprocess.CompletedProcess:
    """The command in this process, which imports TensorFlow once for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        # To start a process takes longer than the builds of all these trials.
        patch.setattr("dgtl.tvm.measure.builders.available_cores", lambda: 1)
        fork_workers(patch)
        return here(folder, *arguments(*overrides), report=report)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A finished run: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    write_history(folder / "history.jsonl")
    write_log(folder / "skylake" / "dense.log")
    done = run(folder, report=True)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture
def copied(tuned, tmp_path):
    """A copy of the finished run, to go on from."""
    shutil.copytree(tuned[0], tmp_path / "run")
    return tmp_path / "run"


def proposals(log: Path) -> list[tuple[str, str, str]]:
    """Task, configuration and stage of all trials of a run, task by task in order."""
    history = History.read(log)
    return [(t.task, t.config, t.stage) for source in history for t in source.trials]


def test_a_run_leaves_what_it_says(tuned):
    folder, done = tuned
    out = folder / "out"
    record = json.loads((out / "summary.json").read_text())
    assert list(record) == ["schema", *(f.name for f in dataclasses.fields(Summary)[:-1])]
    assert record["schema"] == SUMMARY_SCHEMA
    for task in record["tasks"]:
        assert list(task) == [f.name for f in dataclasses.fields(TaskSummary)]
    summary = Summary.read(out / "summary.json")
    assert (summary.workload, summary.model, summary.seed) == ("tiny", "dgp", 0)
    assert summary.trials == TRIALS == len(proposals(out / "trials.jsonl"))
    assert [task.trials for task in summary.tasks] == [TUNING_SET + FINAL] * 4
    assert (summary.source_tasks, summary.source_trials) == (3 + 1, 120 + 3)
    assert summary.latency_ms > 0
    assert summary.untuned_latency_ms > 0
    assert all(task.best_gflops > 0 for task in summary.tasks)
    assert "Traceback" not in done.stderr
    for name in ("best", "model.so", "summary.json", "trials.jsonl", "config", "report.html"):
        assert (out / name).exists(), name


def test_the_model_loads_by_the_lines_that_are_printed(tuned):
    """In a process that knows nothing of dgtl."""
    _, done = tuned
    lines = done.stdout.partition("To load it:\n")[2].splitlines()
    program = "import numpy as np\nimage = np.ones((1, 3, 32, 32), np.float32)\n"
    program += "\n".join(line.strip() for line in lines)
    assert "model.so" in program
    program += "\nprint(output.numpy().shape)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.strip() == "(1, 10)"


def test_the_same_command_again_measures_nothing(copied):
    before = proposals(copied / "out" / "trials.jsonl")
    summary = Summary.read(copied / "out" / "summary.json")
    done = run(copied, "deploy.untuned=false")
    assert done.returncode == 0, done.stderr
    assert proposals(copied / "out" / "trials.jsonl") == before
    again = Summary.read(copied / "out" / "summary.json")
    assert again.tasks == summary.tasks
    assert again.search_s == summary.search_s


def test_trials_of_other_settings_are_not_gone_on_from(copied):
    before = (copied / "out" / "trials.jsonl").read_bytes()
    done = run(copied, "measure.min_repeat_ms=2")
    assert done.returncode == 1
    assert "holds trials of other settings (measure.min_repeat_ms): fresh=true" in done.stderr
    assert (copied / "out" / "trials.jsonl").read_bytes() == before
    assert (copied / "out" / "summary.json").exists()


def test_a_killed_run_goes_on_to_the_same_end(copied):
    """Killed in the last task's search, while a line was being written."""
    log = copied / "out" / "trials.jsonl"
    before = proposals(log)
    lines = log.read_text().splitlines(keepends=True)
    trial_lines = [i for i, line in enumerate(lines) if '"type":"trial"' in line]
    cut = trial_lines[-1]
    log.write_text("".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
    (copied / "out" / "summary.json").unlink()
    done = run(copied, "deploy.untuned=false")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"holds {TRIALS - 1} trials", done.stdout + done.stderr)
    assert proposals(log) == before
    assert Summary.read(copied / "out" / "summary.json").trials == TRIALS
    kept = log.read_text().splitlines(keepends=True)
    assert kept[:cut] == lines[:cut]


def test_the_fastest_are_timed_again_and_decide(copied, monkeypatch):
    monkeypatch.setattr("dgtl.run.finalists.SEARCHED", 2)
    monkeypatch.setattr("dgtl.run.finalists.NEAR", 1e9)
    log = copied / "out" / "trials.jsonl"
    before = History.read(log)
    (copied / "out" / "summary.json").unlink()
    done = run(copied, "deploy.untuned=false")
    assert done.returncode == 0, done.stderr
    assert "8 of the fastest schedules were timed again, of 4 layers" in done.stdout + done.stderr
    summary = Summary.read(copied / "out" / "summary.json")
    assert summary.trials == TRIALS + 8
    bests_us = []
    for source in History.read(log):
        trials = before.trials(source.task.key)
        assert list(source.trials[: len(trials)]) == trials
        again = source.trials[len(trials) :]
        assert [trial.stage for trial in again] == [AGAIN, AGAIN]
        ran = sorted((t for t in trials if t.ok), key=lambda trial: trial.latency_s)
        assert [trial.config for trial in again] == [trial.config for trial in ran[:2]]
        bests_us.append(min(trial.latency_s for trial in again) * 1e6)
    assert sorted(bests_us) == sorted(task.best_latency_us for task in summary.tasks)


def _interruptible() -> None:
    """Tests that run in a shell's background inherit that interruptions are ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_impatient_interruption_ends_a_run_with_one_line(copied):
    """As from a terminal: all of its processes are interrupted, and twice."""
    many = ("fresh=true", "budget.tuning_set=64", "workload.tasks=[conv2d]")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        command(*many), cwd=copied, start_new_session=True, preexec_fn=_interruptible, **pipes
    ) as process:
        while not (line := process.stdout.readline()).startswith("task 1/"):
            assert line, process.stderr.read()
        time.sleep(2.0)  # among the builds
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 1, said
    assert said.splitlines()[-1] == "stopped; the same command goes on from here"


def test_a_part_of_the_layers_is_tuned_as_among_all_and_what_was_measured_is_shared(copied):
    part = copied / "part"
    done = run(copied, "workload.tasks=[matmul]", "share=out", f"hydra.run.dir={part}")
    assert done.returncode == 0, done.stderr
    among_all, own = (
        [
            (t.task, t.config, t.stage, t.run_times_s, t.build_s)
            for s in History.read(log)
            for t in s.trials
        ]
        for log in (copied / "out" / "trials.jsonl", part / "trials.jsonl")
    )
    assert own == [trial for trial in among_all if trial[0].startswith("dense")] != []
    assert Summary.read(part / "summary.json").latency_ms is None
    assert (part / "best").exists()
    assert not (part / "model.so").exists()
