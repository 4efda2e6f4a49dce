"""Which models made a result: by method, the hash of each with what is needed to ask for today's.

Kept beside every table, in ``results/NAME.json``; `experiments.status` reads it.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dgtl.results.model_hash import UNKNOWN, model_hash
from dgtl.results.run_folder import Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CONF = Path(__file__).parents[2] / "conf"

NO_MODEL = (
    *("seed", "fresh", "cache", "tracking", "hydra", "share"),
    *("measure", "history", "deploy", "workload"),
)
"""Parts of the configuration that the ``model`` section takes nothing from."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that made a result.

    Args:
        hash: as `dgtl.results.model_hash.model_hash` gives it, or its `UNKNOWN`.
        settings: the ``model`` section of its configuration; None where it was not kept.
        overrides: what run.py was given that may decide it; None where the settings stand for
            themselves, as the model was not made by run.py.
        scheduler: that the run was given; None: the method's own.
    """

    hash: str = UNKNOWN
    settings: dict[str, Any] | None = None
    overrides: tuple[str, ...] | None = None
    scheduler: str | None = None

    @classmethod
    def read(cls, kept: dict[str, Any]) -> Model:
        """What `dataclasses.asdict` made, as JSON has it."""
        overrides = kept["overrides"]
        return cls(**{**kept, "overrides": None if overrides is None else tuple(overrides)})


Models = dict[str, list[Model]]
"""Models by method: one each, or more where the runs of a method are of several."""


def models_of(folders: Iterable[Path]) -> list[Model]:
    """The models of the trials in the folders of runs of one method, each once."""
    found: list[Model] = []
    for folder in folders:
        origin = Origin.read(folder)
        given = overrides_of(folder)
        overrides = None if given is None else tuple(filter(_may_decide, given))
        config = {} if origin is None else origin.config
        hashes = (UNKNOWN,) if origin is None else origin.model_hashes
        made_by = (config.get("model"), overrides, config.get("scheduler"))
        found += [Model(one, *made_by) for one in hashes]
    return [model for place, model in enumerate(found) if model not in found[:place]]


def overrides_of(folder: Path) -> list[str] | None:
    """What run.py was given for the run in a folder; None where it was not kept."""
    path = folder / "config" / "overrides.yaml"
    return [str(o) for o in OmegaConf.load(path)] if path.exists() else None


def _may_decide(override: str) -> bool:
    name = override.lstrip("+~").split("=")[0].split("@")[0]
    # Of hardware, only a replay brings a budget along.
    if name.split(".")[0] == "hardware":
        return override == "hardware=replay"
    return name.split(".")[0] not in NO_MODEL


def hashes_of(models: Sequence[Model]) -> str:
    """Their hashes as text."""
    return " and ".join(dict.fromkeys(model.hash for model in models))


def stated(models: Mapping[str, Sequence[Model]]) -> str:
    """The hashes of all methods as text."""
    return ", ".join(f"{method} {hashes_of(own)}" for method, own in models.items())


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
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", list(overrides))
        settings: Any = OmegaConf.to_container(cfg.model, resolve=True)
    except (HydraException, OmegaConfBaseException):
        return UNKNOWN
    return model_hash(settings, scheduler=cfg.scheduler)
