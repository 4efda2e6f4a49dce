"""Campaigns go on where they stopped, join what was measured, and record what nothing teaches."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import tvm
from commands import here
from forked_workers import fork_workers

from dgtl.core.history import SHIPPED, History
from dgtl.tvm.workload.tasks import extract, lower

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

SCRIPT = Path(__file__).parents[3] / "scripts" / "record_table.py"


def test_no_layer_of_the_tables_has_a_shape_that_the_shipped_history_teaches(hardware):
    taught = {source.task.shape_key for source in History.read(SHIPPED)}
    layers = runpy.run_path(str(SCRIPT))["LAYERS"]
    target = tvm.target.Target(hardware.target)
    tasks = [
        function.task
        for layer in layers
        for function in extract(lower(layer.model(0), target), hardware)
        if function.task is not None
    ]
    assert taught.isdisjoint(task.shape_key for task in tasks)
    assert len({task.shape_key for task in tasks}) == len(layers) >= 12
    assert {task.kind for task in tasks} == {"conv2d", "depthwise_conv2d", "dense"}


def test_the_command_records_goes_on_joins_and_packs(scratch, tmp_path, monkeypatch):
    # To start a process takes longer than the builds of these trials.
    monkeypatch.setattr("dgtl.tvm.measure.builders.available_cores", lambda: 1)
    fork_workers(monkeypatch)

    def record(out: str, *options: str) -> str:
        words = ["--out", str(tmp_path / out), "--layers", "dense_1x512", "--cores", "1"]
        done = here(tmp_path, *words, "--batch", "4", *options, program=SCRIPT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    record("a", "--rows", "8")
    (file,) = (tmp_path / "a").glob("*.jsonl")
    first = file.read_text()
    assert "0.0 s left" in record("a", "--rows", "12").splitlines()[-1]
    assert file.read_text().startswith(first)
    assert "12 trials joined" in record("b", "--rows", "4", "--join", str(file))
    assert "0 trials joined" in record("b", "--rows", "4", "--join", str(file))
    record("b", "--pack", str(tmp_path / "packed"))
    history = History.read(tmp_path / "packed")
    (table,) = history
    assert sorted({t.stage for t in table.trials}) == ["joined", "uniform"]
    assert len({t.config for t in table.trials}) == len(table.trials) == 16
    assert {t.provenance for t in table.trials} <= set(history.provenances)
