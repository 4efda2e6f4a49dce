"""What a user gets wrong is told in one line, without a traceback, by the command itself."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import commands
import onnx
import onnx_models as forms
import pytest
from tvm_layers import CORES, LAYERS, schedules, tuned_function

from dgtl.core.history import TrialLog
from dgtl.core.records import Hardware, Status, Trial

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

WRONG = {
    "workload.name=foo": "unknown workload 'foo': choose from",
    "workload=onnx workload.path=missing.onnx": "workload.path=missing.onnx: no such file",
    "workload=onnx workload.path=damaged.jsonl": "is not an ONNX model",
    "workload=onnx workload.path=open.onnx": "give workload.shapes='{x: [1,3,224,224]}'",
    "workload=onnx workload.path=open.onnx workload.shapes={x:[1,3,8,8],z:[1]}": "has no input z",
    "workload=onnx workload.path=loop.onnx": "TVM cannot import 2 kinds of operators: Loop (1), ",
    "workload.shapes={data:[1,3,8,8]}": "input data: extent 2 is 32 in the network",
    "workload.inputs=missing.npz": "workload.inputs=missing.npz: no such file",
    "history.path=damaged.jsonl": "history damaged.jsonl, line 2 is damaged",
    "history.path=other.jsonl": "of other hardware",
    "history.import=damaged.jsonl": "history.import=damaged.jsonl: no AutoTVM record in 1 files",
    "hardware.num_cores=99999": "hardware.num_cores=99999: this machine offers 1 to",
    "hardware=cuda": "no NVIDIA GPU is found here",
    "hardware=cuda hardware.arch=sm_90": "no NVIDIA GPU is found here",
    "hardware=cuda measure=folder hardware.arch=sm_10": "sm_10: the installed compiler knows",
    "hardware=cuda measure=folder hardware.device=mine": "mine: give hardware.arch",
    "hardware.kind=rocm": "hardware.kind=rocm: choose llvm, cuda or replay",
    "measure.where=cloud": "measure.where=cloud: choose local, folder or rpc",
    "workload.tasks=[foo]": "workload.tasks finds none of the layers: conv 3x3 3->16 16x16 s2; ",
    "workload=tables": "search recorded tables by hardware=replay",
    "workload=onnx": "Missing mandatory value: workload.path",
    "measure.repeats=many": "measure.repeats=many: must be a number",
    "model.tuning_set_by=foo": "tuning_set_by=foo: choose model or random",
    "seed=foo": "seed=foo: must be a whole number, at least 0",
    "model=foo": "model=foo: choose of autotvm, ",
}
"""Overrides, and a piece of the message of a whole run of the program."""


def write_history(path: Path, hardware: Hardware) -> None:
    layer = LAYERS["dense"]
    task, space = tuned_function(layer).task, schedules(layer).space
    task = dataclasses.replace(task, hardware=hardware)
    with TrialLog(path) as log:
        log.task(task, space)
        key = space.key([0] * len(space.knobs))
        for _ in range(3):
            log.trial(Trial(task.key, key, Status.OK, run_times_s=(1e-3,)))


def call(folder: Path, overrides: str) -> subprocess.CompletedProcess:
    settings = ["workload=tiny", "tracking=disabled", f"hardware.num_cores={CORES}"]
    names = {part.partition("=")[0] for part in overrides.split()}
    names |= {"hardware.num_cores"} if "hardware" in names else set()
    settings = [s for s in settings if s.partition("=")[0] not in names]
    number = str(list(WRONG).index(overrides))
    arguments = [*settings, *overrides.split(), f"hydra.run.dir={folder / 'out' / number}"]
    if number != "0":
        return commands.run(arguments, folder, folder / f"said-{number}")
    # One as a user starts it, so that what is printed by importing is seen.
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """All wrong commands, as many at a time as there are cores."""
    folder = tmp_path_factory.mktemp("errors")
    write_history(folder / "other.jsonl", Hardware("abacus", '{"kind": "llvm"}', 1))
    lines = (folder / "other.jsonl").read_text().splitlines(keepends=True)
    (folder / "damaged.jsonl").write_text(lines[0] + lines[1][:20] + "\n" + lines[2])
    onnx.save(forms.dense([forms.value("x", ["N", 3, "H", "W"])]), folder / "open.onnx")
    onnx.save(forms.loop(), folder / "loop.onnx")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = {wrong: pool.submit(call, folder, wrong) for wrong in WRONG}
        return {wrong: future.result() for wrong, future in futures.items()}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_command_is_told_in_one_line(outcomes, wrong):
    done = outcomes[wrong]
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert WRONG[wrong] in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")


def test_help_waits_for_no_heavy_package():
    program = f"""
import runpy, sys
sys.argv = ["run.py", "--help"]
try:
    runpy.run_path({str(ROOT / "run.py")!r}, run_name="__main__")
except SystemExit as done:
    assert not done.code
heavy = {{"tvm", "tensorflow", "wandb", "gpflow", "xgboost"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "model" in done.stdout
