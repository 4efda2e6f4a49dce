"""A live run whose device is elsewhere, or a GPU: measured by visits."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import TYPE_CHECKING

import tvm

from dgtl.core.history import History, SourceTask, TrialLog
from dgtl.measure import provenance
from dgtl.measure.protocol import VisitNeededError
from dgtl.run.job import (
    Job,
    best_schedules,
    build_network,
    check_against_reference,
    shared,
)
from dgtl.run.tuning import Tuning, verified
from dgtl.tvm import hardware as machine
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.deploy import reference
from dgtl.tvm.measure.visit_folder import NetworkOrder, NetworkResult
from dgtl.tvm.measure.visits import VisitMeasurer, run_visit
from dgtl.tvm.workload.tasks import lower

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from omegaconf import DictConfig

    from dgtl.report.progress import Progress
    from dgtl.run.start import RunContext

Outcome = tuple[list[SourceTask], deploy.NetworkTiming | None, deploy.NetworkTiming | None]
"""The targets with their trials, the network without schedules, and with the best ones."""


def by_visits(cfg: DictConfig, job: Job, context: RunContext, progress: Progress) -> Outcome:
    """Tunes, checks and times a network in visits to the device.

    Raises:
        VisitNeededError: a visit has to be made elsewhere first.
        ValueError: the runner refuses a visit; the tuned network computes something else.
    """
    folder = context.log_path.parent
    functions = {t.problem.task.key: t.function.mod for t in job.targets}
    expected = functools.cache(functools.partial(_expected, job, progress))
    whole = cfg.workload.tasks is None
    if whole and cfg.deploy.untuned and not (folder / "visits").exists():
        expected()  # a network that was imported wrong is not worth a visit
    with TrialLog(context.log_path) as log:
        source = provenance.collect(job.hardware, cfg.seed, machine.versions(), job.options)
        log.provenance(source)
        while True:
            measurer = VisitMeasurer(job.hardware, functions, job.options, folder / "visits")
            going_on = dataclasses.replace(context, earlier=History.read(context.log_path))
            tuning = Tuning(going_on, log, source.id, progress, shared(cfg, measurer))
            try:
                return _outcome(cfg, job, tuning, measurer, folder, expected)
            except VisitNeededError:
                visit = _next(measurer, progress)
            if cfg.measure.where == "folder":
                raise VisitNeededError(
                    f"{visit} is ready: take it to the device, run there\n"
                    f"    python {visit.name}/device.pyz {visit.name}\n"
                    "bring it back, and start this command again"
                )
            progress.stage("run on the device")
            run_visit(visit)


def _next(measurer: VisitMeasurer, progress: Progress) -> Path:
    """The visit that is needed."""
    progress.stage("build for the device")
    n = measurer.n_ordered
    return measurer.next_visit(
        lambda done, failed: progress.message(f"{done} of {n} kernels built, {failed} failed")
    )


def _outcome(
    cfg: DictConfig,
    job: Job,
    tuning: Tuning,
    measurer: VisitMeasurer,
    folder: Path,
    expected: Callable[[], deploy.NetworkTiming],
) -> Outcome:
    progress = tuning.progress
    progress.stage("tune")
    tuned = tuning.all([(t.number, t.problem) for t in job.targets], int(cfg.seed))
    results, waiting = [], False
    for result in tuned:
        try:
            results += verified([result], measurer, tuning.log)
        except VisitNeededError:
            results.append(result)
            waiting = True
    best = best_schedules(job.targets, results)
    untuned = timing = None
    if cfg.workload.tasks is not None:
        deploy.write_database(folder / "best", job.hardware, best)
        progress.message("workload.tasks is a part of the network, which is not built")
    else:
        progress.stage("deploy")
        # The same schedules are the same network.
        text = "\n".join(str(schedule.trace) for _, schedule, _ in best)
        key = f"tuned-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        wanted = {key: lambda: build_network(job, best, folder)}
        library = {key: folder / "model.so"}
        if cfg.deploy.untuned:
            library["untuned"] = folder / "visits" / "untuned.so"
            wanted["untuned"] = lambda: deploy.build(
                job.network, job.hardware, library["untuned"], None
            )
        found = {}
        for name, build in wanted.items():
            try:
                order = functools.partial(_order, cfg, job, build, library[name], expected)
                found[name] = _timing(name, measurer.network(name, order), job)
            except VisitNeededError:
                waiting = True
        timing, untuned = found.get(key), found.get("untuned")
    if waiting:
        raise VisitNeededError("checks and networks")
    return results, untuned, timing


def _timing(name: str, result: NetworkResult, job: Job) -> deploy.NetworkTiming:
    if result.relative_error is None:
        raise ValueError(f"the {name} network did not run on the device: {result.error}")
    if result.relative_error > reference.tolerance(job.workload.model):
        raise ValueError(
            f"the {name} network is wrong on the device: relative error {result.relative_error:.2g}"
        )
    return deploy.NetworkTiming((), result.run_times_s)


def _order(
    cfg: DictConfig,
    job: Job,
    build: Callable[[], dict[str, str]],
    library: Path,
    expected: Callable[[], deploy.NetworkTiming],
) -> NetworkOrder:
    """The network built, with an input and what this CPU makes of it."""
    inputs = list(job.workload.inputs.values())
    return NetworkOrder(library, build(), inputs, expected().outputs, cfg.deploy.repeats)


def _expected(job: Job, progress: Progress) -> deploy.NetworkTiming:
    """The network without schedules on this CPU, compared with ONNX Runtime."""
    cpu = machine.detect()
    network = lower(job.workload.model, tvm.target.Target(cpu.target))
    inputs = job.workload.inputs
    timing = deploy.time_untuned(network, cpu, inputs, repeats=1, throttle_wait_s=0.0)
    check_against_reference("untuned", job, timing.outputs, cpu, progress)
    return timing
