"""What every run starts with, live or replayed: its method, budget, earlier trials, tracker.

A run that was interrupted in a folder goes on there.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dgtl.core.cores import available_cores
from dgtl.core.files import free_name
from dgtl.core.history import History
from dgtl.methods.loop import Budget
from dgtl.methods.schedulers import SCHEDULERS
from dgtl.results.run_folder import Origin, changed, claim
from dgtl.tracking.tracker import Tracker, run_name

if TYPE_CHECKING:
    from dgtl.methods.base import Method
    from dgtl.methods.schedule import Scheduler


STOP_GAIN = 0.002
"""`Budget.stop_gain` where it is ``auto``."""


LEAST_STEP = 4
"""`Budget.batch` on few cores: fewer candidates are hardly worth a look at what they told."""


@dataclasses.dataclass(frozen=True)
class RunContext:
    """A run as it starts.

    Args:
        config: the configuration as plain containers, resolved.
        method: what ``model=`` names.
        budget: what it may try.
        scheduler: made for each network, says which layer is next.
        log_path: the history file of the run.
        earlier: what an interrupted run left in it.
        tracker: follows the run; a context manager that is still to be entered.
        lock: held while this lives, see `dgtl.results.run_folder.claim`.
    """

    config: dict[str, Any]
    method: Method
    budget: Budget
    scheduler: type[Scheduler]
    log_path: Path
    earlier: History
    tracker: Tracker
    lock: IO[str]

    def remarks(self) -> list[str]:
        """What a user of these settings may not expect; a plan is kept one task after another."""
        return [] if self.scheduler.interleaves else self.method.remarks(self.budget.trials)


def start(cfg: DictConfig, folder: Path) -> RunContext:
    """Opens a run in a folder, which is made if absent; ``fresh`` sets earlier trials aside.

    Raises:
        ValueError: settings or earlier trials that cannot be used; trials of other settings;
            another run at work in the folder.
    """
    config = resolved(cfg)
    log_path = folder / "trials.jsonl"
    other = Origin.read(folder) if log_path.exists() and not cfg.fresh else None
    if other is not None and (names := changed(other.config, config)):
        raise ValueError(
            f"{folder} holds trials of other settings ({', '.join(names)}): fresh=true sets them "
            "aside, hydra.run.dir=FOLDER leaves them alone"
        )
    method: Method = instantiate(cfg.model)
    budget, scheduler = budget_of(cfg, method), scheduler_of(cfg, method)
    folder.mkdir(parents=True, exist_ok=True)
    lock = claim(folder)
    Origin.now(_command(), method.name, config).begin(folder, fresh=cfg.fresh)
    if cfg.fresh and log_path.exists():
        log_path.rename(free_name(folder / f"trials-{int(time.time())}.jsonl.old"))
    earlier = History.read(log_path) if log_path.exists() else History()
    tracker = Tracker(
        cfg.tracking.mode,
        folder,
        project=cfg.tracking.project,
        group=cfg.tracking.group,
        job_type=method.name,
        name=run_name(cfg.workload.name, method.name, cfg.seed),
        config=config,
    )
    return RunContext(config, method, budget, scheduler, log_path, earlier, tracker, lock)


def budget_of(cfg: DictConfig, method: Method) -> Budget:
    """What a method may try of each task.

    Where nothing says how many trials, and the method has no plan, those of the budget's plan: so
    that methods compare at equal trials.

    Raises:
        ValueError: no budget, or one that cannot be used.
    """
    trials = method.planned_trials if cfg.budget.trials is None else cfg.budget.trials
    if trials is None:
        trials = cfg.budget.tuning_set + cfg.budget.rounds * cfg.budget.final
        if trials == 0:
            raise ValueError(
                f"budget.trials is missing, and model={method.name} has no plan of its own: give "
                "budget.trials=N"
            )
    stop_gain = cfg.budget.stop_gain
    if stop_gain == "auto":
        stop_gain = STOP_GAIN if scheduler_of(cfg, method).stops else None
    batch = max(LEAST_STEP, available_cores()) if cfg.budget.batch is None else cfg.budget.batch
    return Budget(trials, batch, cfg.budget.seconds, stop_gain)


def scheduler_of(cfg: DictConfig, method: Method) -> type[Scheduler]:
    """The scheduler that ``scheduler=`` names, or what suits method and measuring.

    Raises:
        ValueError: there is no such scheduler, or the run cannot have it; `Budget.stop_gain` is not
            for it.
    """
    name = cfg.scheduler
    if name is None:
        name = "even" if takes_visits(cfg) else method.scheduler
    if name not in SCHEDULERS:
        raise ValueError(f"scheduler={name}: choose of {', '.join(SCHEDULERS)}")
    scheduler = SCHEDULERS[name]
    if scheduler.interleaves and takes_visits(cfg):
        raise ValueError(
            f"scheduler={name}: would need a visit to the device for every step; give "
            "scheduler=even, by which a visit has a batch of every layer"
        )
    if cfg.budget.stop_gain not in (None, "auto") and not scheduler.stops:
        able = " or ".join(name for name, each in SCHEDULERS.items() if each.stops)
        raise ValueError(
            f"budget.stop_gain={cfg.budget.stop_gain}: scheduler={name} does not know what is to "
            f"be gained; give scheduler={able}, or leave budget.stop_gain out"
        )
    return scheduler


def takes_visits(cfg: DictConfig) -> bool:
    """Whether trials are measured by visits to a device, see `dgtl.run.visits`."""
    if cfg.hardware.kind == "replay":
        return False
    return bool(cfg.measure.where == "folder" or cfg.hardware.kind == "cuda")


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain containers."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    return config


def _command() -> str:
    """What makes this run again: of a sweep, the one job."""
    if HydraConfig.initialized():
        return shlex.join(["python", "run.py", *HydraConfig.get().overrides.task])
    if Path(sys.argv[0]).name == "dgtl":
        return shlex.join(["dgtl", *sys.argv[1:]])
    return shlex.join(["python", *sys.orig_argv[1:]])
