"""A recording is balanced wherever it stops, and goes on there."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import toys

from dgtl.core.history import SourceTask

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "scripts" / "record_table.py"
_spec = importlib.util.spec_from_file_location("record_table", SCRIPT)
record_table = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(record_table)

TASK = toys.conv2d()
SPACE = toys.space_of(TASK)
EMPTY = SourceTask(TASK, SPACE, ())


def recorded(table: SourceTask, rows: int, batch: int, seed: int = 0) -> SourceTask:
    """The table with what the script would measure, on the made-up machine."""
    while record_table.missing(table, rows):
        stage, keys = record_table.next_batch(table, rows, batch, seed)
        new = (
            toys.trial(table.task, key, toys.latency_s(table.task, table.space, key), stage=stage)
            for key in keys
        )
        table = dataclasses.replace(table, trials=(*table.trials, *new))
    return table


def keys_of(table: SourceTask, stage: str | None = None) -> list[str]:
    return [t.config for t in table.trials if stage is None or t.stage == stage]


def test_three_of_four_are_uniform_and_the_fourth_is_searched_and_better():
    table = recorded(EMPTY, 128, 8)
    assert len(set(keys_of(table))) == len(table.trials) == 128
    assert len(keys_of(table, "searched")) == 32
    assert len(keys_of(table, "uniform")) == 96
    median = {
        stage: np.median([t.latency_s for t in table.ok_trials if t.stage == stage])
        for stage in ("uniform", "searched")
    }
    assert median["searched"] < median["uniform"]


def test_a_recording_goes_on_where_it_stopped():
    whole = recorded(EMPTY, 64, 8)
    cut = dataclasses.replace(whole, trials=whole.trials[:40])
    assert keys_of(recorded(cut, 64, 8)) == keys_of(whole)
    assert keys_of(recorded(EMPTY, 64, 8, seed=1)) != keys_of(whole)


def test_a_small_space_is_recorded_as_a_whole():
    task = toys.dense(2, 4, 4)
    space = toys.space_of(task)
    table = recorded(SourceTask(task, space, ()), space.size, 64)
    assert sorted(keys_of(table, "uniform")) == sorted(space.keys(space.at(range(space.size))))


def test_what_was_joined_comes_on_top_and_is_not_measured_again():
    rng = np.random.default_rng(0)
    joined = tuple(
        toys.trial(TASK, k, 1.0, stage="joined") for k in SPACE.keys(SPACE.sample(rng, 9))
    )
    table = recorded(dataclasses.replace(EMPTY, trials=joined), 32, 8)
    assert len(set(keys_of(table))) == len(table.trials) == 32 + 9
