"""One run, put together: workload, history, method, measurement, deployment, report.

The one place that knows all parts; nothing imports it but `run.py` and `experiments/`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import tvm
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from dgtl.core.history import HistoryError, SourceTask, TrialLog
from dgtl.core.local_history import LocalHistory
from dgtl.core.titles import titles
from dgtl.features.problem import Problem
from dgtl.measure import provenance
from dgtl.measure.protocol import MeasureOptions, VisitNeededError
from dgtl.report.console import print_summary
from dgtl.report.html import write_report
from dgtl.report.progress import Progress
from dgtl.results.run_folder import Run, is_complete
from dgtl.results.summary import Summary, summarise
from dgtl.run import replay
from dgtl.run.checks import check
from dgtl.run.command import JobEndedError
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
from dgtl.run.sources import read_sources
from dgtl.run.start import RunContext, resolved, start, takes_visits
from dgtl.run.tuning import Tuning, verified
from dgtl.run.visits import by_visits
from dgtl.tables.select import pattern_matcher
from dgtl.tvm import hardware as machine
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.deploy import reference
from dgtl.tvm.measure.local import LocalMeasurer
from dgtl.tvm.measure.machine_lock import machine_lock
from dgtl.tvm.measure.rpc import RPCMeasurer, device_hardware
from dgtl.tvm.measure.rpc import time_network as time_network_by_rpc
from dgtl.tvm.rpc.farm import RPCSettings
from dgtl.tvm.toolchain import require_toolchain
from dgtl.tvm.workload import networks, winograd
from dgtl.tvm.workload.sketches import NoSpaceError, ScheduleSpace
from dgtl.tvm.workload.tasks import FusedFunction, extract

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omegaconf import DictConfig

    from dgtl.core.records import Hardware

UNTUNED = 2
"""Exit code of a run with a layer of which no trial ran, see ``deploy.allow_untuned``."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no more of the user's quota, no larger file."""

VISIT_NEEDED = 3
"""Exit code of a run that goes on when its visit to the device is done."""


def main(cfg: DictConfig) -> None:
    """Runs what the configuration says.

    Raises:
        JobEndedError, SystemExit: the exit code is not 0; the user was told why.
    """
    runner = replay.run if cfg.hardware.kind == "replay" else run
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        check(cfg, folder)
        if not cfg.fresh and is_complete(folder, resolved(cfg)):
            print(f"already complete: {folder} (fresh=true runs it again)")
            summary = Summary.read(folder / "summary.json")
        else:
            summary = runner(cfg, folder)
        if summary.nothing_ran:
            raise _ended(UNTUNED, "error: no trial ran: report.html says why")
        unmeasured = [*summary.untuned, *(() if cfg.budget.trials == 0 else summary.chosen)]
        if runner is run and unmeasured and not cfg.deploy.allow_untuned:
            raise _ended(UNTUNED)
    except (HydraException, OmegaConfBaseException) as error:
        raise _ended(1, f"error: {str(error.__cause__ or error).splitlines()[0]}") from error
    except (ValueError, HistoryError) as error:
        raise _ended(1, f"error: {error}") from error
    except VisitNeededError as visit:
        print(visit)
        raise _ended(VISIT_NEEDED) from visit
    except OSError as error:
        if error.errno in DISK_FULL:
            text = (
                f"error: the disk is full ({error.filename or folder}): {error.strerror}; what was "
                "measured is kept, and the same command goes on from here"
            )
            raise _ended(1, text) from error
        raise


def _ended(code: int, text: str = "") -> BaseException:
    """The end of a job; what there is to say is said now, for a sweep ends later.

    Of a sweep the other jobs go on. What Hydra says of an error in a single one is no news.
    """
    if text:
        print(text, file=sys.stderr, flush=True)
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    return JobEndedError(code) if sweep else SystemExit(code)


def run(cfg: DictConfig, folder: Path) -> Summary:
    """Tunes, deploys and reports one workload.

    Args:
        cfg: the composed configuration.
        folder: where results go; a run that was interrupted there goes on.

    Raises:
        ValueError: settings, workload, hardware or history that cannot be used.
    """
    with _machine_to_itself(cfg):
        return _run(cfg, folder)


def _run(cfg: DictConfig, folder: Path) -> Summary:
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


@contextlib.contextmanager
def _machine_to_itself(cfg: DictConfig) -> Iterator[None]:
    """Holds the lock of this machine, where this machine measures, all through the run.

    Two runs that took turns would both say longer search times than they need.

    Raises:
        ValueError: another program measures on this machine.
    """
    if cfg.measure.where != "local":
        yield
        return
    lock = machine_lock()
    try:
        lock.acquire(timeout_s=0)
    except TimeoutError as error:
        raise ValueError(f"{error}: start this when that has ended") from error
    try:
        yield
    finally:
        lock.release()


def _job(cfg: DictConfig) -> Job:
    """Reads machine, network and history.

    Raises:
        ValueError: one that cannot be used.
    """
    if cfg.workload.name == "tables":
        raise ValueError("workload=tables is no network: search recorded tables by hardware=replay")
    require_toolchain()
    hardware, remarks = _hardware(cfg)
    with Progress() as progress:
        progress.stage("import network")
        workload = networks.of_config(cfg.workload)
        for text in (*remarks, *workload.remarks):
            progress.message(text)
        network = lowered(workload, hardware)
        functions = extract(network, hardware)
        for text in _filtered(functions):
            progress.message(text)
        targets = _targets(functions, hardware, progress)
        if not targets:
            raise ValueError(f"workload {cfg.workload.name} has no layer that can be tuned")
        progress.stage("read history")
        sources = read_sources(cfg, hardware, [t.problem.task for t in targets], progress)
        local = LocalHistory.read(Path(cfg.history.local)) if cfg.history.local else LocalHistory()
        for text in local.remarks:
            progress.message(text)
    flush_mb = cfg.measure.cache_flush_mb
    flush_mb = _constants_mb(targets) if flush_mb is None else flush_mb
    settings = {name: value for name, value in cfg.measure.items() if name not in ("where", "rpc")}
    options = MeasureOptions(**{**settings, "cache_flush_mb": flush_mb})
    wanted = _wanted(targets, cfg.workload.tasks)
    return Job(hardware, workload, network, functions, wanted, sources, options, local)


def _hardware(cfg: DictConfig) -> tuple[Hardware, tuple[str, ...]]:
    """What is tuned for, and what was guessed of it.

    Raises:
        ValueError: there is no such thing, or this cannot measure it.
    """
    if cfg.hardware.kind == "llvm" and cfg.measure.where == "rpc":
        hardware = device_hardware(_rpc(cfg), cfg.hardware.num_cores)
        return hardware, (f"devices: {hardware.name}, {hardware.num_cores} cores each",)
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


def _filtered(functions: Sequence[FusedFunction]) -> list[str]:
    """Says which convolutions are computed in another way than the model has them."""
    n = sum(function.weight for function in functions if winograd.INVERSE in function.name)
    if n == 0:
        return []
    which = "a 3x3 convolution is" if n == 1 else f"{n} 3x3 convolutions are"
    return [
        f"{which} computed with fewer multiplications, as matrix products: "
        "workload.winograd=false leaves that"
    ]


def _tuned(
    cfg: DictConfig, job: Job, context: RunContext, progress: Progress
) -> tuple[list[SourceTask], list[str | None]]:
    """The targets with their trials, the best of each checked; what is chosen without trials.

    Raises:
        ValueError: nothing is to be tried, and there was nothing to learn from.
    """
    with TrialLog(context.log_path) as log:
        source = provenance.collect(job.hardware, cfg.seed, machine.versions(), job.options)
        log.provenance(source)
        modules = {t.problem.task.key: t.function.mod for t in job.targets}
        with _measurer(cfg, job, modules, progress) as measurer:
            tuning = Tuning(context, log, source.id, progress, shared(cfg, measurer), job.known())
            progress.stage("tune")
            targets = [(t.number, t.problem) for t in job.targets]
            results = tuning.all(targets, int(cfg.seed))
            results = tuning.finals(results, measurer, cfg.deploy.finalists)
            progress.stage("check schedules")
            results = verified(results, measurer, log)
            chosen = tuning.choices(targets, results, measurer, int(cfg.seed))
            return results, chosen


def _measurer(
    cfg: DictConfig, job: Job, modules: dict[str, tvm.ir.IRModule], progress: Progress
) -> LocalMeasurer | RPCMeasurer:
    if cfg.measure.where == "rpc":
        return RPCMeasurer(job.hardware, modules, job.options, _rpc(cfg), progress.message)
    return LocalMeasurer(job.hardware, modules, job.options)


def _rpc(cfg: DictConfig) -> RPCSettings:
    return RPCSettings(**cfg.measure.rpc)


def _timer(cfg: DictConfig) -> deploy.Timer:
    """Where whole networks run: on this machine, or on one of the devices."""
    if cfg.measure.where == "rpc":
        return functools.partial(time_network_by_rpc, _rpc(cfg))
    return deploy.here


def _untuned(cfg: DictConfig, job: Job, progress: Progress) -> deploy.NetworkTiming | None:
    """The network timed without schedules; None where that is not asked for.

    First of all, for a network that was imported wrong is not worth tuning.

    Raises:
        ValueError: it computes something else than in ONNX Runtime.
    """
    if cfg.workload.tasks is not None or not cfg.deploy.untuned:
        return None
    progress.stage("time the untuned network")

    def timed(hardware: Hardware) -> deploy.NetworkTiming:
        return deploy.time_untuned(
            job.network,
            hardware,
            job.workload.inputs,
            repeats=1,
            throttle_wait_s=job.options.throttle_wait_s,
            timer=_timer(cfg),
        )

    untuned = timed(job.hardware)
    try:
        check_against_reference("untuned", job, untuned.outputs, job.hardware, progress)
    except ValueError:
        if job.hardware.kind != "llvm":
            raise
        untuned = timed(machine.unvectorised(job.hardware))
        if not reference.compare(job.workload, untuned.outputs).ok:
            raise
        progress.message(
            "LLVM's vectoriser computes the untuned network wrongly: it is timed as built without"
        )
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
        timer=_timer(cfg),
    )
    if untuned is not None:
        tolerance = reference.tolerance(job.workload.model)
        same = reference.compare_outputs(untuned.outputs, tuned.outputs, tolerance)
        if not same.ok:
            raise ValueError(f"the tuned network is wrong: {same}")
        progress.message(f"tuned and untuned network agree: {same}")
    found = check_against_reference("tuned", job, tuned.outputs, job.hardware, progress)
    if cfg.budget.trials == 0 and found is None and untuned is None:
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
