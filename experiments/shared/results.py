"""What all files in ``results/`` share: what made them, tables as CSV and as markdown."""

from __future__ import annotations

import csv
import shlex
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dgtl.core.revision import revision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def made(**about: str) -> dict[str, str]:
    """Command, revision and date of a result, with what it is ``about`` before the date."""
    return {
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "revision": revision() or "not from a checkout",
        **about,
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows with the same keys, under a header of these."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A header and rows as a markdown table, without a newline at its end."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
