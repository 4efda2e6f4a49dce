"""Writes the comparison of methods into README.md from the results that lie there.

    python -m experiments.readme

Between the lines ``<!-- NAME -->`` and ``<!-- end of NAME -->`` stands what is made from
``results/NAME.csv``, a result of `experiments.compare`, where a name may be in a folder
(``epyc/compare``); a test compares the two. `experiments.results_page` writes docs/results.md.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path
from statistics import mean, median

from experiments.shared.results import markdown_table

ROOT = Path(__file__).parents[1]

COUNTS = (16, 32, 64, 128)
"""Trials after which methods are compared in README.md."""


def comparison(path: Path) -> str:
    """Mean and median over tables, of means over seeds, of one result of `experiments.compare`."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [["method", *(f"after {count}" for count in COUNTS)]]
    found = {}
    for method in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == method]
        found[method] = [_over_tables(own, f"best_fraction_at_{count}") for count in COUNTS]
    for method in sorted(found, key=lambda name: -found[name][2][0]):
        cells = [f"{average:.3f} / {middle:.3f}" for average, middle in found[method]]
        lines.append([method, *cells])
    return markdown_table(lines)


def _over_tables(rows: list[dict[str, str]], column: str) -> tuple[float, float]:
    """Mean and median over tables, of means over seeds."""
    seeds: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        seeds[row["table"]].append(float(row[column]))
    values = [mean(of_table) for of_table in seeds.values()]
    return mean(values), median(values)


def filled(text: str, results: Path) -> str:
    """The README with every block made anew.

    Raises:
        ValueError: a block whose results are not there.
    """

    def fill(found: re.Match[str]) -> str:
        path = results / f"{found[1]}.csv"
        if not path.exists():
            raise ValueError(f"README.md shows {path.name}, which {results} does not hold")
        return f"<!-- {found[1]} -->\n{comparison(path)}\n<!-- end of {found[1]} -->"

    return re.sub(r"<!-- ([\w/]+) -->\n.*?<!-- end of \1 -->", fill, text, flags=re.DOTALL)


def main() -> None:
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text(), ROOT / "results"))


if __name__ == "__main__":
    main()
