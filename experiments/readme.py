"""Writes the main tables into README.md from the results that lie there.

    python -m experiments.readme

Between the lines ``<!-- NAME -->`` and ``<!-- end of NAME -->`` stands what is made from
``results/NAME.csv``, where a name may be in a folder (``xeon/table1``); a test compares the two.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from experiments.shared.results import markdown_table

ROOT = Path(__file__).parents[1]

COLUMNS = {
    "network": ("network", None),
    "model": ("method", None),
    "trials": ("trials", 1),
    "search_h": ("search [min]", 60),
    "latency_ms": ("latency [ms]", 1),
    "search_reduction": ("search −%", 100),
    "latency_reduction": ("latency −%", 100),
    "hv": ("HV", 1),
    "reach_reduction": ("to AutoTVM's best −%", 100),
    "paper_search_reduction": ("search −% at paper", 100),
}
"""Columns of a table: their header, and what a number is multiplied by."""


def block(path: Path) -> str:
    """The table of one file of results, as markdown."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [[header for header, _ in COLUMNS.values()]]
    for row in rows:
        lines.append([_cell(row[name], scale) for name, (_, scale) in COLUMNS.items()])
    return markdown_table(lines)


def _cell(text: str, scale: float | None) -> str:
    if scale is None or not text:
        return text
    value = float(text) * scale
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def filled(readme: str, results: Path) -> str:
    """The README with every block made anew.

    Raises:
        ValueError: a block whose results are not there.
    """

    def fill(found: re.Match[str]) -> str:
        path = results / f"{found[1]}.csv"
        if not path.exists():
            raise ValueError(f"README.md shows {path.name}, which {results} does not hold")
        return f"<!-- {found[1]} -->\n{block(path).strip()}\n<!-- end of {found[1]} -->"

    return re.sub(r"<!-- ([\w/]+) -->\n.*?<!-- end of \1 -->", fill, readme, flags=re.DOTALL)


def main() -> None:
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text(), ROOT / "results"))


if __name__ == "__main__":
    main()
