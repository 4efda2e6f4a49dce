"""Every table of a folder of results with the models that made it, compared with today's."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dgtl.results.model_hash import UNKNOWN, model_hash
from experiments.shared.models import Model, hashes_of

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
        made_by = [_model(model) for model in models]
        yield {
            "table": path.relative_to(results).with_suffix("").as_posix(),
            "method": method,
            # Those of its runs stand behind it, and in the table.
            "revision": origin.get("revision", UNKNOWN).split(";")[0],
            "date": origin.get("date", UNKNOWN),
            "hash": hashes_of(made_by) or UNKNOWN,
            "state": state(made_by),
        }


def _model(kept: dict[str, Any]) -> Model:
    overrides = kept["overrides"]
    return Model(**{**kept, "overrides": None if overrides is None else tuple(overrides)})


def state(models: Sequence[Model]) -> str:
    """What the models that made a result are, seen from today."""
    if any(model.hash not in (UNKNOWN, todays(model)) for model in models):
        return OLDER
    known = [model.hash != UNKNOWN for model in models]
    return TODAY if known and all(known) else UNKNOWN


def todays(model: Model) -> str:
    """The hash that the same method has now; `UNKNOWN` where it does not exist any more.

    With the same overrides, whatever the configuration now says of the rest.
    """
    if model.overrides is None:
        return model_hash(model.settings, scheduler=model.scheduler)
    return _composed(model.overrides)


@functools.cache
def _composed(overrides: tuple[str, ...]) -> str:
    try:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("config", list(overrides))
        settings: Any = OmegaConf.to_container(cfg.model, resolve=True)
    except (HydraException, OmegaConfBaseException):
        return UNKNOWN
    return model_hash(settings, scheduler=cfg.scheduler)
