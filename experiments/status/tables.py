"""Every table of a folder of results with the models that made it, compared with today's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgtl.results.model_hash import UNKNOWN
from experiments.shared.models import Model, hashes_of, todays

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"

TODAY, OLDER = "today", "older"
"""States, beside `UNKNOWN`: all of it by the model as it is now; some of it by another."""


def rows(results: Path = RESULTS) -> list[dict[str, str]]:
    """A row per table and method, tables in folders called ``FOLDER/NAME``.

    A table is a markdown file; one without ``NAME.json`` beside it is of an unknown model.

    Returns:
        Of each: ``table``, ``method``, ``revision``, ``date``, ``hash`` and ``state``, which is
        ``today``, ``older`` or ``unknown``.
    """
    return [row for path in sorted(results.rglob("*.md")) for row in _rows_of(path, results)]


def _rows_of(path: Path, results: Path) -> Iterator[dict[str, str]]:
    kept = path.with_suffix(".json")
    origin: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for method, models in (origin.get("methods") or {"": []}).items():
        made_by = [Model.read(model) for model in models]
        yield {
            "table": path.relative_to(results).with_suffix("").as_posix(),
            "method": method,
            # Those of its runs stand behind it, and in the table.
            "revision": origin.get("revision", UNKNOWN).split(";")[0],
            "date": origin.get("date", UNKNOWN),
            "hash": hashes_of(made_by) or UNKNOWN,
            "state": state(made_by),
        }


def state(models: Sequence[Model]) -> str:
    """What the models that made a result are, seen from today."""
    if any(model.hash not in (UNKNOWN, todays(model)) for model in models):
        return OLDER
    known = [model.hash != UNKNOWN for model in models]
    return TODAY if known and all(known) else UNKNOWN
