"""A history survives kills: at most its torn last line is lost, and anything worse is said."""

import dataclasses
import json
import lzma
import warnings

import numpy as np
import pytest
import toys

from dgtl.core.history import History, HistoryError, SourceTask, TrialLog, pack
from dgtl.core.records import CHECK, Hardware, Status, best_trial
from dgtl.measure.protocol import MeasureOptions
from dgtl.measure.provenance import collect

TASK, OTHER = toys.dense(), toys.conv2d()
SPACES = {task.key: toys.space_of(task) for task in (TASK, OTHER)}


def write(path, *results: SourceTask) -> None:
    with TrialLog(path) as log:
        for result in results:
            log.task(result.task, result.space)
            for trial in result.trials:
                log.trial(trial)


def result_of(task, n: int = 6) -> SourceTask:
    return toys.tuned(task, SPACES[task.key], n, seed=0)


@pytest.fixture
def path(tmp_path):
    """A history of two tasks with six trials each: fourteen lines."""
    path = tmp_path / "history.jsonl"
    write(path, result_of(TASK), result_of(OTHER))
    return path


def test_what_is_written_is_read(path):
    sources = list(History.read(path))
    assert [source.task for source in sources] == [TASK, OTHER]
    assert [source.trials for source in sources] == [result_of(t).trials for t in (TASK, OTHER)]
    assert [source.space.knobs for source in sources] == [s.knobs for s in SPACES.values()]
    assert History.read(path).n_trials == 12


def test_a_log_that_is_opened_again_goes_on(path):
    write(path, toys.tuned(TASK, SPACES[TASK.key], 3, seed=1))
    assert len(History.read(path).trials(TASK.key)) == 9


def test_every_line_is_on_disk_at_once(tmp_path):
    with TrialLog(tmp_path / "h.jsonl") as log:
        for n, trial in enumerate(result_of(TASK).trials, start=1):
            log.trial(trial)
            assert History.read(tmp_path / "h.jsonl").n_trials == n


def test_folder_and_compressed_files_are_read_alike(path):
    folder = path.parent
    before = History.read(folder)
    pack(path, folder / "packed.jsonl.xz")
    path.unlink()
    after = History.read(folder)
    assert [s.task for s in after] == [s.task for s in before]
    for a, b in zip(after, before, strict=True):
        assert [t.config for t in a.trials] == [t.config for t in b.trials]
        np.testing.assert_allclose(a.gflops(), b.gflops(), rtol=1e-4)


def test_provenance_is_kept(tmp_path):
    source = collect(toys.HARDWARE, 0, {"tvm": "0"}, MeasureOptions())
    with TrialLog(tmp_path / "h.jsonl") as log:
        log.provenance(source)
    assert History.read(tmp_path / "h.jsonl").provenances == {source.id: source}


@pytest.mark.parametrize("n_lost", [1, 10, 40])
def test_torn_last_line_is_left_out_with_a_warning(path, n_lost):
    path.write_bytes(path.read_bytes()[: -1 - n_lost])
    with pytest.warns(UserWarning, match="last line is damaged"):
        assert History.read(path).n_trials == 11


def test_torn_last_line_is_set_aside_before_the_log_goes_on(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    tail = whole[:-20].split(b"\n")[-1]
    with pytest.warns(UserWarning, match=r"history\.jsonl\.damaged"), TrialLog(path) as log:
        log.trial(result_of(OTHER).trials[-1])
    assert path.read_bytes() == whole
    assert path.with_name("history.jsonl.damaged").read_bytes() == tail + b"\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert History.read(path.parent).n_trials == 12


def test_whole_last_line_without_its_newline_is_not_lost(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with TrialLog(path):
            pass
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "damage", [b"not json", b'{"no": "type"}', b"[1]", b"3", b'{"type":"trial","task":"x"}']
)
def test_damaged_line_in_the_middle_is_an_error_that_names_it(path, damage):
    lines = path.read_bytes().split(b"\n")
    lines[4] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(HistoryError, match=r"history\.jsonl, line 5 "):
        History.read(path)


def test_unknown_kind_of_record_is_an_error_that_names_it(path):
    path.write_text('{"type":"poem"}\n' + path.read_text())
    with pytest.raises(HistoryError, match=r"line 1 .*poem"):
        History.read(path)


def test_record_of_a_newer_program_is_an_error_that_says_so(path):
    path.write_text('{"type":"trial","schema":99}\n' + path.read_text())
    with pytest.raises(HistoryError, match="update dgtl"):
        History.read(path)


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(HistoryError, match="no such file"):
        History.read(tmp_path / "nowhere.jsonl")


def test_damaged_archive_is_an_error(path):
    archive = path.parent / "a.jsonl.xz"
    archive.write_bytes(lzma.compress(path.read_bytes())[:-30])
    with pytest.raises(HistoryError, match="cannot be read"):
        History.read(archive)


def test_trials_without_their_task_are_an_error():
    history = History()
    history.add(result_of(TASK).trials[0].to_json())
    with pytest.raises(HistoryError, match="without the task"):
        list(history)


def test_foreign_hardware_is_an_error_that_says_what_to_do(path):
    with pytest.raises(HistoryError, match=r"toy-cpu; this is abacus.*collect_history"):
        History.read(path).sources(Hardware("abacus", '{"kind": "llvm"}', 1))


def test_schedules_of_another_kind_of_target_are_of_no_use_at_all(path):
    with pytest.raises(HistoryError, match="is of llvm targets and this one is cuda"):
        History.read(path).sources(Hardware("gpu", '{"kind": "cuda"}', 1), any_hardware=True)


def test_a_wrong_result_is_no_trial_to_learn_from(path):
    """The verdict of a check is put into the trial that it is of, which keeps what it cost."""
    best = best_trial(result_of(TASK).trials)
    with TrialLog(path) as log:
        log.trial(best.replace(status=Status.WRONG_RESULT, stage=CHECK, wall_s=0.0, error="wrong"))
    history = History.read(path)
    assert history.n_trials == 12
    found = next(t for t in history.trials(TASK.key) if t.config == best.config)
    assert found == best.replace(status=Status.WRONG_RESULT, error="wrong")
    assert best.config not in [t.config for t in next(iter(history)).ok_trials]


def test_a_task_with_two_spaces_is_refused(path):
    other = toys.tuned(OTHER, SPACES[OTHER.key], 1, seed=0).space
    with TrialLog(path) as log:
        log.task(TASK, other)
    with pytest.raises(HistoryError, match="two design spaces"):
        History.read(path)


def test_a_folder_without_a_history_is_an_error(tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(HistoryError, match=r"holds no \.jsonl"):
        History.read(tmp_path / "runs")


def test_empty_history_has_no_sources_and_is_no_error():
    assert History().sources(toys.HARDWARE) == []


def test_number_of_cores_does_not_make_hardware_foreign(path):
    one_core = dataclasses.replace(toys.HARDWARE, num_cores=1)
    assert len(History.read(path).sources(one_core)) == 2


def test_shapes_of_the_target_workload_are_no_sources(path):
    sources = History.read(path).sources(toys.HARDWARE, [TASK.shape_key])
    assert [source.task for source in sources] == [OTHER]


def test_failed_trials_are_kept_but_not_shown_to_models(path):
    source = next(iter(History.read(path)))
    failed = [trial for trial in source.trials if not trial.ok]
    assert failed
    assert len(source.configs()) == len(source.gflops()) == len(source.trials) - len(failed)
    assert np.isfinite(source.gflops()).all()


def test_source_task_whose_trials_all_failed_has_empty_arrays():
    space = SPACES[TASK.key]
    source = SourceTask(TASK, space, (toys.trial(TASK, space.key(space.at([0])[0]), None),))
    assert source.configs().shape == (0, len(space.knobs))
    assert source.gflops().shape == (0,)


def test_packing_rounds_times_but_keeps_what_identifies(path):
    target = path.parent / "out" / "p.jsonl.xz"
    pack(path, target)
    before = [json.loads(line) for line in path.read_text().splitlines()]
    after = [json.loads(line) for line in lzma.decompress(target.read_bytes()).splitlines()]
    for a, b in zip(after, before, strict=True):
        assert a.keys() == b.keys()
        if a["type"] == "task":
            assert a == b
