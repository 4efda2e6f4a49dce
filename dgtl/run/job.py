"""What a live run rests on: machine, network, layers to tune, history."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import tvm

from dgtl.core.history import History
from dgtl.core.records import AGAIN, best_trial
from dgtl.measure.replay import SharedMeasurer
from dgtl.results.card import Card, Value
from dgtl.results.run_folder import Origin
from dgtl.tvm import hardware as machine
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.deploy import reference
from dgtl.tvm.workload.importer.to_relax import blamed, one_line, quiet
from dgtl.tvm.workload.sketches import ScheduleSpace, default_schedule
from dgtl.tvm.workload.tasks import FusedFunction, lower

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from omegaconf import DictConfig

    from dgtl.core.history import SourceTask
    from dgtl.core.local_history import LocalHistory
    from dgtl.core.records import Hardware, Trial
    from dgtl.features.problem import Problem
    from dgtl.measure.protocol import MeasureOptions, Measurer
    from dgtl.report.progress import Progress
    from dgtl.tvm.workload.importer.model import Network

Scheduled = tuple[FusedFunction, tvm.s_tir.Schedule, float]
"""A function, its schedule, and its latency [s]."""


@dataclasses.dataclass
class Target:
    """A tunable function of the workload: its place, its problem, and the way to schedules."""

    number: int
    function: FusedFunction
    schedules: ScheduleSpace
    problem: Problem


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a run rests on, read before anything of an earlier run is touched.

    Args:
        hardware: this machine.
        workload: the network as ONNX, with its inputs.
        network: lowered, without schedules.
        functions: of the network, those that are not tuned included.
        targets: those to tune.
        sources: tasks to learn from.
        options: how candidates are measured.
        local: trials of this machine, to be learned from without pre-training.
    """

    hardware: Hardware
    workload: Network
    network: tvm.ir.IRModule
    functions: Sequence[FusedFunction]
    targets: Sequence[Target]
    sources: Sequence[SourceTask]
    options: MeasureOptions
    local: LocalHistory

    def known(self) -> dict[str, tuple[Trial, ...]]:
        """What was tried of the targets before, by task key, where spaces are as they were."""
        local = {source.task.key: source for source in self.local.sources}
        return {
            problem.task.key: source.trials
            for problem in (target.problem for target in self.targets)
            if (source := local.get(problem.task.key)) is not None
            and source.space.to_json() == problem.space.to_json()
        }


def lowered(workload: Network, hardware: Hardware) -> tvm.ir.IRModule:
    """The network as TVM has it.

    Raises:
        ValueError: it has an operator that TVM imports but cannot lower.
    """
    target = tvm.target.Target(hardware.target)
    try:
        with quiet():
            winograd = workload.winograd and hardware.kind == "llvm"
            return lower(workload.model, target, winograd=winograd)
    except Exception as error:
        if isinstance(error, ValueError):
            raise  # it says which node
        node = blamed(workload.model, lambda alone: lower(alone, target))
        raise ValueError(
            f"TVM cannot import this model: {f'{node}: ' if node else ''}{one_line(error)}"
        ) from error


UNMEASURED_S = 1.0
"""What a database has as the latency of a schedule that was not timed."""


def best_schedules(
    targets: Sequence[Target],
    results: Sequence[SourceTask],
    chosen: Sequence[str | None] | None = None,
) -> list[Scheduled]:
    """The fastest schedule of every target of which one ran, with its latency [s].

    Args:
        targets: of the network.
        results: their trials.
        chosen: keys of what the model chose where none ran, see `choose`.
    """
    found: list[Scheduled] = []
    keys = [None] * len(targets) if chosen is None else chosen
    for tuned, result, key in zip(targets, results, keys, strict=True):
        trial = best_trial(result.trials)
        config = key if trial is None else trial.config
        if config is not None:
            space = tuned.schedules
            schedule = space.schedule(space.space.parse(config))
            latency_s = UNMEASURED_S if trial is None else trial.latency_s
            found.append((tuned.function, schedule, latency_s))
    return found


def build_network(job: Job, best: Sequence[Scheduled], folder: Path) -> dict[str, str]:
    """Builds the network with the best schedules as ``model.so``, with its database in ``best``.

    What comes after the part that is tuned is beside it as ``tail.onnx``.

    Returns:
        For CUDA its binaries, see `dgtl.tvm.cuda.write_binaries`.
    """
    target = tvm.target.Target(job.hardware.target)
    tuned = {function.name for function, _, _ in best}
    # Not worth tuning, or nothing ran: parallel and vectorised still beats unscheduled. On a GPU
    # the build itself does what is left.
    others = [
        (function, default_schedule(function.mod, target), UNMEASURED_S)
        for function in job.functions
        if function.name not in tuned and job.hardware.kind == "llvm"
    ]
    (folder / "tail.onnx").unlink(missing_ok=True)
    if job.workload.tail is not None:
        onnx.save(job.workload.tail, str(folder / "tail.onnx"))
    database = deploy.write_database(folder / "best", job.hardware, [*best, *others])
    return deploy.build(job.network, job.hardware, folder / "model.so", database)


def check_against_reference(
    which: str,
    job: Job,
    outputs: Sequence[NDArray[Any]],
    hardware: Hardware,
    progress: Progress,
) -> reference.Agreement | None:
    """Compares outputs of a network that TVM built with those of ONNX Runtime.

    Args:
        which: what to call the network, tuned or untuned.
        job: what was built.
        outputs: of the network.
        hardware: this machine's CPU.
        progress: is told how far they agree, or why that is not known.

    Returns:
        How far they agree; None where that is not known.

    Raises:
        ValueError: they differ; with the layer where that begins.
    """
    try:
        found = reference.compare(job.workload, outputs)
    except reference.UnknownError as error:
        progress.message(f"ONNX Runtime does not run the network, to compare with: {error}")
        return None
    if not found.ok:
        begins = reference.first_difference(job.workload, hardware)
        raise ValueError(
            f"the {which} network computes something else than in ONNX Runtime: {found}"
            + (f", beginning at {begins}" if begins else "")
        )
    progress.message(f"{which} network and ONNX Runtime agree: {found}")
    return found


def write_card(
    job: Job,
    folder: Path,
    results: Sequence[SourceTask],
    untuned: deploy.NetworkTiming | None,
    tuned: deploy.NetworkTiming,
    agreement: reference.Agreement | None,
) -> None:
    """Writes ``card.json``: what ``model.so`` takes, gives and needs, and how it was made."""
    names = [output.name for output in job.workload.model.graph.output]
    last = job.workload.model if job.workload.tail is None else job.workload.tail
    origin = Origin.read(folder)
    assert origin is not None, "a run says how it was begun"
    Card(
        inputs=tuple(Value.of(name, value) for name, value in job.workload.inputs.items()),
        outputs=tuple(Value.of(*each) for each in zip(names, tuned.outputs, strict=True)),
        results=tuple(output.name for output in last.graph.output),
        hardware=job.hardware.name,
        target=job.hardware.target,
        num_cores=job.hardware.num_cores,
        cpu_features=machine.cpu_features(),
        versions=machine.runtime_versions(),
        relative_error=None if agreement is None else agreement.relative_error,
        untuned_latency_ms=None if untuned is None else untuned.latency_ms,
        latency_ms=tuned.latency_ms,
        search_s=sum(trial.search_s for result in results for trial in result.trials),
        trials=sum(len(result.trials) for result in results),
        command=origin.command,
        date=origin.date,
    ).write(folder)


def shared(cfg: DictConfig, measurer: Measurer) -> Measurer:
    """The measurer; where ``share`` names runs, what they measured is not measured again."""
    if cfg.share is None:
        return measurer
    logs = sorted(Path(cfg.share).rglob("trials.jsonl"))
    trials = [trial for source in History.read(*logs) for trial in source.trials]
    # What was timed again was so after a search, and says nothing of what a search would see.
    known = {(trial.task, trial.config): trial for trial in trials if trial.stage != AGAIN}
    return SharedMeasurer(measurer, known)
