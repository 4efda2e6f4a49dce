"""Finished replays read back: every search judged on its table."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core.history import History
from dgtl.core.records import throughput
from dgtl.results import metrics
from dgtl.results.summary import Summary
from dgtl.tables.read import read_tables
from experiments.shared.models import overrides_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask


RESULT_NEUTRAL_KEYS = ("model", "workload", "seed", "fresh", "cache", "tracking", "hydra")
"""Settings that do not make another method: shown otherwise, or without effect on its results."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A recorded table, as far as comparing needs it.

    Args:
        best: throughput of its best row [GFLOPS].
        trial_s: mean seconds of a trial, failures included.
        baseline: expected curve of random search [n], as a fraction of the best.
        timed: the same after the seconds that 1, ..., n mean trials take [n].
        length: trials that scores look at.
    """

    best: float
    trial_s: float
    baseline: NDArray[np.float64]
    timed: NDArray[np.float64]
    length: int

    @classmethod
    def of(cls, recorded: SourceTask, n: int) -> Table:
        """With the curve of random search over ``n`` trials."""
        values = throughput(recorded.task, recorded.trials)
        best = float(values.max())
        baseline = metrics.random_search_curve(values / best, n)
        costs_s = np.array([trial.search_s for trial in recorded.trials])
        trial_s = float(costs_s.mean())
        timed = metrics.random_search_in_time(
            values / best, costs_s, trial_s * np.arange(1, n + 1), np.random.default_rng(0)
        )
        length = metrics.score_length(values / best, baseline)
        return cls(best, trial_s, baseline, timed, length)


@dataclasses.dataclass(frozen=True)
class Search:
    """One method on one table with one seed.

    Args:
        table, model, seed: which.
        trials: how many it made.
        search_s: how long it took [s].
        curve: best so far as a fraction of the table's best after 1, ..., n trials [n].
        timed: the same after the seconds that 1, ..., n mean trials of the table take [n].
        score, score_timed: against random search, by trials and by seconds.
    """

    table: str
    model: str
    seed: int
    trials: int
    search_s: float
    curve: NDArray[np.float64]
    timed: NDArray[np.float64]
    score: float
    score_timed: float

    @classmethod
    def of(cls, found: SourceTask, table: Table, model: str, seed: int) -> Search:
        """Judges the trials of one search."""
        counts = np.arange(1, len(table.baseline) + 1)
        best = metrics.best_so_far(throughput(found.task, found.trials) / table.best)
        ends_s = np.cumsum([trial.search_s for trial in found.trials])
        curve = metrics.after_trials(best, counts)
        timed = metrics.after_seconds(best, ends_s, counts * table.trial_s)
        scores = [
            metrics.performance_score(own[: table.length], random[: table.length], 1.0)
            for own, random in ((curve, table.baseline), (timed, table.timed))
        ]
        return cls(found.task.key, model, seed, len(best), float(ends_s[-1]), curve, timed, *scores)

    def row(self) -> dict[str, Any]:
        """As a line of ``compare.csv``."""
        at = [n for n in COUNTS if n <= len(self.curve)]
        return {
            "table": self.table,
            "model": self.model,
            "seed": self.seed,
            "trials": self.trials,
            **{f"best_fraction_at_{n}": round(float(self.curve[n - 1]), 5) for n in at},
            "score": round(self.score, 5),
            **{f"best_fraction_in_time_of_{n}": round(float(self.timed[n - 1]), 5) for n in at},
            "score_in_time": round(self.score_timed, 5),
            "search_s": round(self.search_s, 3),
        }


@dataclasses.dataclass(frozen=True)
class Run:
    """A folder that `dgtl.run.replay` wrote."""

    folder: Path
    summary: Summary
    report: dict[str, Any]
    overrides: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> Run:
        overrides = overrides_of(folder) or []
        method_overrides = [
            o
            for o in overrides
            if o.lstrip("+~").split("=")[0].split(".")[0] not in RESULT_NEUTRAL_KEYS
        ]
        method_overrides += [o for o in overrides if o.startswith(("model.", "workload.folds="))]
        report = json.loads((folder / "replay.json").read_text())
        return cls(folder, Summary.read(folder / "summary.json"), report, tuple(method_overrides))


def read_runs(*folders: Path) -> dict[str, list[Run]]:
    """All finished runs below folders, by the name of their method, see `by_name`.

    Raises:
        ValueError: no runs, or runs of different tables.
    """
    return by_name(finished_runs(*folders), lambda run: run.summary.model)


def finished_runs(*folders: Path) -> list[Run]:
    """All finished runs below folders.

    Raises:
        ValueError: no runs, or runs of different tables.
    """
    where = ", ".join(map(str, folders))
    replays = {path.parent for folder in folders for path in folder.rglob("replay.json")}
    # A run that was begun anew, and not ended, has no summary.
    found = sorted(folder for folder in replays if (folder / "summary.json").exists())
    runs = [Run.read(folder) for folder in found]
    if not runs:
        raise ValueError(f"no finished replay in {where}: python run.py hardware=replay ...")
    for name in ("tables", "hardware", "min_rows", "leave_out", "outside"):
        values = {json.dumps(run.report[name]) for run in runs}
        if len(values) > 1:
            raise ValueError(
                f"the runs in {where} differ in {name} ({', '.join(sorted(values))}): compare "
                "them one by one, giving the folder"
            )
    return runs


def by_name(runs: Sequence[Run], method: Callable[[Run], str]) -> dict[str, list[Run]]:
    """Runs by the names of their methods.

    Runs of one method with different settings are different methods: what not all runs have set
    is part of the name.
    """
    common = set.intersection(*(set(run.overrides) for run in runs))
    methods: dict[str, list[Run]] = {}
    for run in runs:
        name = " ".join([method(run), *(o for o in run.overrides if o not in common)])
        methods.setdefault(name, []).append(run)
    return methods


def read_searches(methods: dict[str, list[Run]]) -> tuple[dict[str, Table], list[Search]]:
    """The tables that every run searched, and all searches of them, at equal numbers of trials.

    Raises:
        ValueError: no table that all runs searched, or two runs of one method with one seed.
    """
    runs = [run for same in methods.values() for run in same]
    report = runs[0].report
    n = min(run.report["trials"] for run in runs)
    recorded = read_tables(report["tables"], report["hardware"], report["min_rows"]).tables
    keys = set.intersection(*({k for f in r.report["folds"].values() for k in f} for r in runs))
    tables = {t.task.key: Table.of(t, n) for t in recorded if t.task.key in keys}
    if not tables:
        raise ValueError("there is no table that all runs searched")
    searches = []
    for model, same in methods.items():
        seeds = [run.summary.seed for run in same]
        if len(set(seeds)) < len(seeds):
            folders = ", ".join(str(run.folder) for run in same)
            raise ValueError(f"{model} ran more than once with the same seed: {folders}")
        for run in same:
            for found in History.read(run.folder / "trials.jsonl"):
                if found.task.key in tables:
                    found = dataclasses.replace(found, trials=found.trials[:n])
                    table = tables[found.task.key]
                    searches.append(Search.of(found, table, model, run.summary.seed))
    return tables, searches


COUNTS = (16, 32, 64, 128, 256)
"""Trials at which methods are compared."""
