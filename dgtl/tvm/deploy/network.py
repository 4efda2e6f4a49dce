"""The whole network: best schedules applied through TVM's own database, built, checked, timed."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from tvm.relax import transform as T
from tvm.s_tir import dlight
from tvm.s_tir import meta_schedule as ms

from dgtl.core.records import Hardware
from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm import arithmetic, cuda
from dgtl.tvm.measure import workers
from dgtl.tvm.measure.local import run_alone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from tvm.s_tir import Schedule

    from dgtl.tvm.workload.tasks import FusedFunction

NETWORK_TIMEOUT_S = 600.0

Timer = Callable[
    [Hardware, float, str, list[np.ndarray], int, float], tuple[list[float], list[np.ndarray]]
]
"""Runs a network on some hardware: within so many seconds a library, with inputs, repeats, and the
longest wait for full speed, as `dgtl.tvm.measure.workers.time_network` does."""


def here(hardware: Hardware, timeout_s: float, *what: Any) -> tuple[list[float], list[np.ndarray]]:
    """The `Timer` of this machine: a process of its own that has the machine to itself."""
    return run_alone(hardware, timeout_s, workers.time_network, *what)


DEFAULT_GPU = (dlight.gpu.Reduction(), dlight.gpu.GeneralReduction(), dlight.gpu.Fallback())
"""TVM's rules for functions without a schedule of ours, the first that fits."""


@dataclasses.dataclass(frozen=True)
class NetworkTiming:
    """A network built and run: its outputs on the network's inputs, and raw run times [s]."""

    outputs: tuple[NDArray[Any], ...]
    run_times_s: tuple[float, ...]

    @property
    def latency_ms(self) -> float:
        """Median end-to-end time [ms]."""
        return statistics.median(self.run_times_s) * 1e3


def write_database(
    folder: Path,
    hardware: Hardware,
    schedules: Sequence[tuple[FusedFunction, Schedule, float]],
) -> ms.database.Database:
    """A MetaSchedule database with one record per function, which stock TVM can apply.

    Args:
        folder: where it lies; made if absent, overwritten if not.
        hardware: what the schedules are for.
        schedules: of each function its schedule and latency [s].
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("database_workload.json", "database_tuning_record.json"):
        (folder / name).unlink(missing_ok=True)
    database = ms.database.JSONDatabase(
        path_workload=str(folder / "database_workload.json"),
        path_tuning_record=str(folder / "database_tuning_record.json"),
    )
    target = tvm.target.Target(hardware.target)
    for function, schedule, latency_s in schedules:
        workload = database.commit_workload(function.mod)
        arguments = ms.arg_info.ArgInfo.from_entry_func(function.mod, remove_preproc=False)
        record = ms.database.TuningRecord(schedule.trace, workload, [latency_s], target, arguments)
        database.commit_tuning_record(record)
    return database


def build(
    network: tvm.ir.IRModule,
    hardware: Hardware,
    library: Path,
    database: ms.database.Database | None = None,
) -> dict[str, str]:
    """Builds a lowered network into one shared library, weights included.

    Args:
        network: from `dgtl.tvm.workload.tasks.lower`.
        hardware: what to build for.
        library: file to write.
        database: schedules to apply; without one every function stays unscheduled, on a GPU with
            TVM's default schedules, as are those that it lacks. With one, all functions have the
            exponentials of `dgtl.tvm.arithmetic`.

    Returns:
        For CUDA its binaries, see `dgtl.tvm.cuda.write_binaries`.
    """
    target = tvm.target.Target(hardware.target)
    with target, tvm.transform.PassContext(opt_level=3):
        if database is not None:
            with database:
                network = T.MetaScheduleApplyDatabase()(network)
            # The weight layouts that the schedules want are made now, not in every inference.
            network = T.SplitLayoutRewritePreproc()(network)
            network = T.FoldConstant()(network)
            network = T.DeadCodeElimination()(network)
        if hardware.kind == "cuda":
            network = dlight.ApplyDefaultSchedule(*DEFAULT_GPU)(network)
        tuned = contextlib.nullcontext() if database is None else arithmetic.vectorised()
        with tuned:
            executable = tvm.compile(network, target=target)
    executable.export_library(str(library))
    if hardware.kind != "cuda":
        return {}
    arch = str(target.attrs["arch"])
    return cuda.write_binaries(executable.mod, arch, library.with_suffix(""))


def time_network(
    library: Path,
    hardware: Hardware,
    inputs: Mapping[str, NDArray[Any]],
    *,
    repeats: int,
    throttle_wait_s: float = MeasureOptions.throttle_wait_s,
    timer: Timer = here,
) -> NetworkTiming:
    """Runs a built network.

    Args:
        library: from `build`.
        hardware: its cores are the threads used.
        inputs: value of each input, in their order.
        repeats: how often to time it.
        throttle_wait_s: as in `MeasureOptions`.
        timer: where it runs.
    """
    times, outputs = timer(
        hardware,
        NETWORK_TIMEOUT_S,
        str(library),
        list(inputs.values()),
        repeats,
        throttle_wait_s,
    )
    return NetworkTiming(tuple(outputs), tuple(times))


@dataclasses.dataclass(frozen=True)
class FunctionTime:
    """What one function of a network takes in a run: its calls, and their seconds together."""

    name: str
    calls: int
    seconds: float


def profile(
    library: Path, hardware: Hardware, inputs: Mapping[str, NDArray[Any]], *, repeats: int
) -> tuple[float, list[FunctionTime]]:
    """Where a built network's time goes: its latency [s], and its functions, slowest first.

    The functions are timed where they stand in the network, with the caches as they find them.
    What the latency has beyond their sum is left to the runtime. Medians over the runs.
    """
    times, runs = run_alone(
        hardware,
        NETWORK_TIMEOUT_S,
        workers.profile_network,
        str(library),
        list(inputs.values()),
        repeats,
        MeasureOptions.throttle_wait_s,
    )
    functions = [
        FunctionTime(name, calls, statistics.median(run[name][1] for run in runs))
        for name, (calls, _) in runs[0].items()
    ]
    return statistics.median(times), sorted(functions, key=lambda f: -f.seconds)


def time_untuned(
    network: tvm.ir.IRModule,
    hardware: Hardware,
    inputs: Mapping[str, NDArray[Any]],
    *,
    repeats: int = 3,
    throttle_wait_s: float = MeasureOptions.throttle_wait_s,
    timer: Timer = here,
) -> NetworkTiming:
    """The network without any schedule: what TVM does out of the box.

    Raises:
        ValueError: it takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="dgtl-untuned-") as folder:
        library = Path(folder) / "untuned.so"
        build(network, hardware, library)
        try:
            return time_network(
                library,
                hardware,
                inputs,
                repeats=repeats,
                throttle_wait_s=throttle_wait_s,
                timer=timer,
            )
        except TimeoutError as error:
            raise ValueError(
                f"the network without schedules does not run within {NETWORK_TIMEOUT_S:.0f} s: "
                "deploy.untuned=false leaves it out"
            ) from error
