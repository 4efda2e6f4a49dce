"""What all files in ``results/`` share: what made them, tables as CSV and as markdown."""

from __future__ import annotations

import csv
import dataclasses
import json
import shlex
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dgtl.core.revision import revision
from experiments.shared.models import stated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from experiments.shared.models import Model


def made(models: Mapping[str, Sequence[Model]], **about: str) -> dict[str, str]:
    """Command, revision, model hashes and date of a result, with what it is ``about``.

    Args:
        models: what made it, by method.
        about: further facts.
    """
    return {
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "revision": revision() or "not from a checkout",
        "model_hash": stated(models),
        **about,
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def sentence(facts: Mapping[str, str]) -> str:
    """What `made` said, as the last line of a table."""
    return "; ".join(f"{name} {value}" for name, value in facts.items()) + "."


def write_origin(
    table: Path,
    models: Mapping[str, Sequence[Model]],
    seeds: Iterable[int],
    facts: Mapping[str, str],
) -> None:
    """Writes ``NAME.json`` beside a table: what made it, for programs to read.

    Args:
        table: any of its files, which are ``NAME`` and a suffix.
        models: what made it, by method.
        seeds: of all its runs.
        facts: what `made` said of it.
    """
    methods = {name: [dataclasses.asdict(model) for model in own] for name, own in models.items()}
    said = {name: text for name, text in facts.items() if name != "model_hash"}
    origin = {"table": table.stem, **said, "seeds": sorted(set(seeds)), "methods": methods}
    table.with_suffix(".json").write_text(json.dumps(origin, indent=2) + "\n")


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
