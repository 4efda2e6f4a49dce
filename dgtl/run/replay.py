"""A run on recorded tables: every table is searched as a task, in simulated time.

Nothing is built or run. A target learns from the other tables, small ones included, but those of
its fold; the method is prepared once per fold. The folder holds ``trials.jsonl`` (a history),
``summary.json`` and ``replay.json``: which tables, what became of configurations outside of them,
and how often.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.utils import instantiate

from dgtl.core.files import write_whole
from dgtl.core.history import SourceTask, TrialLog, subset
from dgtl.core.records import throughput
from dgtl.core.titles import titles
from dgtl.features.problem import Problem
from dgtl.measure import provenance
from dgtl.measure.replay import ReplayMeasurer
from dgtl.methods.loop import TaskSearch
from dgtl.report.console import print_summary
from dgtl.report.html import write_report
from dgtl.report.progress import Progress
from dgtl.results.run_folder import Run
from dgtl.results.summary import Summary, summarise
from dgtl.run.searched import search_shown
from dgtl.run.start import resolved, start
from dgtl.tables.folds import Fold, layer_folds, network_fold, network_folds
from dgtl.tables.pool import PoolProblem, PoolSpace
from dgtl.tables.read import Tables, read_tables
from dgtl.tables.select import choose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig

    from dgtl.core.records import Trial
    from dgtl.methods.base import Method
    from dgtl.run.start import RunContext

OUTSIDE = ("pool", "nearest", "refuse")


def run(cfg: DictConfig, folder: Path) -> Summary:
    """Searches recorded tables with one method.

    Args:
        cfg: the composed configuration, with ``hardware=replay workload=tables``.
        folder: where results go; a run that was interrupted there goes on.

    Raises:
        ValueError: settings or tables that cannot be used.
    """
    _check(cfg)
    config = resolved(cfg)
    # All that may be wrong comes before `start`, which sets earlier results aside.
    with Progress() as progress:
        progress.stage("read tables")
        read = read_tables(config["hardware"]["tables"], cfg.hardware.name, cfg.hardware.min_rows)
        folds = _folds(cfg.workload.leave_out, config["workload"], read)

    context = start(cfg, folder)
    with context.tracker, Progress() as progress:
        rows = sum(len(table.trials) for table in read.tables)
        for text in context.remarks():
            progress.message(text)
        progress.message(
            f"{len(read.tables)} tables of {read.tables[0].task.hardware.name}, {rows} "
            f"configurations; {len(read.small)} smaller ones only learnt from"
        )
        with TrialLog(context.log_path) as log:
            if not context.earlier.n_trials:
                for record in read.provenances:
                    log.provenance(record)
            searched = _Search(cfg, context, read, folds, log, progress)
            for fold in folds:
                searched.fold(fold)

        summary = summarise(
            searched.results,
            workload=cfg.workload.name,
            model=context.method.name,
            hardware=read.tables[0].task.hardware,
            seed=cfg.seed,
            pretrain_s=searched.pretrain_s,
            sources=list(searched.sources.values()),
            untuned_latency_ms=None,
            latency_ms=None,
        )
        summary.write(folder / "summary.json")
        outside = _outside(searched.results, read)
        _write_replay(folder, context, folds, read, outside)
        done = Run.read(folder)
        write_report(done)
        context.tracker.end(done)
    print_summary(summary, folder)
    print(_said(cfg.hardware.outside, outside, summary.trials))
    return summary


def _check(cfg: DictConfig) -> None:
    if "leave_out" not in cfg.workload:
        raise ValueError(
            "hardware=replay searches recorded tables: give workload=tables; workload.networks and "
            "workload.tasks choose among them"
        )
    if cfg.workload.leave_out not in ("layer", "network"):
        raise ValueError(f"workload.leave_out={cfg.workload.leave_out}: choose layer or network")
    if cfg.hardware.outside not in OUTSIDE:
        raise ValueError(f"hardware.outside={cfg.hardware.outside}: choose {' or '.join(OUTSIDE)}")
    if cfg.history.path is not None:
        raise ValueError("a replay learns from its own tables: leave out history.path")
    if (logs := cfg.history["import"]) is not None:
        raise ValueError(
            "a replay learns from its own tables, which may be AutoTVM logs: give "
            f"hardware.tables=[{logs}] instead of history.import"
        )
    if isinstance(cfg.hardware.tables, str):
        raise ValueError("hardware.tables is a list of paths: hardware.tables=[PATH,...]")
    for path in cfg.hardware.tables or ():
        if not Path(path).exists():
            raise ValueError(f"hardware.tables: {path}: no such file or folder")


def _folds(leave_out: str, workload: dict[str, Any], read: Tables) -> list[Fold]:
    if (network := workload["network"]) is not None:
        return [network_fold(read, choose(read.tables, workload["tasks"], [network]), network)]
    targets = choose(read.tables, workload["tasks"], workload["networks"])
    if leave_out == "network":
        return network_folds(read, targets, workload["networks"])
    return layer_folds(read, targets, workload["folds"])


class _Search:
    """The search of all tables, fold by fold, with what comes of it.

    Attributes:
        results: every target with its trials.
        sources: what was learnt from, by task key.
        pretrain_s: seconds of all preparations.
    """

    def __init__(
        self,
        cfg: DictConfig,
        context: RunContext,
        read: Tables,
        folds: Sequence[Fold],
        log: TrialLog,
        progress: Progress,
    ):
        self._cfg, self._context, self._earlier = cfg, context, context.earlier
        self._log, self._progress = log, progress
        # The seed of a task is its own, whichever others are searched.
        self._number = {table.task.key: i for i, table in enumerate(read.tables, start=1)}
        tasks = [table.task for fold in folds for table in fold.targets]
        self._titles = dict(zip((task.key for task in tasks), titles(tasks), strict=True))
        trials = [trial for table in read.tables for trial in table.trials]
        self._pools: dict[str, PoolSpace] = {}
        nearest = self._nearest if cfg.hardware.outside == "nearest" else None
        self._measurer = ReplayMeasurer.of(trials, nearest)
        self.results: list[SourceTask] = []
        self.sources: dict[str, SourceTask] = {}
        self.pretrain_s = 0.0

    def fold(self, fold: Fold) -> None:
        """Learns from the sources of a fold and searches its targets."""
        sources = fold.sources
        if self._cfg.history.max_trials is not None:
            sources = tuple(subset(sources, self._cfg.history.max_trials, self._cfg.seed))
        self.sources |= {source.task.key: source for source in sources}
        found = [self._earlier.trials(t.task.key) for t in fold.targets]
        if self._cfg.workload.network is None and all(map(self._complete, found)):
            self._keep(fold, found)
            return
        method = self._prepared(fold, sources)
        searches = [self._search(method, *each) for each in zip(fold.targets, found, strict=True)]
        names = [self._titles[table.task.key] for table in fold.targets]
        # What one table leaves of a budget is not another's, unless they are a network.
        alone = self._cfg.workload.network is None
        search_shown(searches, names, self._context, self._progress, alone=alone)
        self._keep(fold, [each.trials for each in searches])

    def _complete(self, trials: Sequence[Trial]) -> bool:
        return len(trials) >= self._context.budget.trials

    def _keep(self, fold: Fold, found: Sequence[Sequence[Trial]]) -> None:
        self.results += [
            SourceTask(table.task, table.space, tuple(trials))
            for table, trials in zip(fold.targets, found, strict=True)
        ]

    def _prepared(self, fold: Fold, sources: tuple[SourceTask, ...]) -> Method:
        self._progress.stage(f"learn for {fold.name}")
        n = sum(len(source.trials) for source in sources)
        self._progress.message(f"{n} trials of {len(sources)} source tasks")
        method: Method = instantiate(self._cfg.model)
        self.pretrain_s += method.prepare_timed(sources, Path(self._cfg.cache), int(self._cfg.seed))
        self._progress.stage(f"search {fold.name}")
        return method

    def _search(self, method: Method, table: SourceTask, recorded: Sequence[Trial]) -> TaskSearch:
        problem = self._problem(table)
        if not recorded:
            self._log.task(table.task, table.space)

        def on_trial(trial: Trial) -> None:
            self._log.trial(trial)
            self._progress.trial(trial, problem.gflops(trial) if trial.ok else None)

        seed = np.random.SeedSequence([int(self._cfg.seed), self._number[table.task.key]])
        return TaskSearch(
            problem,
            method.tuner(problem, seed),
            self._measurer,
            recorded={trial.config: trial for trial in recorded},
            on_trial=on_trial,
        )

    def _nearest(self, task: str, configs: Sequence[str]) -> list[str]:
        pool = self._pools[task]
        return pool.keys(pool.parse_all(list(configs)))

    def _problem(self, table: SourceTask) -> Problem:
        outside = self._cfg.hardware.outside
        if outside == "refuse":
            return Problem(table.task, table.space)
        rows = table.space.of_trials(table.trials)
        pool = PoolSpace(table.space, rows)
        if outside == "pool":
            return PoolProblem(table.task, pool)
        self._pools[table.task.key] = pool
        return Problem(table.task, table.space)


def _write_replay(
    folder: Path, context: RunContext, folds: list[Fold], read: Tables, outside: int
) -> None:
    config, budget = context.config, context.budget
    report = {
        "tables": config["hardware"]["tables"],
        "hardware": read.tables[0].task.hardware.name,
        "min_rows": config["hardware"]["min_rows"],
        "outside": config["hardware"]["outside"],
        "asked_outside": outside,
        "trials": budget.trials,
        "seconds": budget.seconds,
        "network": config["workload"]["network"],
        "scheduler": context.scheduler.name,
        "leave_out": config["workload"]["leave_out"],
        "folds": {fold.name: [table.task.key for table in fold.targets] for fold in folds},
        "small": [table.task.key for table in read.small],
        "skipped": list(read.skipped),
        "best_gflops": {
            table.task.key: float(throughput(table.task, table.trials).max())
            for fold in folds
            for table in fold.targets
        },
        "revision": provenance.revision(),
    }
    write_whole(folder / "replay.json", json.dumps(report, indent=2) + "\n")


def _outside(results: Sequence[SourceTask], read: Tables) -> int:
    """How many trials are of configurations that were never recorded."""
    recorded = {(t.task, t.config) for table in read.tables for t in table.trials}
    return sum((t.task, t.config) not in recorded for result in results for t in result.trials)


def _said(policy: str, outside: int, trials: int) -> str:
    """What became of configurations outside of the tables, in one line."""
    if policy == "pool":
        return "Replay: the search was confined to the recorded configurations."
    did = {"nearest": "answered by the nearest recorded one", "refuse": "refused"}[policy]
    return f"Replay: {outside} of {trials} configurations were never recorded and {did}."
