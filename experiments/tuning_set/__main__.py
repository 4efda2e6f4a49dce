"""Second ablation: what is the tuning set worth that the model chose?

    python run.py -m hardware=replay workload=tables model=autotvm,dgp,dgp_paper,xgb_transfer \\
        seed='range(0,5)'
    python run.py -m hardware=replay workload=tables model=dgp,dgp_paper,xgb_transfer \\
        seed='range(0,5)' model.tuning_set_by=random
    python -m experiments.tuning_set

Compared on recorded tables are AutoTVM, which starts from nothing, transfer with a random tuning
set, and transfer with the tuning set that the source model predicts to be best: best so far in
GFLOPS at equal trials and at equal seconds of simulated search time, per layer and as a geometric
mean over layers. Gains are ratios of these, with the 95 % interval of a bootstrap over layers,
paired by layer and seed. A search that has found nothing that runs yet counts as having found the
layer's slowest recorded configuration: a geometric mean must have a value for every layer.

Writes ``tuning_set.csv`` (one row per layer, method and seed), ``tuning_set.md``,
``tuning_set.html`` and the curves to ``results/``. Runs of any settings may be given by folder:
methods are told apart by the settings that only some have.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgtl.results import metrics
from dgtl.tables.read import read_tables
from experiments.compare.searches import read_runs, read_searches
from experiments.shared.models import models_of
from experiments.shared.results import write_csv
from experiments.tuning_set import report as tuning_set_report
from experiments.tuning_set.curve import Curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments.compare.searches import Run

RANDOM, CHOSEN = "model.tuning_set_by=random", "model.tuning_set_by=model"


def named(methods: dict[str, list[Run]], reference: str) -> dict[str, list[Run]]:
    """The reference, and methods with either tuning set, called e.g. ``dgp, random``.

    Raises:
        ValueError: there are none, or no runs of the reference.
    """
    if reference not in methods:
        raise ValueError(f"no runs of '{reference}' to compare with: there are {list(methods)}")
    found: dict[str, dict[str, list[Run]]] = {}
    for name, runs in methods.items():
        by = "random" if RANDOM in name else "chosen"
        bare = " ".join(name.replace(RANDOM, "").replace(CHOSEN, "").split())
        found.setdefault(bare, {}).setdefault(by, []).extend(runs)
    both = {
        f"{bare}, {by}": by_set[by]
        for bare, by_set in found.items()
        if len(by_set) == 2
        for by in ("chosen", "random")
    }
    if not both:
        raise ValueError(
            f"no method ran with both tuning sets ({', '.join(methods)}): run one with {RANDOM}"
        )
    return {reference: methods[reference], **both}


def read_curves(methods: dict[str, list[Run]]) -> list[Curve]:
    """Every search of the layers that all methods searched, at equal numbers of trials."""
    tables, searches = read_searches(methods)
    report = next(iter(methods.values()))[0].report
    recorded = read_tables(report["tables"], report["hardware"], report["min_rows"]).tables
    slowest = {table.task.key: float(table.gflops().min()) for table in recorded}
    curves = []
    for search in searches:
        table = tables[search.table]
        by_trials, by_seconds = (
            np.maximum(share * table.best, slowest[search.table])
            for share in (search.curve, search.timed)
        )
        curves.append(
            Curve(search.table, search.model, search.seed, by_trials, by_seconds, table.trial_s)
        )
    return curves


def pairs(methods: Sequence[str], reference: str) -> list[tuple[str, str]]:
    """Who is compared with whom: chosen with random, both with the reference."""
    found = []
    for method in methods:
        if method.endswith(", chosen"):
            found.append((method, method.removesuffix(", chosen") + ", random"))
        if method != reference:
            found.append((method, reference))
    return found


def gain(curves: Sequence[Curve], own: str, other: str, over: str) -> metrics.Interval:
    """Geometric mean over layers of own / other best so far after 1, ..., n trials, [n] each.

    Args:
        curves: of all methods.
        own, other: methods.
        over: ``by_trials`` or ``by_seconds``.
    """
    log = [
        {(c.layer, c.seed): np.log(getattr(c, over)) for c in curves if c.method == method}
        for method in (own, other)
    ]
    both = sorted(log[0].keys() & log[1].keys())
    if not both:
        raise ValueError(f"{own} and {other} have no seed in common")
    ratios = [log[0][pair] - log[1][pair] for pair in both]
    found = metrics.bootstrap(ratios, [layer for layer, _ in both], np.random.default_rng(0))
    return metrics.Interval(*(np.exp(v) for v in (found.mean, found.low, found.high)))


def compare(folders: Sequence[Path], out: Path, reference: str) -> str:
    """Compares all runs below ``folders``, writes the results to ``out``, and returns the table.

    Raises:
        ValueError: nothing to compare, or runs that cannot be compared.
    """
    methods = named(read_runs(*folders), reference)
    compared = pairs(list(methods), reference)
    curves = read_curves(methods)
    gains = {
        (*pair, over): gain(curves, *pair, over)
        for pair in compared
        for over in ("by_trials", "by_seconds")
    }
    out.mkdir(parents=True, exist_ok=True)
    rows = [curve.row() for curve in curves]
    write_csv(out / "tuning_set.csv", rows)
    report = next(iter(methods.values()))[0].report
    models = {name: models_of(run.folder for run in same) for name, same in methods.items()}
    return tuning_set_report.write(curves, gains, models, report, out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="*", default=[Path("outputs/tables")])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--reference", default="autotvm", help="who starts from nothing")
    args = parser.parse_args()
    try:
        print(compare(args.folders, args.out, args.reference))
    except ValueError as error:
        sys.exit(f"tuning_set: {error}")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
