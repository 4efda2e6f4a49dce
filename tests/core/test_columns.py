"""A history in columns gives back what was put in, and reads no more than it is asked for."""

from __future__ import annotations

import dataclasses

import pytest
import toys

from dgtl.core import columns
from dgtl.core.columns import ColumnHistory, pack, trial_table, write_columns
from dgtl.core.history import History, HistoryError, SourceTask, write_records


def source(columns_: int, n: int) -> SourceTask:
    task = toys.dense(columns=columns_)
    return toys.tuned(task, toys.space_of(task), n, seed=0)


SOURCES = [source(16, 40), source(32, 7), source(64, 30)]


def written(path):
    records = [
        {**s.task.to_json(), "space": s.space.to_json(), "trials": len(s.trials)} for s in SOURCES
    ]
    write_columns(records, (trial_table(s.trials) for s in SOURCES), path)
    return path


@pytest.mark.parametrize("group_rows", [8, 25, 1000])
def test_all_comes_back(tmp_path, monkeypatch, group_rows):
    monkeypatch.setattr(columns, "GROUP_ROWS", group_rows)
    history = ColumnHistory(written(tmp_path / "history.parquet"))
    assert history.n_trials == 77
    found = history.read([(stored, stored.n_trials) for stored in history.tasks], seed=0)
    for before, after in zip(SOURCES, found, strict=True):
        assert (after.task, after.trials) == (before.task, before.trials)
        assert after.space.to_json() == before.space.to_json()


def test_a_part_is_a_part_and_the_same_for_the_same_seed(tmp_path):
    history = ColumnHistory(written(tmp_path / "history.parquet"))
    wanted = [(history.tasks[0], 10), (history.tasks[2], 3)]
    found, same, other = (
        [source.trials for source in history.read(wanted, seed)] for seed in (1, 1, 2)
    )
    assert [len(trials) for trials in found] == [10, 3]
    assert set(found[0]) < set(SOURCES[0].trials)
    assert found == same
    assert found != other


def test_only_the_row_groups_of_what_is_wanted_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "GROUP_ROWS", 8)
    history = ColumnHistory(written(tmp_path / "history.parquet"))
    read = []
    file = history._file

    class Watched:
        def read_row_group(self, group):
            read.append(group)
            return file.read_row_group(group)

    history._file = Watched()
    history.read([(history.tasks[1], 7)], seed=0)
    assert len(read) == 1


def test_lines_become_columns(tmp_path):
    path = tmp_path / "history.jsonl"
    write_records(History.of(SOURCES).records(), path)
    out = tmp_path / "history.parquet"
    assert pack([path], out) == 77
    history = ColumnHistory(out)
    found = history.read([(stored, stored.n_trials) for stored in history.tasks], seed=0)
    assert [s.trials for s in found] == [s.trials for s in SOURCES]
    with pytest.raises(ValueError, match=r"name it \.parquet"):
        pack([path], tmp_path / "history.xz")


def test_trials_of_another_task_are_refused(tmp_path):
    path = tmp_path / "history.parquet"
    wrong = dataclasses.replace(SOURCES[0].trials[0], task="other")
    record = {**SOURCES[0].task.to_json(), "space": SOURCES[0].space.to_json(), "trials": 1}
    write_columns([record], [trial_table([wrong])], path)
    history = ColumnHistory(path)
    with pytest.raises(HistoryError, match="not those of the task"):
        history.read([(history.tasks[0], 1)], seed=0)


@pytest.mark.parametrize("cut", [0, 4, 100, -1, -200])
def test_a_damaged_file_is_refused_by_its_name(tmp_path, cut):
    path = written(tmp_path / "history.parquet")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(HistoryError, match=r"history\.parquet cannot be read"):
        ColumnHistory(path)


def test_a_missing_file_is_a_history_error(tmp_path):
    with pytest.raises(HistoryError, match="cannot be read"):
        ColumnHistory(tmp_path / "none.parquet")
