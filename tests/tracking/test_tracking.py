"""W&B runs are complete offline, and W&B never costs a run anything but a warning line."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import toys
from offline_runs import only_run, values

from dgtl.core.history import TrialLog
from dgtl.results.run_folder import Origin, Run
from dgtl.tracking.offline import not_uploaded, rebuild
from dgtl.tracking.tracker import Tracker

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "resnet18_curves.png"

TASK = toys.dense()
SPACE = toys.space_of(TASK)
RESULT = toys.tuned(TASK, SPACE, 12, seed=0, n_set=8)
SUMMARY = toys.summary([RESULT], pretrain_s=1.5, untuned_latency_ms=30.0, latency_ms=10.0)


@pytest.fixture(scope="module")
def offline_run(tmp_path_factory):
    """The records of a run, and what it left on the streams (nothing, one hopes)."""
    folder = tmp_path_factory.mktemp("run")
    config = {"model": {"name": "dgp"}, "seed": 0}
    with Tracker("offline", folder, config=config, group="table1", job_type="dgp") as tracker:
        for trial in RESULT.trials:
            tracker.trial(TASK, trial)
        tracker.summary(SUMMARY)
    return only_run(folder)


def test_offline_run_holds_the_numbers_of_the_summary(offline_run):
    found = {}
    for record in offline_run:
        found |= values(record.summary.update)
    expected = SUMMARY.to_json()
    for name in expected.keys() - {"tasks"}:
        assert found[name] == expected[name], name
    (task,) = expected["tasks"]
    title = task["title"]
    tracked = found["tasks"][title] if "tasks" in found else found[f"tasks.{title}"]
    assert tracked == task


def test_offline_run_holds_every_trial(offline_run):
    rows = [values(r.history.item) for r in offline_run if r.HasField("history")]
    assert [row["trial"] for row in rows] == list(range(1, 13))
    assert [row["status"] for row in rows] == [t.status.value for t in RESULT.trials]
    assert {row["task"] for row in rows} == {TASK.title}
    best = 0.0
    for row, trial in zip(rows, RESULT.trials, strict=True):
        assert row["build_s"] == trial.build_s
        assert ("gflops" in row) == trial.ok
        best = max(best, row.get("gflops", 0.0))
        assert row.get("best_gflops", 0.0) == best
    assert best == pytest.approx(SUMMARY.tasks[0].best_gflops)
    assert rows[-1]["search_s"] == pytest.approx(SUMMARY.search_s)


def test_offline_run_holds_config_group_and_job_type(offline_run):
    (run,) = [r.run for r in offline_run if r.HasField("run")]
    config = values(run.config.update)
    assert config["model"] == {"name": "dgp"}
    assert config["seed"] == 0
    assert (run.project, run.run_group, run.job_type) == ("dgtl", "table1", "dgp")


def test_steps_are_counted_by_trial_and_the_last_trial_is_no_summary(offline_run):
    metrics = [r.metric for r in offline_run if r.HasField("metric")]
    axis = {m.glob_name or m.name: m.step_metric for m in metrics}
    rows = [values(r.history.item) for r in offline_run if r.HasField("history")]
    reported = {name for row in rows for name in row if not name.startswith("_")}
    assert {axis[name] for name in reported - {"trial"}} == {"trial"}
    assert all(m.summary.none for m in metrics)


def finished(folder: Path, *, replayed: bool) -> Run:
    """A run of two tasks, with predictions that are twice too high."""
    results = []
    for rows in (4, 8):
        task = dataclasses.replace(toys.dense(rows), name=f"dense_{rows}")
        result = toys.tuned(task, toys.space_of(task), rows, seed=0)
        trials = [
            t.replace(predicted_gflops=2 * task.gflops(t.latency_s) if t.ok else None)
            for t in result.trials
        ]
        results.append(dataclasses.replace(result, trials=tuple(trials)))
    folder.mkdir()
    config = {"workload": {"name": "toy"}, "seed": 7}
    Origin.now("python run.py", "dgp", config).begin(folder, fresh=False)
    with TrialLog(folder / "trials.jsonl") as log:
        for result in results:
            log.task(result.task, result.space)
            for trial in result.trials:
                log.trial(trial)
    if replayed:
        best = {r.task.key: 2 * float(r.gflops().max()) for r in results}
        (folder / "replay.json").write_text(json.dumps({"best_gflops": best}))
    Run.read(folder).summary.write(folder / "summary.json")
    (folder / "curves_trials.png").write_bytes(PICTURE.read_bytes())
    return Run.read(folder)


@pytest.fixture(scope="module", params=[False, True], ids=["live", "replayed"])
def rebuilt_run(request, tmp_path_factory):
    """A run that was not tracked, and the records that `rebuild` makes of its trials."""
    folder = tmp_path_factory.mktemp("rebuilt") / "run"
    run = finished(folder, replayed=request.param)
    path = rebuild(run)
    assert path == not_uploaded(folder)
    return run, only_run(folder)


def test_rebuilt_run_holds_the_numbers_of_summary_json(rebuilt_run):
    run, found = rebuilt_run
    summary = {}
    for record in found:
        summary |= values(record.summary.update)
    expected = json.loads((run.folder / "summary.json").read_text())
    for name in expected.keys() - {"tasks"}:
        assert summary[name] == expected[name], name
    tasks = summary.get("tasks") or {
        name.removeprefix("tasks."): task for name, task in summary.items() if "tasks." in name
    }
    assert list(tasks.values()) == expected["tasks"]
    assert summary["rmse_log2"] == pytest.approx(1.0)


def test_rebuilt_run_holds_curves_of_all_tasks_row_by_row(rebuilt_run):
    run, found = rebuilt_run
    rows = [values(r.history.item) for r in found if r.HasField("history")]
    curves = [row for row in rows if "task_trial" in row]
    assert [row["task_trial"] for row in curves] == list(range(1, 9))
    for result in run.results:
        best = [row[f"best/{result.task.title}"] for row in curves[: len(result.trials)]]
        assert best == sorted(best)
        assert best[-1] == pytest.approx(result.gflops().max())
    assert curves[-1]["mean_share_of_best"] == pytest.approx(0.5 if run.replayed else 1.0)
    assert curves[-1]["mean_search_s"] == pytest.approx(run.summary.search_s / 2)
    one_by_one = [row for row in rows if "status" in row]
    assert len(one_by_one) == (0 if run.replayed else run.summary.trials)
    assert [row.get("trial") for row in curves][-1] == (12 if run.replayed else None)


def test_rebuilt_run_holds_table_picture_group_and_job_type(rebuilt_run):
    _, found = rebuilt_run
    logged = {}
    for record in found:
        # Of the summary, not only of the series: that is where W&B looks for tables.
        logged |= values(record.summary.update)
    assert logged["task_table.nrows"] == 2
    assert logged["curves_trials.format"] == "png"
    (run,) = [r.run for r in found if r.HasField("run")]
    assert (run.run_group, run.job_type, run.display_name) == ("toy", "dgp", "dgp toy seed 7")
    assert values(run.config.update)["seed"] == 7


def test_only_the_last_run_of_a_finished_folder_is_uploaded_and_once(tmp_path):
    assert not_uploaded(tmp_path) is None
    for name in ("offline-run-20260101_000000-b", "offline-run-20260102_000000-a"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    assert not_uploaded(tmp_path) is None
    (tmp_path / "summary.json").touch()
    last = not_uploaded(tmp_path)
    assert last is not None
    assert last.name.endswith("-a")
    (last / "run-a.wandb.synced").touch()
    assert not_uploaded(tmp_path) is None


def test_upload_without_a_login_is_one_line(tmp_path):
    finished(tmp_path / "run", replayed=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    script = str(ROOT / "scripts" / "sync_tracking.py")
    done = subprocess.run(
        [sys.executable, script, "--rebuild", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.startswith("rebuilt ")
    assert done.stderr.splitlines() == [
        "sync_tracking: not logged in to W&B: wandb login, then the same command again"
    ]


@pytest.mark.parametrize(("failing", "code"), [(False, 0), (True, 1)])
def test_run_ends_with_its_exit_code(tmp_path, failing, code):
    def use() -> None:
        with Tracker("offline", tmp_path, config={}):
            if failing:
                raise RuntimeError("stop")

    if failing:
        with pytest.raises(RuntimeError, match="stop"):
            use()
    else:
        use()
    exits = [r.exit.exit_code for r in only_run(tmp_path) if r.HasField("exit")]
    assert exits == [code]


def test_process_is_quiet_and_leaves_no_service_behind(tmp_path):
    code = f"""
        import os, psutil
        from pathlib import Path
        from dgtl.tracking.tracker import Tracker
        tracker = Tracker("offline", Path({str(tmp_path)!r}), config={{}})
        service = psutil.Process().children(recursive=True)
        for process in [psutil.Process(), *service]:
            peers = [c.raddr.ip for c in process.net_connections("inet") if c.raddr]
            assert all(peer.startswith(("127.", "::1")) for peer in peers), peers
        tracker.finish()
        tracker.finish()
        assert not [p for p in service if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""


def test_disabled_writes_nothing_and_never_imports_wandb(tmp_path):
    code = f"""
        import sys
        from pathlib import Path
        from dgtl.tracking.tracker import Tracker
        with Tracker("disabled", Path({str(tmp_path)!r}), config={{}}):
            pass
        assert "wandb" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["on", "", "Offline"])
def test_other_mode_is_refused(tmp_path, mode):
    with pytest.raises(ValueError, match="choose of online, offline, disabled"):
        Tracker(mode, tmp_path, config={})


def test_run_goes_on_when_wandb_cannot_start(tmp_path, caplog):
    (tmp_path / "run").write_text("a file where the folder should be")
    folder = tmp_path / "run"
    with caplog.at_level(logging.WARNING), Tracker("offline", folder, config={}) as tracker:
        for trial in RESULT.trials:
            tracker.trial(TASK, trial)
        tracker.summary(SUMMARY)
    assert len(caplog.records) == 1
    assert "goes on untracked" in caplog.text


def test_run_goes_on_when_wandb_fails_on_the_way(tmp_path, caplog, monkeypatch):
    with caplog.at_level(logging.WARNING), Tracker("offline", tmp_path, config={}) as tracker:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(tracker._run, "log", full)
        for trial in RESULT.trials:
            tracker.trial(TASK, trial)
        tracker.summary(SUMMARY)
    assert [r.getMessage().count("\n") for r in caplog.records] == [0]
    assert "No space left on device" in caplog.text


def test_online_without_an_account_is_a_warning(tmp_path, caplog, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with caplog.at_level(logging.WARNING), Tracker("online", tmp_path / "run", config={}):
        pass
    assert "goes on untracked" in caplog.text
