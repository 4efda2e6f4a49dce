"""Measuring on this machine: warm builders, then one runner with the machine to itself."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgtl.core.cores import available_cores
from dgtl.core.records import Status, Trial
from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm.measure import pools, workers
from dgtl.tvm.measure.builders import Builders, failure
from dgtl.tvm.measure.machine_lock import machine_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    import tvm
    from tvm.support.popen_pool import PopenPoolExecutor

    from dgtl.core.records import Hardware, Task

GROUP = 16
"""So many candidates are timed in passes together, which puts about a second between two timings of
one. Those of a larger batch follow, so that what a killed run loses is no more."""

RUNNER_LIFE = 4096
"""Libraries after which the runner starts anew. Unloaded ones leave five memory maps each behind,
and Linux allows a process 65,530: the 13,000th library of one runner did not load any more."""


@dataclasses.dataclass
class _Candidate:
    """A configuration on its way through building and running."""

    outcome: Trial
    built: workers.Built | None = None
    times_s: list[float] = dataclasses.field(default_factory=list)
    quick: bool = False
    run_s: float = 0.0

    @classmethod
    def of(cls, trial: Trial, built: workers.Built | Trial) -> _Candidate:
        """A candidate as it comes from the builders."""
        return cls(built) if isinstance(built, Trial) else cls(trial, built)

    @property
    def running(self) -> bool:
        return self.outcome.ok and self.built is not None

    def fail(self, status: Status, error: object, **seconds: float) -> None:
        self.outcome = failure(self.outcome, status, error, **seconds)

    def unfinished(self, options: MeasureOptions) -> bool:
        """Whether it is still to be timed, for the first time or again."""
        return self.running and len(self.times_s) < (1 if self.quick else options.repeats)

    def next_call(self, options: MeasureOptions, best_s: float) -> tuple[Any, ...]:
        """What the runner has to do next for this candidate: a function and its arguments."""
        assert self.built is not None, "only what was built can run"
        what = (self.built.library, self.built.tensors)
        if self.times_s:
            return workers.next_timing, *what, options
        return workers.first_timing, *what, options, options.quick_factor * best_s

    def trial(self) -> Trial:
        outcome = self.outcome.replace(run_s=self.run_s)
        if self.built is not None:
            outcome = outcome.replace(build_s=self.built.build_s)
        if not outcome.ok:
            return outcome
        return outcome.replace(run_times_s=tuple(self.times_s), quick=self.quick)


class LocalMeasurer:
    """Builds in warm processes on all cores, then runs one candidate at a time.

    Builds and runs never overlap, and a lock shared by all dgtl processes of the machine keeps two
    of them from disturbing each other. Use it as a context manager or call `close`.

    Args:
        hardware: what is measured.
        functions: the fused function of each task, by task key.
        options: repeats, timeouts.

    Raises:
        ValueError: no worker can be started.
    """

    def __init__(
        self,
        hardware: Hardware,
        functions: dict[str, tvm.ir.IRModule],
        options: MeasureOptions | None = None,
    ):
        self.hardware = hardware
        self.options = options or MeasureOptions()
        self._builders = Builders(hardware, functions, self.options.build_timeout_s)
        self._lock = machine_lock()
        # The check runs an unscheduled function too, which may take a hundred times the tuned one.
        # It times nothing, so that several may run side by side.
        self._checker = self._pool(available_cores(), 60 + self.options.build_timeout_s)
        self._start_runner()
        try:
            # Now, for the first trials' seconds would say that their layer is slow to measure.
            running = self._runner.submit(os.getpid)
            self._builders.start()
            running.result()
        except BaseException as error:
            self.close()
            if isinstance(error, ChildProcessError):
                raise ValueError(
                    f"no process to measure in can be started: {error}; is memory short?"
                ) from error
            raise

    def _pool(self, count: int, timeout_s: float) -> PopenPoolExecutor:
        return pools.start(count, timeout_s, self.hardware.num_cores, str(self._builders.folder))

    def _start_runner(self) -> None:
        self._runner = self._pool(1, self.options.run_timeout_s)
        self._runner_loaded = 0

    def __enter__(self) -> LocalMeasurer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers and removes every file that was built."""
        pools.end(self._runner, self._checker)
        self._builders.close()

    def measure(
        self,
        task: Task,
        configs: Sequence[str],
        *,
        best_s: float,
        on_trial: Callable[[Trial], None] | None = None,
    ) -> list[Trial]:
        """As `dgtl.measure.protocol.Measurer.measure`."""
        if not configs:
            return []
        trials: dict[int, Trial] = {}
        with self._lock:
            begin = time.perf_counter()
            built = [
                _Candidate.of(Trial(task.key, config, Status.OK), result)
                for config, result in zip(configs, self._builders.build(task, configs), strict=True)
            ]
            build_share_s = (time.perf_counter() - begin) / len(configs)

            def keep(candidate: _Candidate) -> None:
                trial = candidate.trial()
                wall_s = build_share_s + trial.run_s
                trial = trial.replace(wall_s=wall_s, timestamp=time.time())
                trials[id(candidate)] = trial
                if on_trial is not None:
                    on_trial(trial)

            try:
                self._run_all(built, best_s, keep)
            finally:
                self._clear(built)
        return [trials[id(candidate)] for candidate in built]

    def _run_all(
        self, candidates: Sequence[_Candidate], best_s: float, keep: Callable[[_Candidate], None]
    ) -> None:
        """Times the candidates in passes over a group of them, one timing of each per pass.

        Other users of a machine come in bursts, which would spoil all timings of a candidate that
        are made in one go; the median of timings apart in time does not see them.

        Args:
            candidates: built, or failed.
            best_s: as of `measure`.
            keep: called with each as soon as it is complete.
        """
        for candidate in candidates:
            if not candidate.running:
                keep(candidate)
        running = [candidate for candidate in candidates if candidate.running]
        for first in range(0, len(running), GROUP):
            group = running[first : first + GROUP]
            while group:
                for candidate in group:
                    self._time(candidate, best_s)
                    best_s = min([best_s, *candidate.times_s])
                    if not candidate.unfinished(self.options):
                        keep(candidate)
                slowest_s = self.options.quick_factor * best_s
                for candidate in group:
                    if candidate.unfinished(self.options) and max(candidate.times_s) > slowest_s:
                        candidate.quick = True
                        keep(candidate)
                group = [candidate for candidate in group if candidate.unfinished(self.options)]
            with contextlib.suppress(Exception):  # a runner that died has forgotten them as well
                self._runner.submit(workers.unload).result()

    def _clear(self, candidates: Sequence[_Candidate]) -> None:
        """Removes what was built, and starts the runner anew in time."""
        self._runner_loaded += len(candidates)
        if self._runner_loaded >= RUNNER_LIFE:
            pools.end(self._runner)
            self._start_runner()
        for candidate in candidates:
            if candidate.built is not None:
                Path(candidate.built.library).unlink(missing_ok=True)

    def _time(self, candidate: _Candidate, best_s: float) -> None:
        """One more timing of a candidate, or the failure that ends its trial."""
        options = self.options
        begin = time.perf_counter()
        try:
            timing = self._runner.submit(*candidate.next_call(options, best_s)).result()
        except TimeoutError:
            error = f"not run within {options.run_timeout_s} s"
            candidate.fail(Status.RUN_TIMEOUT, error)
        except Exception as error:
            candidate.fail(Status.RUN_ERROR, error)
        else:
            candidate.times_s.append(timing.seconds)
            candidate.quick = timing.quick
        candidate.run_s += time.perf_counter() - begin

    def check(self, configs: Sequence[tuple[Task, str]]) -> list[Trial | None]:
        """For each None if it computes what the unscheduled function does, else a trial.

        The trial has status `wrong_result`, or tells why the check itself failed.
        """
        files, target = self._builders.files, self.hardware.target
        with self._lock:
            verdicts = [
                self._checker.submit(workers.check, files[task.key], target, config)
                for task, config in configs
            ]
            return [
                _checked(Trial(task.key, config, Status.WRONG_RESULT), verdict)
                for (task, config), verdict in zip(configs, verdicts, strict=True)
            ]


def _checked(trial: Trial, verdict: Future) -> Trial | None:
    """The trial with what is wrong, once the check is over; None if nothing is."""
    try:
        error, allowed = verdict.result()
    except TimeoutError:
        found = failure(trial, Status.RUN_TIMEOUT, "check not done in time")
    except Exception as wrong:
        found = failure(trial, Status.RUN_ERROR, wrong)
    else:
        if error <= allowed:
            return None
        found = trial.replace(error=f"relative error {error:.2g}")
    return found.replace(timestamp=time.time())


def run_alone(hardware: Hardware, timeout_s: float, function: Callable, *arguments: object):
    """Calls ``function`` in a fresh worker with the machine to itself, and ends the worker.

    Raises:
        TimeoutError: it took longer than ``timeout_s``.
    """
    pool = pools.start(1, timeout_s, hardware.num_cores)
    try:
        with machine_lock():
            return pool.submit(function, *arguments).result()
    finally:
        pools.end(pool)
