"""Settings and folders of a run, live or replayed, checked before it computes or changes anything.

What only one of both knows (a network, tables) it checks itself.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dgtl.methods.base import ChoosingMethod
from dgtl.run.start import budget_of, scheduler_of, takes_visits
from dgtl.tables.select import pattern_matcher
from dgtl.tracking.tracker import check_mode

if TYPE_CHECKING:
    from dgtl.methods.base import Method

SECTIONS = ("budget", "measure", "history", "deploy", "model", "workload", "hardware", "tracking")

WHOLE = {
    "seed": 0,
    "workload.seed": 0,
    "workload.folds": 1,
    "hardware.num_cores": 1,
    "hardware.min_rows": 1,
    "budget.initial_set": 1,
    "budget.tuning_set": 0,
    "budget.final": 0,
    "budget.rounds": 0,
    "history.max_trials": 1,
    "history.most_alike": 1,
    "deploy.repeats": 1,
    "deploy.finalists": 0,
}
"""Settings that are whole numbers, and the least that they may be."""

NEEDED = (
    *("seed", "budget.initial_set", "budget.tuning_set", "budget.final", "budget.rounds"),
    "deploy.finalists",
)
"""Those of them that cannot be null."""

FLAGS = ("fresh", "deploy.untuned", "deploy.allow_untuned", "history.own_layers")
PATHS = ("history.path", "history.import", "history.local", "share")
"""Files and folders that are read."""


def check(cfg: DictConfig, folder: Path) -> None:
    """Checks what every run needs.

    Raises:
        ValueError: a setting that cannot be used, a file that is missing, ``folder`` or ``cache``
            that cannot be written.
    """
    for section in SECTIONS:
        if not isinstance(cfg.get(section), DictConfig):
            raise ValueError(
                f"{section}={cfg.get(section)}: holds settings, such as {section}.NAME="
            )
    _check_numbers(cfg)
    for name in FLAGS:
        value = OmegaConf.select(cfg, name)
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{name}={value}: must be true or false")
    for name in PATHS:
        path = OmegaConf.select(cfg, name)
        if path is not None and not Path(str(path)).exists():
            raise ValueError(f"{name}={path}: no such file or folder")
    if cfg.history.hardware not in ("same", "any"):
        raise ValueError(f"history.hardware={cfg.history.hardware}: choose same or any")
    if cfg.measure.where not in ("local", "folder", "rpc"):
        raise ValueError(f"measure.where={cfg.measure.where}: choose local, folder or rpc")
    if cfg.measure.where == "rpc" and cfg.hardware.kind == "cuda":
        raise ValueError("measure=rpc is for processors: choose measure=folder for a GPU elsewhere")
    check_mode(cfg.tracking.mode)
    pattern_matcher(cfg.workload.get("tasks"))
    method: Method = instantiate(cfg.model)
    _check_budget(cfg, method)
    for what, path in (("the output folder", folder), ("cache", Path(str(cfg.cache)))):
        _check_writable(what, path)


def _check_budget(cfg: DictConfig, method: Method) -> None:
    """Whether it can be kept: seconds are those of a machine that is at hand, or recorded ones."""
    budget = budget_of(cfg, method)
    if budget.seconds is not None and takes_visits(cfg):
        raise ValueError(
            f"budget.seconds={budget.seconds}: only where this CPU is tuned for and measures, or "
            "with hardware=replay; give budget.trials instead"
        )
    scheduler_of(cfg, method)
    if budget.trials > 0:
        return
    if cfg.hardware.kind != "llvm" or takes_visits(cfg):
        raise ValueError(
            "budget.trials=0: the model chooses only where this CPU is tuned for and at hand; give "
            "budget.trials=N"
        )
    if not isinstance(method, ChoosingMethod):
        raise ValueError(
            f"budget.trials=0: model={method.name} has no model of other layers that could choose: "
            "give budget.trials=N, or model=dgp"
        )
    if cfg.workload.get("tasks") is not None:
        raise ValueError(
            "budget.trials=0 builds the whole network, to check it: leave out workload.tasks"
        )


def _check_numbers(cfg: DictConfig) -> None:
    for name, least in WHOLE.items():
        value: Any = OmegaConf.select(cfg, name)
        if value is None and name not in NEEDED:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value}: must be a whole number, at least {least}")


def _check_writable(what: str, path: Path) -> None:
    """Whether files can be made in a folder, or it in the next one above it that there is."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ValueError(f"{what} cannot be written: {there}: {error.strerror}") from error
