"""Compares the methods that searched the same recorded tables.

    python run.py experiment=compare
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
import sys
from pathlib import Path

from dgtl.report import style
from experiments.compare.report import (
    FRACTIONS,
    draw,
    markdown,
    remark,
    table_of_fractions,
    table_of_methods,
    write_page,
)
from experiments.compare.searches import read_runs, read_searches
from experiments.shared.models import models_of
from experiments.shared.results import made, sentence, write_csv, write_origin


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
    models = {name: models_of(run.folder for run in same) for name, same in methods.items()}
    facts = made(models, hardware=f"{next(iter(methods.values()))[0].report['hardware']}, recorded")
    text = markdown(lines, note) + "\n" + markdown(fractions, FRACTIONS)
    text += f"\n{sentence(facts)}\n"
    out.mkdir(parents=True, exist_ok=True)
    rows = [search.row() for search in searches]
    write_csv(out / "compare.csv", rows)
    (out / "compare.md").write_text(text)
    figure = draw(tables, searches)
    style.save(figure, out / "compare.png")
    write_page(out / "compare.html", methods, lines, note, fractions, figure, facts)
    write_origin(out / "compare.md", models, (search.seed for search in searches), facts)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs/compare"))
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
