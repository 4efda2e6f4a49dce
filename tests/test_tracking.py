"""W&B runs are complete offline, and W&B never costs a run anything but a warning line."""

import json
import logging
import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import toys

from dgtl.summary import summarise
from dgtl.tracking import Tracker

TASK = toys.dense()
SPACE = toys.space_of(TASK)
RESULT = toys.tuned(TASK, SPACE, 12, seed=0, n_set=8)
SUMMARY = summarise(
    [RESULT],
    workload="toy",
    model="dgp",
    hardware=toys.HARDWARE,
    seed=0,
    pretrain_s=1.5,
    sources=[],
    untuned_latency_ms=30.0,
    latency_ms=10.0,
)
BLOCK_BYTES = 32_768


def records(path: Path):
    """Records of a ``.wandb`` file: LevelDB's log format after a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2 as pb

    data, at, parts = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if BLOCK_BYTES - at % BLOCK_BYTES < 7:  # Too little for a header: padding.
            at += BLOCK_BYTES - at % BLOCK_BYTES
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # A whole record, or the last part of one.
            record = pb.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def values(items) -> dict:
    return {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}


def only_run(folder: Path) -> list:
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return list(records(path))


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
    tracked = found["tasks"][task["name"]] if "tasks" in found else found[f"tasks.{task['name']}"]
    assert tracked == task


def test_offline_run_holds_every_trial(offline_run):
    rows = [values(r.history.item) for r in offline_run if r.HasField("history")]
    assert [row["trial"] for row in rows] == list(range(1, 13))
    assert [row["status"] for row in rows] == [t.status.value for t in RESULT.trials]
    assert {row["task"] for row in rows} == {TASK.name}
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
    assert {m.step_metric for m in metrics if m.glob_name == "*"} == {"trial"}
    assert metrics
    assert all(m.summary.none for m in metrics)


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
        from dgtl.tracking import Tracker
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
        from dgtl.tracking import Tracker
        with Tracker("disabled", Path({str(tmp_path)!r}), config={{}}):
            pass
        assert "wandb" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["on", "", "Offline"])
def test_other_mode_is_refused(tmp_path, mode):
    with pytest.raises(ValueError, match="must be one of online, offline, disabled"):
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
