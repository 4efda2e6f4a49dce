"""The local history: nothing is lost, nothing twice, whatever else lies in the folder."""

import concurrent.futures
import dataclasses

import pytest
import toys

from dgtl.core import local_history
from dgtl.core.history import History, HistoryError
from dgtl.core.local_history import LocalHistory
from dgtl.core.records import KNOWN

TASKS = [toys.dense(), toys.conv2d()]
TUNED = [toys.tuned(task, toys.space_of(task), 12, seed) for seed, task in enumerate(TASKS)]


def contents(local):
    return {s.task.key: {t.config: t.latency_s for t in s.trials} for s in local.sources}


def test_what_is_added_is_read_again(tmp_path):
    local_history.add(tmp_path, History.of(TUNED))
    assert contents(LocalHistory.read(tmp_path)) == {
        s.task.key: {t.config: pytest.approx(t.latency_s, rel=1e-4) for t in s.trials}
        for s in TUNED
    }


def test_the_same_twice_is_one_file(tmp_path):
    for _ in range(2):
        local_history.add(tmp_path, History.of(TUNED))
    assert len(local_history.files(tmp_path)) == 1


def add_one(folder, seed):
    local_history.add(folder, History.of([toys.tuned(TASKS[0], toys.space_of(TASKS[0]), 9, seed)]))


@pytest.mark.slow
def test_processes_that_add_at_once_lose_nothing(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, [tmp_path] * 16, range(16)))
    wanted = {
        t.config
        for seed in range(16)
        for t in toys.tuned(TASKS[0], toys.space_of(TASKS[0]), 9, seed).trials
    }
    local = LocalHistory.read(tmp_path)
    assert set(contents(local)[TASKS[0].key]) == wanted
    assert not list(tmp_path.glob("*.partial"))


def test_trials_known_before_a_run_are_not_added_by_it(tmp_path):
    known = dataclasses.replace(
        TUNED[0], trials=tuple(t.replace(stage=KNOWN) for t in TUNED[0].trials)
    )
    assert local_history.add(tmp_path, History.of([known])) is None
    assert local_history.files(tmp_path) == []


def test_a_file_that_cannot_be_used_is_named_and_left_out(tmp_path):
    local_history.add(tmp_path, History.of(TUNED))
    (tmp_path / "damaged.jsonl.xz").write_bytes(b"no archive")
    local = LocalHistory.read(tmp_path)
    assert len(local.sources) == len(TUNED)
    (remark,) = local.remarks
    assert "damaged.jsonl.xz" in remark
    assert "left out" in remark


def test_of_two_design_spaces_the_newer_counts(tmp_path):
    older = TUNED[0]
    newer = toys.tuned(older.task, toys.space_of(older.task, located=True), 5, 3)
    for source in (older, newer):
        local_history.add(tmp_path, History.of([source]))
    (found,) = LocalHistory.read(tmp_path).sources
    assert found.space.to_json() == newer.space.to_json()
    assert {t.config for t in found.trials} == {t.config for t in newer.trials}


def test_a_configuration_measured_again_counts_as_measured_last(tmp_path):
    first = TUNED[0]
    again = dataclasses.replace(
        first,
        trials=tuple(
            t.replace(run_times_s=(1.0,), timestamp=2.0) if t.ok else t for t in first.trials
        ),
    )
    for source in (first, again):
        local_history.add(tmp_path, History.of([source]))
    (found,) = LocalHistory.read(tmp_path).sources
    assert len(found.trials) == len(first.trials)
    assert {t.latency_s for t in found.trials if t.ok} == {1.0}


def test_another_kind_of_target_teaches_nothing(tmp_path):
    local_history.add(tmp_path, History.of(TUNED))
    local = LocalHistory.read(tmp_path)
    gpu = dataclasses.replace(toys.HARDWARE, target='{"kind": "cuda"}')
    assert local.of_kind(gpu) == []
    assert len(local.of_kind(toys.HARDWARE)) == len(TUNED)


def test_a_folder_that_is_absent_is_empty(tmp_path):
    assert LocalHistory.read(tmp_path / "none") == LocalHistory()


def test_the_folder_is_what_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("DGTL_HISTORY", str(tmp_path))
    assert local_history.default_folder() == tmp_path
    monkeypatch.delenv("DGTL_HISTORY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert local_history.default_folder() == tmp_path / "data" / "dgtl" / "history"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match="DGTL_HISTORY=FOLDER chooses another"):
        local_history.make(tmp_path / "file" / "history")
