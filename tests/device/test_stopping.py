"""However a run ends, nothing is lost and the next goes on."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile

import psutil
import pytest
from visit_folders import (
    OPTIONS,
    by_id,
    make,
    pack,
    results,
    run,
    slow_folder,
    start,
    wait_for_results,
    worker_with,
)

from dgtl.device.errors import Stopped
from dgtl.device.folder import temporary_folder


def test_a_killed_run_goes_on_and_loses_only_the_pack_in_hand(tmp_path, deeds, scratch):
    folder = slow_folder(tmp_path / "visit", deeds)
    process = start(folder)
    wait_for_results(folder, process)
    workers = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    assert len(workers) == 1
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    before = list(by_id(folder))[:-1]
    assert 0 < len(before) < 12
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)[:-1]
    with (folder / "results.jsonl").open("w") as file:
        file.writelines(lines)
        file.write('{"type": "kernel", "visit": "0123abcd", "id": "k5a", "sta')
    run(folder)
    assert list(by_id(folder))[: len(before)] == before
    assert len(by_id(folder)) == 12
    assert [r["type"] for r in results(folder)].count("device") == 2
    assert not list(scratch.iterdir())


def test_a_hanging_kernel_does_not_outlive_a_killed_run(tmp_path, deeds):
    options = {**OPTIONS, "run_timeout_s": 60.0}
    folder = make(tmp_path / "visit", pack({"a": deeds("hang")}), options=options)
    process = start(folder)
    worker = worker_with("/a.so", process)
    process.kill()
    process.communicate()
    assert not psutil.wait_procs([worker], timeout=10)[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_quietly(tmp_path, deeds, scratch, number, code):
    folder = slow_folder(tmp_path / "visit", deeds)
    process = start(folder)
    wait_for_results(folder, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err == ""
    count = len(by_id(folder))
    assert 0 < count < 12
    last = out.splitlines()[-1]
    assert last == f"stopped: {count} of 12 done; the same command goes on"
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("moment", ["made", "removed"])
def test_a_signal_waits_while_a_temporary_folder_is_made_or_removed(monkeypatch, scratch, moment):
    module, name = {"made": (tempfile, "mkdtemp"), "removed": (shutil, "rmtree")}[moment]
    does = getattr(module, name)

    def signalled(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return does(*arguments, **options)

    def stop(signum, frame):
        raise Stopped(signum)

    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(module, name, signalled)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stopped), temporary_folder() as where:
            (where / "a.so").touch()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not list(scratch.iterdir())


def test_seconds_stop_between_packs(tmp_path, deeds):
    folder = slow_folder(tmp_path / "visit", deeds)
    last = run(folder, "--seconds", "0.3", code=3)[-1]
    count = len(by_id(folder))
    assert last == f"time is over: {count} of 12 done; the same command goes on"
    assert count < 12
    assert count % 2 == 0
    assert results(folder)[-1]["type"] != "done"


def test_two_at_once_are_refused(tmp_path, deeds):
    folder = slow_folder(tmp_path / "visit", deeds)
    process = start(folder)
    wait_for_results(folder, process)
    assert "another run" in run(folder, code=1)[0]
    process.terminate()
    process.communicate()
