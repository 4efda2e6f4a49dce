"""Jobs on the devices behind a tracker: as many at once as there are devices.

Devices may join and leave at any time. One that dies or hangs costs the job that it had a try: the
job is tried once elsewhere. A device is held for some jobs, at most as long as a session may last,
then given back to the tracker, so that others have their turn.

Every device times the same two kernels when it is first seen. One that is slower or faster than the
first by more than a factor, or another processor, is left alone: its trials would be no trials of
the same hardware.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
import os
import time
from typing import TYPE_CHECKING, Any

from dgtl.device.errors import last_line
from dgtl.tvm.measure import pools
from dgtl.tvm.rpc import session
from dgtl.tvm.rpc.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from tvm.support.popen_pool import PopenPoolExecutor

    from dgtl.tvm.rpc.tracker import Offer

TRIES = 2
"""Devices that a job may cost."""
MARGIN_S = 10.0
"""So much longer than its kernels may take a job has on a device: files travel, libraries load."""
REST_S = 60.0
"""After which a device that was left alone may show that it is like the others now."""
FAILED_REST_S = 5.0
"""The same of one that could not be used at all: its server may just be starting again."""
START_S = 60.0
"""A process that has not started, opened a session or closed one after this never will."""
MOST_DEVICES = 256
POLL_S, COUNT_S = 0.02, 2.0
"""How often it is looked what is done, and how many devices there are."""


@dataclasses.dataclass(frozen=True)
class RPCSettings:
    """Where the devices are, and how long they are waited for and held.

    Args:
        host, port: of the tracker.
        key: of the devices.
        session_timeout_s: after which a server ends a session, whatever it does.
        queue_timeout_s: longest wait for a device where none runs.
        calibration_factor: most that the calibration of two devices may differ by.
    """

    host: str = "127.0.0.1"
    port: int = 9190
    key: str = "dgtl"
    session_timeout_s: float = 120.0
    queue_timeout_s: float = 300.0
    calibration_factor: float = 1.25

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            wanted = str if name in ("host", "key") else int if name == "port" else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted) or value == "":
                raise ValueError(f"measure.rpc.{name}={value}: cannot be used")
        if not 0 < self.port < 65536:
            raise ValueError(f"measure.rpc.port={self.port}: from 1 to 65535")
        if self.queue_timeout_s <= 0:
            raise ValueError(
                f"measure.rpc.queue_timeout_s={self.queue_timeout_s}: must be positive"
            )
        if self.session_timeout_s < 2 * MARGIN_S:
            raise ValueError(
                f"measure.rpc.session_timeout_s={self.session_timeout_s}: at least {2 * MARGIN_S:g}"
            )
        if self.calibration_factor <= 1:
            raise ValueError(
                f"measure.rpc.calibration_factor={self.calibration_factor}: must be above 1"
            )


@dataclasses.dataclass
class Job:
    """Something that a device does: one call of `dgtl.tvm.rpc.server.FUNCTIONS`.

    Args:
        function: its name.
        request: makes its arguments, when it is sent.
        files: to send before, by the name that they have there.
        wanted: files to bring back after, by their name there.
        limit_s: what it may take there [s].

    Attributes:
        answer: of the device; None: no device gave one, and ``error`` says why.
        run_s: what it took on all devices [s].
        last_s: what it took on the last one [s].
    """

    function: str
    request: Callable[[], dict[str, Any]]
    files: Mapping[str, str]
    limit_s: float
    wanted: Mapping[str, str] = dataclasses.field(default_factory=dict)
    answer: dict[str, Any] | None = None
    error: str = ""
    run_s: float = 0.0
    last_s: float = 0.0
    tries: int = 0


@dataclasses.dataclass(eq=False)
class _Process:
    """A process that will hold a device, since it was asked to start, or to close a session."""

    pool: PopenPoolExecutor
    warm: Future
    since: float


@dataclasses.dataclass(eq=False)
class _Device:
    """A device that is held, by a process of its own, and what it is doing."""

    offer: Offer
    pool: PopenPoolExecutor
    future: Future
    opening: bool
    due: float
    until: float
    job: Job | None = None
    since: float = 0.0


class Farm:
    """The devices of a key; `close` gives all of them back.

    Args:
        settings: where they are.
        num_threads: of their kernels; None: as many as the device has cores.
        kernels: of the calibration; none: there is no calibration.
        say: is told what a user should know.

    Attributes:
        facts: of the first device, which the others have to be like; None before.
    """

    def __init__(
        self,
        settings: RPCSettings,
        num_threads: int | None = None,
        kernels: Sequence[session.Kernel] = (),
        say: Callable[[str], None] = print,
    ):
        self.facts: dict[str, Any] | None = None
        self._settings, self._num_threads = settings, num_threads
        self._kernels, self._say = kernels, say
        self._tracker = Tracker(settings.host, settings.port, settings.key)
        self._first: tuple[str, dict[str, float]] | None = None
        self._known: set[str] = set()
        self._resting: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._idle: list[_Process] = []
        self._held: list[_Device] = []
        self._count, self._counted = 0, -math.inf

    @property
    def here(self) -> bool:
        """Whether the devices are this machine."""
        return self._tracker.here

    @property
    def devices(self) -> int:
        """How many devices have measured, and may again."""
        return len(self._known)

    def close(self) -> None:
        """Gives the devices back and ends all processes."""
        self._tracker.withdraw()
        pools.end(
            *(device.pool for device in self._held), *(process.pool for process in self._idle)
        )
        self._held, self._idle = [], []

    def run(self, jobs: Iterator[Job | None], on_done: Callable[[Job], None]) -> None:
        """Runs jobs, each on one device, and gives the devices back.

        Args:
            jobs: gives those that are ready, and None where none is ready yet.
            on_done: called with each that has ended, in the order in which they end.

        Raises:
            ValueError: no device did anything for ``queue_timeout_s``.
        """
        ready: list[Job] = []
        exhausted = False
        quiet_since = time.monotonic()
        try:
            while True:
                while not exhausted:
                    job = next(jobs, _NO_MORE)
                    exhausted = job is _NO_MORE
                    if job is None or isinstance(job, _NoMore):
                        break
                    ready.append(job)
                self._send(ready)
                if exhausted and not ready and all(d.job is None for d in self._held):
                    return
                self._take(ready)
                waiting = [device.future for device in self._held]
                concurrent.futures.wait(
                    waiting, POLL_S, return_when=concurrent.futures.FIRST_COMPLETED
                )
                if not waiting:
                    time.sleep(POLL_S)
                for job in self._collect(ready):
                    on_done(job)
                if not ready or any(device.job for device in self._held):
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > self._settings.queue_timeout_s:
                    raise ValueError(self._nothing())
        finally:
            self._give_back()

    def _send(self, ready: list[Job]) -> None:
        """Gives jobs to devices that are open and have none; gives back those held for long."""
        now = time.monotonic()
        for device in [d for d in self._held if not d.opening and d.job is None]:
            if not ready:
                return
            if now + ready[0].limit_s + MARGIN_S > device.until:
                self._release(device)
                continue
            job = ready.pop(0)
            job.tries += 1
            device.job, device.since = job, now
            device.due = now + job.limit_s + MARGIN_S
            device.future = device.pool.submit(
                session.ask, job.function, job.request(), job.files, job.wanted
            )

    def _take(self, ready: list[Job]) -> None:
        """Takes devices from the tracker for jobs that have none."""
        wanted = len(ready) - sum(device.opening for device in self._held)
        if wanted <= 0:
            self._tracker.withdraw()
            return
        try:
            self._warm(wanted)
            while wanted > 0 and any(process.warm.done() for process in self._idle):
                offer = self._tracker.offer()
                if offer is None:
                    return
                if self._resting.get(offer.device, -math.inf) > time.monotonic():
                    continue  # its server offers it again, in some seconds
                self._open(offer, ready[0].limit_s)
                wanted -= 1
        except OSError:
            self._tracker.withdraw()  # asked again, as long as `queue_timeout_s` allows

    def _warm(self, wanted: int) -> None:
        """Starts processes for devices that there are: an offer does not wait for one to start."""
        now = time.monotonic()
        if now - self._counted > COUNT_S:
            self._counted = now
            self._count = self._tracker.servers()
        stuck = [p for p in self._idle if not p.warm.done() and now - p.since > START_S]
        self._idle = [process for process in self._idle if process not in stuck]
        pools.end(*(process.pool for process in stuck))
        most = min(self._count, MOST_DEVICES) - len(self._held)
        while len(self._idle) < min(wanted, most):
            pool = pools.start(1, None, 1)
            self._idle.append(_Process(pool, pool.submit(os.getpid), now))

    def _open(self, offer: Offer, limit_s: float) -> None:
        process = next(process for process in self._idle if process.warm.done())
        self._idle.remove(process)
        pool = process.pool
        now = time.monotonic()
        session_s = max(self._settings.session_timeout_s, limit_s + 2 * MARGIN_S)
        kernels = () if offer.device in self._known else self._kernels
        future = pool.submit(session.start, offer, session_s, self._num_threads, kernels)
        self._held.append(_Device(offer, pool, future, True, now + START_S, now + session_s))

    def _collect(self, ready: list[Job]) -> list[Job]:
        """The jobs that have ended; one whose device failed is ready again, or has ended too."""
        ended = []
        now = time.monotonic()
        for device in [d for d in self._held if d.opening or d.job is not None]:
            job, overdue = device.job, not device.future.done()
            if overdue and now < device.due:
                continue
            error = None if overdue else device.future.exception()
            if overdue or error is not None:
                self._drop(device, error)
            elif device.opening:
                device.opening = False
                self._judge(device, device.future.result())
            if job is None:
                continue
            device.job = None
            job.last_s = now - device.since
            job.run_s += job.last_s
            if not overdue and error is None:
                job.answer = device.future.result()
                ended.append(job)
                continue
            job.error = f"{device.offer.device} did not answer"
            if error is not None:
                job.error = f"{device.offer.device} ended the session"
            if job.tries < TRIES:
                self._say(f"{job.error}: its trial is tried once more")
                ready.append(job)
            else:
                ended.append(job)
        return ended

    def _judge(self, device: _Device, opened: session.Opened) -> None:
        """Keeps a device that is like the first, and leaves alone one that is not."""
        name, facts = device.offer.device, opened.facts
        if self.facts is None:
            self.facts = facts
        unlike = [
            f"{facts[what]} is not {self.facts[what]}"
            for what in ("name", "mcpu", "machine", "threads")
            if facts[what] != self.facts[what]
        ]
        if opened.seconds:
            if self._first is None:
                self._first = name, opened.seconds
            first, seconds = self._first
            limit = self._settings.calibration_factor
            unlike += [
                f"{kernel} takes {took_s / seconds[kernel]:.2f} times as long as on {first}"
                for kernel, took_s in opened.seconds.items()
                if not 1 / limit <= took_s / seconds[kernel] <= limit
            ]
        if unlike:
            self._leave(name, f"it is not like the others: {'; '.join(unlike)}", REST_S)
            self._release(device)
        else:
            self._known.add(name)
            if opened.seconds:
                self._say(f"{name} measures")

    def _release(self, device: _Device) -> None:
        """Gives a device back; its process may hold another."""
        self._held.remove(device)
        closed = device.pool.submit(session.end)
        self._idle.append(_Process(device.pool, closed, time.monotonic()))

    def _drop(self, device: _Device, error: BaseException | None = None) -> None:
        """Ends a device's process, for it is of no use, or waits for ever."""
        self._held.remove(device)
        # When it comes back it may be another, or slower.
        self._known.discard(device.offer.device)
        if device.opening:
            why = "it does not answer" if error is None else last_line(error)
            self._leave(device.offer.device, why, FAILED_REST_S)
        pools.end(device.pool)

    def _leave(self, device: str, why: str, rest_s: float) -> None:
        """Leaves a device alone for so long; says why, where that is new."""
        self._resting[device] = time.monotonic() + rest_s
        if self._said.get(device) != why:
            self._said[device] = why
            self._say(f"{device} is left alone: {why}")

    def _give_back(self) -> None:
        self._tracker.withdraw()
        for device in list(self._held):
            if device.opening or device.job is not None:
                self._drop(device)
            else:
                self._release(device)

    def _nothing(self) -> str:
        """Why nothing runs."""
        where = f"the tracker at {self._tracker}"
        try:
            count = self._tracker.servers()
        except OSError as error:
            return f"{where} does not answer ({error}): python scripts/rpc/start.py starts one"
        if count:
            return f"no device {self._tracker.key} of {where} was free or fit to measure"
        return (
            f"{where} knows no device {self._tracker.key}: start servers there, or name another "
            "by measure.rpc.key="
        )


class _NoMore:
    pass


_NO_MORE = _NoMore()
