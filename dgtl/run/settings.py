"""The settings of ``conf/`` for who starts a run from Python: one source of defaults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dgtl.run.command import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omegaconf import DictConfig

CONF = Path(__file__).parents[1] / "conf"
"""``conf/`` as it travels with the package; in a checkout a link to the folder at its top."""


def composed(overrides: Sequence[str], values: Mapping[str, Any]) -> DictConfig:
    """The configuration that ``python run.py OVERRIDES`` has.

    Args:
        overrides: as on the command line of ``run.py``.
        values: settings by their dotted names, taken as they are, after the overrides.

    Raises:
        ValueError: there is no such setting or choice.
    """
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error) or str(error)) from error
    OmegaConf.set_struct(cfg, True)
    for name, value in values.items():
        OmegaConf.update(cfg, name, value)
    return cfg
