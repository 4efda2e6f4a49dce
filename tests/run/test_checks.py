"""What a user gets wrong is found before a run computes, or changes, anything; in one line."""

import runpy
import sys
from pathlib import Path

import pytest
from configurations import composed

from dgtl.run.checks import check
from dgtl.run.command import one_line

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

WRONG = {
    "seed=-1": "seed=-1: must be a whole number, at least 0",
    "seed=1.5": "seed=1.5: must be a whole number",
    "seed=foo": "seed=foo: must be a whole number",
    "seed=null": "seed=None: must be a whole number",
    "seed=true": "seed=True: must be a whole number",
    "~seed": "seed=None: must be a whole number",
    "deploy=3": "deploy=3: holds settings, such as deploy.NAME=",
    "budget.trials=many": "budget.trials=many: must be a whole number, at least 0",
    "budget.trials=-1": "budget.trials=-1: must be a whole number, at least 0",
    "budget.seconds=0": "budget.seconds=0: must be a positive number",
    "budget.seconds=-3": "budget.seconds=-3: must be a positive number",
    "budget.stop_gain=0": "budget.stop_gain=0: must be a positive number",
    "budget.stop_gain=-0.1": "budget.stop_gain=-0.1: must be a positive number",
    "budget.final=null": "budget.final=None: must be a whole number, at least 0",
    "scheduler=foo": "scheduler=foo: choose of even, gradient, expected",
    "model=random budget.trials=null budget.tuning_set=0 budget.final=0": "budget.trials is",
    "scheduler=even budget.stop_gain=0.01": "budget.stop_gain=0.01: scheduler=even does not know",
    "model=gga budget.stop_gain=0.01": "budget.stop_gain=0.01: scheduler=gradient does not know",
    "measure=folder scheduler=expected": "scheduler=expected: would need a visit to the device for",
    "budget.trials=0 model=random": "budget.trials=0: model=random has no model of other layers",
    "budget.trials=0 measure=folder": "budget.trials=0: the model chooses only where this CPU",
    "budget.trials=0 workload.tasks=[conv]": "budget.trials=0 builds the whole network",
    "measure=folder budget.seconds=9": "budget.seconds=9: only where this CPU is tuned for",
    "budget.batch=2.5": "budget.batch=2.5: must be a whole number",
    "budget.tuning_set=many": "budget.tuning_set=many: must be a whole number",
    "budget.rounds=-1": "budget.rounds=-1: must be a whole number",
    "history.max_trials=all": "history.max_trials=all: must be a whole number",
    "hardware.num_cores=many": "hardware.num_cores=many: must be a whole number",
    "deploy.repeats=0": "deploy.repeats=0: must be a whole number, at least 1",
    "deploy.repeats=many": "deploy.repeats=many: must be a whole number",
    "deploy.untuned=maybe": "deploy.untuned=maybe: must be true or false",
    "fresh=maybe": "fresh=maybe: must be true or false",
    "history.path=missing": "history.path=missing: no such file or folder",
    "history.import=missing": "history.import=missing: no such file or folder",
    "history.hardware=foo": "history.hardware=foo: choose same or any",
    "share=missing": "share=missing: no such file or folder",
    "tracking.mode=foo": "tracking.mode=foo: choose of online, offline, disabled",
    "workload.tasks=[123]": "workload.tasks: 123 is read as a number",
    "workload.tasks=conv2d": "workload.tasks=conv2d: give a list",
    "workload.tasks=['*']": "workload.tasks: '*' is no regular expression",
    "cache=file/models": "cache cannot be written: ",
    "cache=/proc/models": "cache cannot be written: /proc: ",
}
"""Overrides, and the beginning of the message."""

MODELS = sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml"))

BEFORE = {
    "budget=3": "a group is chosen by a name, as in model=dgp, and not by a number",
    "model=foo": "model=foo: choose of autotvm, ",
    "workload=foo": "workload=foo: choose of alexnet, ",
    "hardware=foo": "hardware=foo: choose of cuda, local, replay",
    "tracking=foo": "tracking=foo: choose of disabled, offline, online",
    "budgett=3": "budgett: no such setting",
    "model.foo=1": "model.foo: no such setting",
    "seed": "seed: cannot be read as NAME=VALUE",
    "seed=[1": "seed=[1: cannot be read as NAME=VALUE",
    "+seed=1": "Could not append to config.",
    "hydra.run.dir=/dev/null/x": "the output folder cannot be written: /dev/null/x: ",
    "hydra.run.dir=/proc/x": "the output folder cannot be written: /proc/x: ",
    "hydra.run.dir=taken": "the output folder cannot be written: taken: File exists",
    "--multirun hydra.sweep.dir=taken/x seed=1,2": "the output folder cannot be written: taken",
}
"""The same of what Hydra finds before the program has begun."""


def checked(tmp_path: Path, *overrides: str, folder: str = "out") -> None:
    check(composed(f"cache={tmp_path / 'models'}", *overrides), tmp_path / folder)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_setting_is_told_in_one_line_and_nothing_is_written(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        checked(tmp_path, *wrong.split())
    said = str(caught.value)
    assert said.startswith(WRONG[wrong])
    assert "\n" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("settings", [(), ("hardware=replay", "workload=tables")])
@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_wrong_with_what_comes_with_the_program(settings, model, tmp_path):
    checked(tmp_path, *settings, f"model={model}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "right",
    [
        "budget.stop_gain=0.01",
        "budget.trials=0",
        "budget.trials=0 model=xgb_transfer",
        "measure=folder",
        "measure=folder scheduler=even",
        "hardware=replay workload=tables workload.network=resnet18 budget.seconds=9",
        "hardware=replay workload=tables model=gga scheduler=expected budget.stop_gain=0.01",
    ],
)
def test_budgets_that_can_be_kept_are_not_refused(right, tmp_path):
    checked(tmp_path, *right.split())


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_file_in_the_way_of_the_output_folder_is_told(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"the output folder cannot be written: .*file"):
        checked(tmp_path, folder=folder)


@pytest.mark.parametrize("wrong", BEFORE)
def test_what_hydra_finds_is_told_in_one_line(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(ROOT / "run.py"), *wrong.split()])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    Path("taken").touch()
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    said = caught.value.code
    assert said.startswith(f"error: {BEFORE[wrong]}")
    assert "\n" not in said


def test_an_error_that_no_user_can_mend_is_none_of_these():
    assert one_line(KeyError("key")) is None
