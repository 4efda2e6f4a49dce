"""Measuring on devices behind a TVM RPC tracker: built here, run there, on all of them at once.

What a device is asked is timed as on this machine (`dgtl.tvm.measure.local`), but all timings of a
candidate in one go: a device has nothing else to do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core.records import Hardware, Status, Trial
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure import workers
from dgtl.tvm.measure.builders import Builders, failure
from dgtl.tvm.measure.machine_lock import machine_lock
from dgtl.tvm.measure.scratch import Scratch
from dgtl.tvm.rpc import calibration
from dgtl.tvm.rpc.farm import Farm, Job, RPCSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    import tvm

    from dgtl.core.records import Task
    from dgtl.measure.protocol import MeasureOptions

CHECK_S = 60.0
"""An unscheduled function is not run there, so that a check takes no longer than a kernel."""


class RPCMeasurer:
    """A `dgtl.measure.protocol.Measurer` with many devices; a context manager, or call `close`.

    Where the tracker is on this machine, its devices are taken to be this machine, too: builds and
    runs do not overlap then, and the lock of the machine is held.

    Args:
        hardware: what the devices are, from `device_hardware`.
        functions: the fused function of each task, by task key.
        options: repeats, timeouts.
        settings: where the devices are.
        say: is told which devices measure, and which are left alone.
    """

    def __init__(
        self,
        hardware: Hardware,
        functions: dict[str, tvm.ir.IRModule],
        options: MeasureOptions,
        settings: RPCSettings,
        say: Callable[[str], None] = print,
    ):
        self.hardware, self.options = hardware, options
        self._builders = Builders(hardware, functions, options.build_timeout_s)
        kernels = calibration.kernels(hardware, self._builders.folder)
        self._farm = Farm(settings, hardware.num_cores, kernels, say)

    def __enter__(self) -> RPCMeasurer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the devices back, ends the workers and removes every file that was built."""
        self._farm.close()
        self._builders.close()

    def measure(
        self,
        task: Task,
        configs: Sequence[str],
        *,
        best_s: float,
        on_trial: Callable[[Trial], None] | None = None,
    ) -> list[Trial]:
        """As `dgtl.measure.protocol.Measurer.measure`; trials are told as they end.

        Raises:
            ValueError: there is no device.
        """
        batch = _Batch(self.options, self._builders, task, best_s, on_trial)
        with _machine_of(self._farm):
            batch.begin(configs)
            try:
                self._farm.run(batch.jobs(overlap=not self._farm.here), batch.on_done)
            finally:
                batch.end()
        return [batch.trials[config] for config in configs]

    def check(self, configs: Sequence[tuple[Task, str]]) -> list[Trial | None]:
        """As `dgtl.tvm.measure.local.LocalMeasurer.check`, on one of the devices."""
        return [self._check(task, config) for task, config in configs]

    def _check(self, task: Task, config: str) -> Trial | None:
        trial = Trial(task.key, config, Status.WRONG_RESULT, timestamp=time.time())
        with _machine_of(self._farm):
            (built,) = self._builders.build_checks(task, [config])
            if isinstance(built, Trial):
                return built
            library = Path(built.library)
            expected = Path(f"{library}.npz")
            request = {
                "library": library.name,
                "tensors": built.tensors,
                "expected": expected.name,
            }
            files = {path.name: str(path) for path in (library, expected)}
            answer = _one(self._farm, Job("check", lambda: request, files, CHECK_S))
        for path in (library, expected):
            path.unlink()
        if "error" in answer:
            return failure(trial, Status.RUN_ERROR, answer["error"])
        error = answer["relative_error"]
        if error <= workers.wrong_above(built.tensors):
            return None
        return trial.replace(error=f"relative error {error:.2g}")


@dataclasses.dataclass
class _Batch:
    """One call of `RPCMeasurer.measure`: from configurations by builds and jobs to trials."""

    options: MeasureOptions
    builders: Builders
    task: Task
    best_s: float
    on_trial: Callable[[Trial], None] | None
    trials: dict[str, Trial] = dataclasses.field(default_factory=dict)
    _building: dict[str, Future] = dataclasses.field(default_factory=dict)
    _sent: dict[int, tuple[str, workers.Built]] = dataclasses.field(default_factory=dict)
    _last_end: float = dataclasses.field(default_factory=time.perf_counter)

    def begin(self, configs: Sequence[str]) -> None:
        self._building = {config: self.builders.begin(self.task, config) for config in configs}

    def end(self) -> None:
        """What an interruption leaves is not built."""
        for future in self._building.values():
            future.cancel()

    def jobs(self, *, overlap: bool) -> Iterator[Job | None]:
        """A job for everything that is built; those that are not are trials already."""
        while self._building:
            done = [config for config, future in self._building.items() if future.done()]
            if not done or (not overlap and len(done) < len(self._building)):
                yield None
                continue
            for config in done:
                future = self._building.pop(config)
                built = self.builders.result(self.task, config, future)
                if isinstance(built, Trial):
                    self._keep(built)
                else:
                    yield self._job(config, built)

    def _job(self, config: str, built: workers.Built) -> Job:
        name = Path(built.library).name

        def request() -> dict[str, Any]:
            quick_above_s = self.options.quick_factor * self.best_s
            return {
                "library": name,
                "tensors": built.tensors,
                "options": dataclasses.asdict(self.options),
                "quick_above_s": quick_above_s if math.isfinite(quick_above_s) else 1e9,
            }

        limit_s = self.options.repeats * self.options.run_timeout_s
        job = Job("timings", request, {name: built.library}, limit_s)
        self._sent[id(job)] = config, built
        return job

    def on_done(self, job: Job) -> None:
        """A job is over: so is its trial."""
        config, built = self._sent.pop(id(job))
        Path(built.library).unlink(missing_ok=True)
        trial = Trial(self.task.key, config, Status.OK, build_s=built.build_s, run_s=job.run_s)
        if job.answer is None:
            late = job.last_s >= self.options.run_timeout_s
            error = f"not run within {self.options.run_timeout_s} s" if late else job.error
            self._keep(failure(trial, Status.RUN_TIMEOUT if late else Status.RUN_ERROR, error))
        elif "error" in job.answer:
            self._keep(failure(trial, Status.RUN_ERROR, job.answer["error"]))
        else:
            times_s = tuple(job.answer["times_s"])
            self.best_s = min(self.best_s, *times_s)
            self._keep(trial.replace(run_times_s=times_s, quick=job.answer["quick"]))

    def _keep(self, trial: Trial) -> None:
        """Devices run side by side: the clock of a trial is what passed since the last one."""
        now = time.perf_counter()
        trial = trial.replace(wall_s=now - self._last_end, timestamp=time.time())
        self._last_end = now
        self.trials[trial.config] = trial
        if self.on_trial is not None:
            self.on_trial(trial)


def device_hardware(
    settings: RPCSettings, num_cores: int | None, say: Callable[[str], None] = print
) -> Hardware:
    """What the devices of a tracker are, told by the first that is free.

    Args:
        settings: where they are.
        num_cores: cores that kernels may use; all that the device has if None.
        say: is told which device that is.

    Raises:
        ValueError: there is no device; it has fewer cores, another version of TVM, or another
            architecture.
    """
    with contextlib.closing(Farm(settings, num_cores, say=say)) as farm:
        facts = _one(farm, Job("hello", lambda: {"num_threads": num_cores}, {}, 10.0))
    if "error" in facts:
        raise ValueError(f"the device {settings.key} cannot be used: {facts['error']}")
    if num_cores is not None and num_cores > facts["cores"]:
        raise ValueError(f"hardware.num_cores={num_cores}: the device offers 1 to {facts['cores']}")
    if facts["machine"] != platform.machine():
        raise ValueError(
            f"the device is {facts['machine']} and this host {platform.machine()}: libraries are "
            "linked here, so that both have to be of one architecture"
        )
    here = machine.runtime_versions()
    if different := [n for n in ("tvm", "tvm_ffi") if facts["versions"][n] != here[n]]:
        name = different[0]
        raise ValueError(
            f"the device has {name} {facts['versions'][name]} and this host {here[name]}"
        )
    return Hardware(
        facts["name"], machine.cpu_target(facts["mcpu"], facts["threads"]), facts["threads"]
    )


def time_network(
    settings: RPCSettings, hardware: Hardware, timeout_s: float, *what: Any
) -> tuple[list[float], list[np.ndarray]]:
    """As `dgtl.tvm.measure.workers.time_network`, on one device.

    Args:
        settings: where it is.
        hardware: its cores are the threads used.
        timeout_s: for all of it.
        what: library, inputs, repeats, longest wait for full speed.

    Raises:
        TimeoutError: it took longer.
        ValueError: there is no device, or the network does not run there.
    """
    library, inputs, repeats, throttle_wait_s = what
    with (
        Scratch() as scratch,
        contextlib.closing(Farm(settings, hardware.num_cores)) as farm,
        _machine_of(farm),
    ):
        given, computed = scratch.folder / "inputs.npz", scratch.folder / "outputs.npz"
        np.savez(given, **{str(number): value for number, value in enumerate(inputs)})
        request = {
            "library": Path(library).name,
            "inputs": given.name,
            "outputs": computed.name,
            "repeats": repeats,
            "throttle_wait_s": throttle_wait_s,
        }
        job = Job(
            "network",
            lambda: request,
            {Path(library).name: library, given.name: str(given)},
            timeout_s,
            {computed.name: str(computed)},
        )
        answer = _one(farm, job)
        if "error" in answer:
            if job.last_s >= timeout_s:
                raise TimeoutError(answer["error"])
            raise ValueError(f"the network does not run on the device: {answer['error']}")
        with np.load(computed, allow_pickle=False) as file:
            outputs = [file[str(number)] for number in range(len(file.files))]
    return answer["times_s"], outputs


def _one(farm: Farm, job: Job) -> dict[str, Any]:
    """The answer to one job; an error where no device gave one."""
    farm.run(iter([job]), lambda _: None)
    return {"error": job.error} if job.answer is None else job.answer


def _machine_of(farm: Farm) -> contextlib.AbstractContextManager:
    """The lock of this machine, where the devices are this machine."""
    return machine_lock() if farm.here else contextlib.nullcontext()
