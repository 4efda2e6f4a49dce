"""One run, put together: workload, history, method, measurement, deployment, report.

The one place that knows all parts; nothing imports it but `run.py` and `experiments/`.
"""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tvm
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dgtl.autotvm_logs.importer import import_logs
from dgtl.core.history import SHIPPED, History, HistoryError, SourceTask, TrialLog, subset
from dgtl.core.local_history import LocalHistory
from dgtl.core.records import best_trial
from dgtl.core.titles import titles
from dgtl.features.problem import Problem
from dgtl.measure import provenance
from dgtl.measure.protocol import MeasureOptions, VisitNeededError
from dgtl.methods.base import ChoosingMethod
from dgtl.report.console import print_summary
from dgtl.report.html import write_report
from dgtl.report.progress import Progress
from dgtl.results.run_folder import Run, is_complete
from dgtl.results.summary import Summary, summarise
from dgtl.run import replay
from dgtl.run.checks import check
from dgtl.run.job import (
    Job,
    Target,
    best_schedules,
    build_network,
    check_against_reference,
    lowered,
    shared,
    write_card,
)
from dgtl.run.start import RunContext, resolved, start, takes_visits
from dgtl.run.tuning import Tuning, choose, verify_best
from dgtl.run.visits import by_visits
from dgtl.tables.select import pattern_matcher
from dgtl.tvm import hardware as machine
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.deploy import reference
from dgtl.tvm.measure.local import LocalMeasurer
from dgtl.tvm.workload import networks
from dgtl.tvm.workload.sketches import NoSpaceError, ScheduleSpace
from dgtl.tvm.workload.tasks import FusedFunction, extract

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig

    from dgtl.core.records import Hardware, Task

UNTUNED = 2
"""Exit code of a run with a layer of which no trial ran, see ``deploy.allow_untuned``."""

CHOICES = 16
"""Of a layer without trials the model's best, of which the first that computes right is taken."""

VISIT_NEEDED = 3
"""Exit code of a run that goes on when its visit to the device is done."""


def main(cfg: DictConfig) -> None:
    """Runs what the configuration says; user errors end in one line and exit code 1."""
    runner = replay.run if cfg.hardware.kind == "replay" else run
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        check(cfg, folder)
        if not cfg.fresh and is_complete(folder, resolved(cfg)):
            print(f"already complete: {folder} (fresh=true runs it again)")
            return
        summary = runner(cfg, folder)
        if runner is run and summary.untuned and not cfg.deploy.allow_untuned:
            sys.exit(UNTUNED)
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {str(error.__cause__ or error).splitlines()[0]}")
    except (ValueError, HistoryError) as error:
        sys.exit(f"error: {error}")
    except VisitNeededError as visit:
        print(visit)
        sys.exit(VISIT_NEEDED)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sys.exit(f"error: the disk is full ({error.filename}); what was measured is kept")
        raise


def run(cfg: DictConfig, folder: Path) -> Summary:
    """Tunes, deploys and reports one workload.

    Args:
        cfg: the composed configuration.
        folder: where results go; a run that was interrupted there goes on.

    Raises:
        ValueError: settings, workload, hardware or history that cannot be used.
    """
    job = _job(cfg)
    context = start(cfg, folder)
    with context.tracker, Progress() as progress:
        if context.earlier.n_trials:
            progress.message(
                f"{folder} holds {context.earlier.n_trials} trials of an earlier run: going on "
                "from there (fresh=true measures anew)"
            )
        for text in context.remarks():
            progress.message(text)
        progress.stage("learn from history")
        n_source = sum(len(source.trials) for source in job.sources)
        progress.message(
            f"{n_source} trials of {len(job.sources)} source tasks"
            if n_source
            else "no trials to learn from: random tuning sets instead of chosen ones"
        )
        pretrain_s = context.method.prepare_timed(job.sources, Path(cfg.cache), int(cfg.seed))
        if job.local.sources:
            own = sum(len(trials) for trials in job.known().values())
            progress.message(
                f"{job.local.n_trials} trials of the local history beside them, {own} of these "
                "very layers"
            )
            context.method.learn_further(job.local.of_kind(job.hardware))
        if takes_visits(cfg):
            results, untuned, tuned = by_visits(cfg, job, context, progress)
            chosen: list[str | None] = [None] * len(results)
        else:
            untuned = _untuned(cfg, job, progress)
            results, chosen = _tuned(cfg, job, context, progress)
            tuned = _deployed(cfg, job, results, chosen, untuned, folder, progress)
        summary = summarise(
            results,
            workload=cfg.workload.name,
            model=context.method.name,
            hardware=job.hardware,
            seed=cfg.seed,
            pretrain_s=pretrain_s,
            sources=job.sources,
            untuned_latency_ms=None if untuned is None else untuned.latency_ms,
            latency_ms=None if tuned is None else tuned.latency_ms,
        ).with_choices(chosen)
        summary.write(folder / "summary.json")
        if summary.trials > 0:
            done = Run.read(folder)
            write_report(done)
            context.tracker.end(done)
        else:
            progress.message("no trial was made, and so there is no report of them")
    print_summary(summary, folder)
    return summary


def _job(cfg: DictConfig) -> Job:
    """Reads machine, network and history.

    Raises:
        ValueError: one that cannot be used.
    """
    if cfg.workload.name == "tables":
        raise ValueError("workload=tables is no network: search recorded tables by hardware=replay")
    machine.require_linker()
    hardware, remarks = _hardware(cfg)
    with Progress() as progress:
        progress.stage("import network")
        workload = networks.of_config(cfg.workload)
        for text in (*remarks, *workload.remarks):
            progress.message(text)
        network = lowered(workload, hardware)
        functions = extract(network, hardware)
        targets = _targets(functions, hardware, progress)
        if not targets:
            raise ValueError(f"workload {cfg.workload.name} has no layer that can be tuned")
        progress.stage("read history")
        sources = _sources(cfg, hardware, [t.problem.task for t in targets], progress)
        local = LocalHistory.read(Path(cfg.history.local)) if cfg.history.local else LocalHistory()
        for text in local.remarks:
            progress.message(text)
    flush_mb = cfg.measure.cache_flush_mb
    flush_mb = _constants_mb(targets) if flush_mb is None else flush_mb
    settings = {name: value for name, value in cfg.measure.items() if name != "where"}
    options = MeasureOptions(**{**settings, "cache_flush_mb": flush_mb})
    wanted = _wanted(targets, cfg.workload.tasks)
    return Job(hardware, workload, network, functions, wanted, sources, options, local)


def _hardware(cfg: DictConfig) -> tuple[Hardware, tuple[str, ...]]:
    """What is tuned for, and what was guessed of it.

    Raises:
        ValueError: there is no such thing, or this cannot measure it.
    """
    if cfg.hardware.kind == "llvm":
        return machine.detect(cfg.hardware.num_cores), ()
    if cfg.hardware.kind != "cuda":
        raise ValueError(f"hardware.kind={cfg.hardware.kind}: choose llvm, cuda or replay")
    named = (cfg.hardware.get("device"), cfg.hardware.get("arch"))
    # What is named may be elsewhere; what is measured here has to be here.
    found = machine.gpu(*named) if cfg.measure.where == "folder" else machine.gpu()
    if cfg.measure.where == "local" and any(named) and machine.gpu(*named) != found:
        raise ValueError(f"the GPU of this machine is an {found.hardware.name}, not what is named")
    return found.hardware, found.remarks


def _tuned(
    cfg: DictConfig, job: Job, context: RunContext, progress: Progress
) -> tuple[list[SourceTask], list[str | None]]:
    """The targets with their trials, the best of each checked; without trials, what is chosen.

    Raises:
        ValueError: nothing is to be tried, and there was nothing to learn from.
    """
    with TrialLog(context.log_path) as log:
        source = provenance.collect(job.hardware, cfg.seed, machine.versions(), job.options)
        log.provenance(source)
        modules = {t.problem.task.key: t.function.mod for t in job.targets}
        with LocalMeasurer(job.hardware, modules, job.options) as measurer:
            tuning = Tuning(context, log, source.id, progress, shared(cfg, measurer), job.known())
            progress.stage("tune")
            results = tuning.all([(t.number, t.problem) for t in job.targets], int(cfg.seed))
            progress.stage("check schedules")
            results = [verify_best(result, measurer, log) for result in results]
            chosen: list[str | None] = [None] * len(results)
            if context.budget.trials == 0 and isinstance(context.method, ChoosingMethod):
                for place, (target, result) in enumerate(zip(job.targets, results, strict=True)):
                    if best_trial(result.trials) is None:
                        seed = np.random.SeedSequence([int(cfg.seed), target.number])
                        keys = context.method.choices(target.problem, seed, CHOICES)
                        chosen[place] = choose(keys, result.task, measurer, log)
            return results, chosen


def _untuned(cfg: DictConfig, job: Job, progress: Progress) -> deploy.NetworkTiming | None:
    """The network timed without schedules; None where that is not asked for.

    First of all, for a network that was imported wrong is not worth tuning.

    Raises:
        ValueError: it computes something else than in ONNX Runtime.
    """
    if cfg.workload.tasks is not None or not cfg.deploy.untuned:
        return None
    progress.stage("time the untuned network")
    untuned = deploy.time_untuned(
        job.network,
        job.hardware,
        job.workload.inputs,
        repeats=1,
        throttle_wait_s=job.options.throttle_wait_s,
    )
    check_against_reference("untuned", job, untuned.outputs, job.hardware, progress)
    return untuned


def _deployed(
    cfg: DictConfig,
    job: Job,
    results: Sequence[SourceTask],
    chosen: Sequence[str | None],
    untuned: deploy.NetworkTiming | None,
    folder: Path,
    progress: Progress,
) -> deploy.NetworkTiming | None:
    """The network timed with the best schedules; None where only a part of it was tuned.

    Raises:
        ValueError: it computes something else than without, or than in ONNX Runtime.
    """
    progress.stage("deploy")
    shutil.rmtree(folder / "best", ignore_errors=True)
    best = best_schedules(job.targets, results, chosen)
    if cfg.workload.tasks is not None:
        deploy.write_database(folder / "best", job.hardware, best)
        progress.message("workload.tasks is a part of the network, which is not built")
        return None
    build_network(job, best, folder)
    tuned = deploy.time_network(
        folder / "model.so",
        job.hardware,
        job.workload.inputs,
        repeats=cfg.deploy.repeats,
        throttle_wait_s=cfg.measure.throttle_wait_s,
    )
    if untuned is not None:
        tolerance = reference.tolerance(job.workload.model)
        same = reference.compare_outputs(untuned.outputs, tuned.outputs, tolerance)
        if not same.ok:
            raise ValueError(f"the tuned network is wrong: {same}")
        progress.message(f"tuned and untuned network agree: {same}")
    found = check_against_reference("tuned", job, tuned.outputs, job.hardware, progress)
    if any(chosen) and found is None and untuned is None:
        raise ValueError(
            "budget.trials=0: nothing is there to check the network against; give "
            "deploy.untuned=true"
        )
    write_card(job, folder, results, untuned, tuned, found)
    return tuned


def _targets(
    functions: Sequence[FusedFunction], hardware: Hardware, progress: Progress
) -> list[Target]:
    """The functions to tune; which layers are left to the default schedule is said."""
    target = tvm.target.Target(hardware.target)
    found: list[Target] = []
    for function in functions:
        if function.task is None:
            continue
        try:
            schedules = ScheduleSpace(function.mod, target)
        except NoSpaceError as reason:
            progress.message(f"{function.task.title} runs by the default schedule: {reason}")
            continue
        problem = Problem(function.task, schedules.space)
        found.append(Target(len(found) + 1, function, schedules, problem))
    return found


def _constants_mb(targets: Sequence[Target]) -> float:
    """Size of the weights of all layers [MB]."""
    return sum(t.function.weight * t.problem.task.constant_bytes for t in targets) / 2**20


def _wanted(targets: Sequence[Target], patterns: Sequence[str] | None) -> list[Target]:
    """The targets of which ``workload.tasks`` finds title, name or key; tuned as among all."""
    finds = pattern_matcher(patterns)
    names = titles([t.problem.task for t in targets])
    wanted = [
        t
        for t, name in zip(targets, names, strict=True)
        if any(finds(text) for text in (name, t.function.name, t.problem.task.key))
    ]
    if not wanted:
        raise ValueError(f"workload.tasks finds none of the layers: {'; '.join(names)}")
    return wanted


def _sources(
    cfg: DictConfig, hardware: Hardware, tasks: Sequence[Task], progress: Progress
) -> list[SourceTask]:
    """The tasks to learn from: none has the shape of a target (the paper's setting: new tasks)."""
    any_hardware = cfg.history.hardware == "any"
    shipped = cfg.history.path is None
    history = History.read(SHIPPED if shipped else Path(cfg.history.path))
    shapes = set() if cfg.history.own_layers else {task.shape_key for task in tasks}
    try:
        sources = history.sources(hardware, shapes, any_hardware=any_hardware)
    except HistoryError as error:
        if not shipped:
            raise
        # The user never asked for the shipped history, so that it must not stop the run.
        if all(source.task.hardware.kind != hardware.kind for source in history):
            progress.message(f"nothing is shipped for {hardware.kind} targets")
            sources = []
        else:
            progress.message(f"{error}; learning from it all the same")
            sources = history.sources(hardware, shapes, any_hardware=True)
    if (logs := cfg.history["import"]) is not None:
        try:
            imported = History.of(import_logs([Path(logs)]).sources)
            sources += imported.sources(hardware, shapes, any_hardware=any_hardware)
        except ValueError as error:
            raise ValueError(f"history.import={logs}: {error}") from error
    if cfg.history.max_trials is None:
        return sources
    return subset(sources, cfg.history.max_trials, cfg.seed)
