"""Which results are of today's models, and which are older.

    python -m experiments.status
    python -m experiments.status --check compare epyc/compare   # exit code 1: one is not today's

Prints a line per table of ``results/`` and method: the revision and date of the table, the hash of
the model that made it (`dgtl.results.model_hash`), and how old that is. ``today``: the method has
the same hash now, its code and settings being what they were, whatever else changed. ``older``: it
has another. ``unknown``: the table was made before hashes were kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.status.tables import RESULTS, TODAY, rows

if TYPE_CHECKING:
    from collections.abc import Sequence


def text(found: Sequence[dict[str, str]]) -> str:
    """Rows as lines in columns, under a header."""
    lines = [list(found[0]), *(list(row.values()) for row in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join(padded)


def aged(found: Sequence[dict[str, str]], names: Sequence[str]) -> list[str]:
    """Which of the tables of these names are not today's in all their methods.

    Raises:
        ValueError: no such table.
    """
    tables = {row["table"] for row in found}
    if missing := [name for name in names if name not in tables]:
        raise ValueError(f"no table {', '.join(missing)}: there are {', '.join(sorted(tables))}")
    old = {row["table"] for row in found if row["state"] != TODAY}
    return [name for name in names if name in old]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of tables")
    parser.add_argument("--json", action="store_true", help="for programs to read")
    parser.add_argument(
        "--check", nargs="+", default=[], metavar="NAME", help="fail if one of these is not today's"
    )
    args = parser.parse_args()
    found = rows(args.results)
    if not found:
        sys.exit(f"status: no table in {args.results}")
    print(json.dumps(found, indent=2) if args.json else text(found))
    try:
        old = aged(found, args.check)
    except ValueError as error:
        sys.exit(f"status: {error}")
    if old:
        sys.exit(f"status: not of today's models: {', '.join(old)}")


if __name__ == "__main__":
    main()
