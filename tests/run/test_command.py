"""The command around Hydra: jobs of a sweep end alone, and its locale is its user's own affair."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import toys
from commands import RUN, here
from replayed import N_ROWS, write

from dgtl.run.command import JobEndedError, call

if TYPE_CHECKING:
    from pathlib import Path

REPLAY = (
    "hardware=replay",
    "workload=tables",
    "model=random",
    "budget.trials=16",
    "tracking=disabled",
    "workload.folds=2",
    "hardware.tables=[tables.jsonl]",
    "hardware.min_rows=1",
    "hydra.sweep.dir=out",
)


def write_tables(folder: Path) -> None:
    layers = [toys.dense(), toys.conv2d()]
    tables = [toys.tuned(t, toys.space_of(t), N_ROWS, seed) for seed, t in enumerate(layers)]
    write(folder / "tables.jsonl", tables)


def sweep(folder: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(RUN), "-m", *REPLAY]
    return subprocess.run(
        [*command, *overrides],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
    )


def summaries(folder: Path) -> int:
    return len(list(folder.rglob("summary.json")))


def test_the_end_of_a_job_is_the_exit_code(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # `call` sets it, and later tests would see that

    def job() -> None:
        raise JobEndedError(3)

    with pytest.raises(SystemExit) as ended:
        call(job)
    assert ended.value.code == 3
    assert (
        pickle.loads(pickle.dumps(JobEndedError(3))).code == 3
    )  # as it comes from other processes


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    ["basic", "submitit_local", "ray"],
)
def test_a_job_that_fails_ends_alone(tmp_path, launcher):
    """The first of two jobs has a wrong setting, which only its own check finds."""
    packages = {"submitit_local": "hydra_plugins.hydra_submitit_launcher"}
    packages |= {"ray": "hydra_plugins.hydra_ray_launcher"}
    if launcher in packages:
        pytest.importorskip(packages[launcher])
    write_tables(tmp_path)
    jobs = ("seed=-1,0", f"hydra/launcher={launcher}")
    if launcher == "basic":  # all jobs are in the process that starts them
        done = here(tmp_path, "-m", *REPLAY, *jobs, report=False)
    else:
        done = sweep(tmp_path, *jobs, PYTHONPATH=os.pathsep.join(sys.path))
    assert done.returncode == 1, done.stderr
    assert summaries(tmp_path) == 1
    if launcher != "submitit_local":  # whose jobs have a log of their own
        assert "error: seed=-1: must be a whole number, at least 0" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_another_locale_and_no_home_do_no_harm(tmp_path):
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "HOME": ""}
    write_tables(tmp_path)
    done = sweep(tmp_path, "seed=0", **environment)
    assert done.returncode == 0, done.stderr
    assert summaries(tmp_path) == 1
