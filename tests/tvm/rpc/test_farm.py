"""Jobs on devices that die, hang, join late or are unlike the others: none is lost."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
import rpc_farms
from forked_workers import fork_workers
from rpc_farms import KEY, eventually, job, kernel, server, session_of

from dgtl.tvm.rpc import farm as farms
from dgtl.tvm.rpc.farm import Farm, RPCSettings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tvm


@pytest.fixture(autouse=True, scope="module")
def forked():
    """What speaks with the devices; these are processes as users start them."""
    with pytest.MonkeyPatch.context() as patch:
        fork_workers(patch)
        yield


@pytest.fixture(scope="module")
def port():
    with rpc_farms.tracker() as port:
        yield port


@pytest.fixture(scope="module")
def servers(port):
    with server(port) as first, server(port) as second:
        yield first, second


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> Path:
    """The folder of the kernels."""
    folder = tmp_path_factory.mktemp("kernels")
    kernel(folder / "fast.so")
    kernel(folder / "slow.so", 1500)
    kernel(folder / "endless.so", 60_000)
    kernel(folder / "deadly.so", dies=True)
    return folder


@pytest.fixture
def farm(port):
    said: list[str] = []
    opened = Farm(RPCSettings(port=port, key=KEY, queue_timeout_s=20), 1, say=said.append)
    opened.said = said
    yield opened
    opened.close()


def run(farm: Farm, *jobs) -> list:
    """Runs jobs; those that ended, in that order."""
    ended: list = []
    farm.run(iter(jobs), ended.append)
    assert set(map(id, ended)) == set(map(id, jobs))
    return ended


def test_devices_work_side_by_side_and_are_given_back(farm, servers, kernels):
    seen = []
    look = threading.Thread(
        target=lambda: seen.append(eventually(lambda: all(p.children() for p in servers)))
    )
    look.start()
    ended = run(farm, *[job(kernels / "slow.so") for _ in range(4)])
    look.join()
    assert seen == [True]
    assert all(one.answer["times_s"][0] >= 1.5 for one in ended)
    assert all(one.tries == 1 for one in ended)
    assert farm.devices == 2
    eventually(lambda: not any(process.children() for process in servers))


def test_what_goes_wrong_in_a_kernel_costs_it_one_try_and_no_device(
    farm, servers, kernels, tmp_path
):
    (tmp_path / "text.so").write_text("no library")
    bad, good = job(tmp_path / "text.so"), job(kernels / "fast.so")
    run(farm, bad, good)
    assert bad.answer["error"]
    assert bad.tries == 1
    assert good.answer["times_s"]


def test_a_kernel_that_kills_its_process_is_tried_twice_and_the_servers_go_on(
    farm, servers, kernels
):
    deadly, *others = jobs = [job(kernels / "deadly.so"), *[job(kernels / "fast.so")] * 1]
    run(farm, *jobs)
    assert deadly.answer is None
    assert (deadly.tries, deadly.error.split(" ", 1)[1]) == (2, "ended the session")
    assert all(one.answer["times_s"] for one in others)
    again = job(kernels / "fast.so")
    run(farm, again)
    assert again.answer["times_s"]
    assert all(process.is_running() for process in servers)


def test_a_kernel_that_does_not_end_is_ended_there(farm, servers, kernels):
    endless = job(kernels / "endless.so", limit_s=0.5)
    run(farm, endless)
    assert endless.answer is None
    assert endless.tries == 2
    assert 0.5 <= endless.last_s < farms.MARGIN_S


def test_the_job_of_a_server_that_is_killed_is_done_elsewhere(farm, port, servers, kernels):
    for _ in range(3):  # it may join when all jobs have begun elsewhere
        with server(port) as third:
            jobs = [job(kernels / "slow.so") for _ in range(3)]
            killer = threading.Thread(
                target=lambda: (session_of(third), time.sleep(0.5), third.kill())
            )
            killer.start()
            run(farm, *jobs)
            killer.join()
        assert all(one.answer["times_s"] for one in jobs)
        if sorted(one.tries for one in jobs) == [1, 1, 2]:
            break
    assert sorted(one.tries for one in jobs) == [1, 1, 2]
    assert any("tried once more" in text for text in farm.said)


def test_the_job_of_a_device_that_hangs_is_done_elsewhere(farm, servers, kernels, monkeypatch):
    monkeypatch.setattr(farms, "MARGIN_S", 2.0)
    stopped = servers[0]
    jobs = [job(kernels / "slow.so", limit_s=2.0) for _ in range(2)]

    def stop() -> None:
        session = session_of(stopped)
        time.sleep(0.5)
        for process in (stopped, session):
            process.send_signal(signal.SIGSTOP)

    stopper = threading.Thread(target=stop)
    stopper.start()
    try:
        run(farm, *jobs)
    finally:
        stopper.join()
        for process in (*stopped.children(), stopped):
            process.send_signal(signal.SIGCONT)
    assert all(one.answer["times_s"] for one in jobs)
    assert sorted(one.tries for one in jobs) == [1, 2]
    assert any("did not answer" in text for text in farm.said)
    eventually(lambda: not stopped.children())


def test_a_device_may_join_while_jobs_wait(kernels):
    with rpc_farms.tracker() as port:
        farm = Farm(RPCSettings(port=port, key=KEY, queue_timeout_s=60), 1, say=lambda _: None)
        waiting = job(kernels / "fast.so")
        thread = threading.Thread(target=run, args=(farm, waiting))
        thread.start()
        with server(port, wait=False):
            thread.join(60)
        farm.close()
    assert waiting.answer["times_s"]


@pytest.mark.parametrize(
    ("key", "said"), [("other", "knows no device other: start servers"), (KEY, "free or fit")]
)
def test_no_device_is_one_line(port, servers, kernels, key, said, monkeypatch):
    farm = Farm(RPCSettings(port=port, key=key, queue_timeout_s=2), 1, say=lambda _: None)
    farm.facts = {"name": "abacus", "mcpu": "beads", "machine": "wood", "threads": 1}
    with pytest.raises(ValueError, match=said):
        run(farm, job(kernels / "fast.so"))
    farm.close()


def test_no_tracker_is_one_line(kernels):
    farm = Farm(RPCSettings(port=9, key=KEY, queue_timeout_s=1), 1)
    with pytest.raises(ValueError, match=r"tracker at 127.0.0.1:9 does not answer .*start.py"):
        run(farm, job(kernels / "fast.so"))
    farm.close()
