"""Compares the methods that searched the same recorded tables.

    python run.py -m model=dgp,autotvm,chameleon,gga,xgb_transfer,metaschedule,random \\
        hardware=replay workload=tables 'seed=range(0,5)'
    python -m experiments.compare

Prints the table of methods and writes ``compare.csv`` (one row per table, method and seed),
``compare.md``, ``compare.html`` and the curves to ``results/``. Every method is judged at equal
trials and at equal seconds of simulated search time; failures cost theirs. Of a table, quality is
throughput as a fraction of its best. Scores are those of `dgtl.results.metrics.performance_score`,
against the expected curve of random search on the table, up to where that is as good as done.
Intervals are of 95 %, by a bootstrap over tables; differences to the reference are paired by table
and seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

from dgtl.core.history import History
from dgtl.report import style
from dgtl.results import metrics
from dgtl.results.summary import Summary
from dgtl.tables.read import read_tables
from experiments.compare.report import (
    COUNTS,
    FRACTIONS,
    draw,
    markdown,
    remark,
    table_of_fractions,
    table_of_methods,
    write_page,
)
from experiments.shared.results import made, write_csv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask

SILENT = ("model", "workload", "seed", "fresh", "cache", "tracking", "hydra")
"""Choices that do not make another method: told otherwise, or not of its results."""


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
        values = metrics.throughput(recorded.task, recorded.trials)
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
        best = metrics.best_so_far(metrics.throughput(found.task, found.trials) / table.best)
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
        told = folder / "config" / "overrides.yaml"
        overrides = [str(o) for o in OmegaConf.load(told)] if told.exists() else []
        loud = [o for o in overrides if o.lstrip("+~").split("=")[0].split(".")[0] not in SILENT]
        loud += [o for o in overrides if o.startswith(("model.", "workload.folds="))]
        report = json.loads((folder / "replay.json").read_text())
        return cls(folder, Summary.read(folder / "summary.json"), report, tuple(loud))


def read_runs(*folders: Path) -> dict[str, list[Run]]:
    """All finished runs below folders, by the name of their method.

    Runs of one method that were told different things are different methods: what not all runs
    were told is part of the name.

    Raises:
        ValueError: no runs, or runs of different tables.
    """
    where = ", ".join(map(str, folders))
    told = {path.parent for folder in folders for path in folder.rglob("replay.json")}
    # A run that was begun anew, and not ended, has no summary.
    found = sorted(folder for folder in told if (folder / "summary.json").exists())
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
    common = set.intersection(*(set(run.overrides) for run in runs))
    methods: dict[str, list[Run]] = {}
    for run in runs:
        name = " ".join([run.summary.model, *(o for o in run.overrides if o not in common)])
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


def compare(folder: Path, out: Path, reference: str) -> str:
    """Compares all runs below ``folder``, writes the results to ``out``, and returns the table.

    Raises:
        ValueError: nothing to compare, runs of different tables, an unknown reference.
    """
    methods = read_runs(folder)
    if reference not in methods:
        raise ValueError(f"no runs of '{reference}' to compare with: there are {list(methods)}")
    tables, searches = read_searches(methods)
    lines = table_of_methods(methods, tables, searches, reference)
    note = remark(methods, tables)
    fractions = table_of_fractions(searches, reference)
    facts = made(hardware=f"{next(iter(methods.values()))[0].report['hardware']}, recorded")
    text = markdown(lines, note) + "\n" + markdown(fractions, FRACTIONS)
    text += "\n" + "; ".join(f"{name} {value}" for name, value in facts.items()) + ".\n"
    out.mkdir(parents=True, exist_ok=True)
    rows = [search.row() for search in searches]
    write_csv(out / "compare.csv", rows)
    (out / "compare.md").write_text(text)
    figure = draw(tables, searches)
    style.save(figure, out / "compare.png")
    write_page(out / "compare.html", methods, lines, note, fractions, figure, facts)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs/tables"))
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--reference", default="random", help="whom differences are taken to")
    args = parser.parse_args()
    try:
        print(compare(args.folder, args.out, args.reference))
    except ValueError as error:
        sys.exit(f"compare: {error}")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
