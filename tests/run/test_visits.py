"""A network tuned for a device elsewhere: folders there and back, and then as if it were here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tvm
from commands import here
from forked_workers import fork_workers
from tvm_layers import CORES, write_history

from dgtl.core.history import History
from dgtl.results.summary import Summary
from dgtl.tvm.measure.visit_folder import is_done, read, visits

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

TUNING_SET, FINAL, LAYERS = 2, 1, 4


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    settings = (
        "workload=tiny",
        "tracking=disabled",
        "measure=folder",
        "measure.min_repeat_ms=1",
        f"budget.tuning_set={TUNING_SET}",
        f"budget.final={FINAL}",
        "budget.initial_set=64",
        "model=xgb_transfer",
        "model.trees.trees=20",
        "model.trees.nthread=1",
        "deploy.repeats=5",
        "cache=models",
        "hydra.run.dir=out",
        *overrides,
    )
    with pytest.MonkeyPatch.context() as patch:
        # To start a process takes longer than the builds of a visit.
        patch.setattr("dgtl.tvm.measure.builders.available_cores", lambda: 1)
        fork_workers(patch)
        return here(folder, *settings, report=False)


def carried(visit: Path, elsewhere: Path) -> None:
    """What the user does: takes the folder along, runs it, brings the results back."""
    there = elsewhere / visit.name
    shutil.copytree(visit, there)
    (there / "contents.json").unlink()  # the device has no use for it
    runner = [sys.executable, "-I", str(there / "device.pyz"), str(there)]
    done = subprocess.run(runner, capture_output=True, text=True, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    shutil.copy(there / "results.jsonl", visit)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A run with all its visits: its folder, and what each start printed."""
    folder = tmp_path_factory.mktemp("run")
    write_history(folder / "history.jsonl")
    printed = []
    for number in range(5):
        done = run(
            folder,
            f"hardware.num_cores={CORES}",
            "history.path=history.jsonl",
            "history.hardware=any",
        )
        printed.append(done.stdout)
        if done.returncode != 3:
            break
        if number == 0:
            continue  # started again before anything was carried
        visit = visits(folder / "out" / "visits")[-1]
        assert f"python {visit.name}/device.pyz {visit.name}" in done.stdout
        carried(visit, tmp_path_factory.mktemp("device"))
    assert done.returncode == 0, done.stderr
    return folder / "out", printed


def test_two_visits_tune_a_network_and_a_third_checks_it(tuned):
    out, printed = tuned
    assert len(printed) == 5
    kernels = []
    for visit in visits(out / "visits"):
        assert is_done(visit)
        manifest = json.loads((visit / "manifest.json").read_text())
        kernels.append([len(pack["kernels"]) for pack in manifest["packs"]])
    assert [len(counts) for counts in kernels] == [LAYERS] * 3
    assert max(kernels[0]) == TUNING_SET
    assert max(kernels[1]) == FINAL
    assert kernels[2] == [1] * LAYERS
    names = [network["id"] for network in manifest["networks"]]
    assert "untuned" in names
    assert len(names) == 2


def test_every_trial_is_kept_once_and_costs_its_seconds(tuned):
    out, _ = tuned
    trials = [trial for task in History.read(out / "trials.jsonl") for trial in task.trials]
    assert len(trials) == LAYERS * (TUNING_SET + FINAL)
    assert len({(trial.task, trial.config) for trial in trials}) == len(trials)
    assert all(trial.wall_s > 0 for trial in trials)
    assert all(len(trial.run_times_s) == 3 or trial.quick for trial in trials if trial.ok)
    assert {trial.stage for trial in trials} == {"tuning_set", "search_1"}


def test_the_network_that_was_timed_is_the_one_deployed(tuned):
    out, _ = tuned
    summary = Summary.read(out / "summary.json")
    results = [
        json.loads(line)
        for visit in visits(out / "visits")
        for line in (visit / "results.jsonl").read_text().splitlines()
    ]
    timed = {record["id"]: record for record in results if record["type"] == "network"}
    tuned_name = next(name for name in timed if name != "untuned")
    assert summary.latency_ms == pytest.approx(1e3 * np.median(timed[tuned_name]["times_s"]))
    assert summary.untuned_latency_ms == pytest.approx(1e3 * np.median(timed["untuned"]["times_s"]))
    assert max(record["relative_error"] for record in timed.values()) < 1e-3
    checks = [record for record in results if record["type"] == "check"]
    assert [record["status"] for record in checks] == ["ok"] * LAYERS
    vm = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(out / "model.so")), tvm.cpu())
    data = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)
    carried_out = np.load(next((out / "visits" / "3" / "networks").glob("tuned-*.npz")))
    output = vm["main"](tvm.runtime.tensor(data)).numpy()
    np.testing.assert_allclose(output, carried_out["output_0"], rtol=1e-3, atol=1e-4)


def test_a_visit_that_is_not_done_is_waited_for(tuned):
    """Started again before the folder was carried anywhere, the run points to it once more."""
    out, printed = tuned
    ready = f"{out.name}/visits/1 is ready"
    assert ready in printed[0].replace("\n", "")
    assert ready in printed[1].replace("\n", "")
    assert "kernels built" not in printed[1]


def test_results_that_are_damaged_or_of_another_visit_are_refused(tuned, hardware, tmp_path):
    out, _ = tuned
    visit = tmp_path / "1"
    shutil.copytree(out / "visits" / "1", visit)
    assert len(read(visit, hardware).trials) == LAYERS * TUNING_SET
    results = visit / "results.jsonl"
    whole = results.read_text()
    for text, message in (
        (whole + '{"type": "done", "visit": "00000000"}\n', "holds results of another visit"),
        (whole + "torn", "is damaged"),
    ):
        results.write_text(text)
        with pytest.raises(ValueError, match=message):
            read(visit, hardware)
    results.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert not is_done(visit)


def test_cuda_kernels_are_compiled_before_the_visit(tmp_path):
    pytest.importorskip("cuda.bindings", reason="NVRTC comes with dgtl[cuda]")
    done = run(tmp_path, "hardware=cuda", "hardware.arch=sm_90", "workload.tasks=[dense]")
    assert done.returncode == 3, done.stderr
    assert "taken to be of an h100" in done.stdout
    visit = tmp_path / "out" / "visits" / "1"
    manifest = json.loads((visit / "manifest.json").read_text())
    assert (manifest["device"], manifest["arch"]) == ("cuda", "sm_90")
    kernels = [kernel for pack in manifest["packs"] for kernel in pack["kernels"]]
    assert len(kernels) == TUNING_SET
    assert all(len(kernel["cubins"]) == 1 for kernel in kernels)
