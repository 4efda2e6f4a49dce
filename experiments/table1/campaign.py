"""The campaign behind table 1: networks x methods x seeds, each cell an ordinary run of run.py.

So a campaign is stopped and started at any time: complete cells are skipped, the others go on where
they stopped.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
import signal
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dgtl.report.progress import duration
from dgtl.results.run_folder import Origin, is_complete

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
BUDGETS = ("smoke", "default", "paper")


@functools.cache
def resolved(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The configuration that run.py makes of these; composed once, which takes a while."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
    return config


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the campaign.

    Args:
        network: what is tuned; ``tables`` for a replay, which searches those of all networks.
        model, seed: by which method and seed.
        folder: where it lies.
        overrides: what run.py is given, but for the folder.
    """

    network: str
    model: str
    seed: int
    folder: Path
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.network} {self.model} seed {self.seed}"

    def complete(self) -> bool:
        """Whether it has ended with the settings it would have now."""
        return is_complete(self.folder, resolved(self.overrides))

    def command(self) -> list[str]:
        """What runs it."""
        folder = f"hydra.run.dir='{self.folder}'"
        return [sys.executable, str(ROOT / "run.py"), *self.overrides, folder]


@dataclasses.dataclass(frozen=True)
class Preset:
    """What ``conf/experiment/table1_*.yaml`` says of a campaign.

    Args:
        name: of the preset.
        models: all methods.
        networks: that are tuned; of a replay, whose recorded layers are searched.
    """

    name: str
    models: tuple[str, ...]
    networks: tuple[str, ...]

    @classmethod
    def read(cls, budget: str, *, replay: bool) -> Preset:
        """That of a budget.

        Raises:
            ValueError: no such budget.
        """
        if budget not in BUDGETS:
            raise ValueError(f"--budget {budget}: choose {', '.join(BUDGETS)}")
        name = f"table1_{budget}" + "_replay" * replay
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", [f"experiment={name}"], return_hydra_config=True)
        swept = config.hydra.sweeper.params
        networks = config.workload.networks if replay else swept.workload.split(",")
        return cls(name, tuple(swept.model.split(",")), tuple(networks))


def cells(
    budget: str,
    *,
    replay: bool = False,
    networks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    settings: Sequence[str] = (),
    share: bool = False,
    root: Path = Path("outputs/table1"),
) -> list[Cell]:
    """The cells of a campaign, seed by seed, then network by network.

    Args:
        budget: one of `BUDGETS`.
        replay: on recorded tables instead of this machine: one cell searches all networks.
        networks, models: None for those of the budget's preset.
        seeds: of the runs.
        settings: further overrides of every cell; they win over the budget's.
        share: let the live cells of a network answer for each other where configurations are equal.
        root: the campaign lies in a folder of it.

    Raises:
        ValueError: no such budget.
    """
    preset = Preset.read(budget, replay=replay)
    models = preset.models if models is None else models
    networks = preset.networks if networks is None else networks
    campaign = root / (budget + "_replay" * replay + "_shared" * share)
    common = [f"experiment={preset.name}", f"tracking.group=table1-{campaign.name}"]
    if replay:
        common.append(f"workload.networks=[{','.join(networks)}]")
    found = []
    for seed in seeds:
        for network in ["tables"] if replay else networks:
            for model in models:
                which = [f"model={model}", f"seed={seed}"]
                which += [] if replay else [f"workload={network}"]
                which += [f"share='{campaign / network}'"] if share else []
                # Hydra takes the last word on each name.
                overrides = (*which, *common, *settings)
                folder = campaign / network / model / str(seed)
                found.append(Cell(network, model, seed, folder, overrides))
    return found


def say_at_once(text: str) -> None:
    """Prints a line before what a run in another process prints next."""
    print(text, flush=True)


def run_cells(
    planned: Sequence[Cell],
    run: Callable[[Cell], int] | None = None,
    say: Callable[[str], None] = say_at_once,
) -> list[Cell]:
    """Runs what is not complete, one cell after the other, and says how far it is.

    Args:
        planned: all cells.
        run: runs one and returns 0 if it has ended well; in a process of its own if None.
        say: called with each line.

    Returns:
        The cells that failed.
    """
    run = _run if run is None else run
    done = {cell: _seconds(cell) for cell in planned if cell.complete()}
    left = [cell for cell in planned if cell not in done]
    failed = []
    if done:
        say(f"{len(done)} of {len(planned)} cells are complete already")
    for place, cell in enumerate(left):
        text = time_left(left[place:], done)
        say(f"[{len(planned) - len(left) + place + 1}/{len(planned)}] {cell.name}: {text}")
        begin = time.monotonic()
        if run(cell) == 0:
            done[cell] = time.monotonic() - begin
        else:
            failed.append(cell)
            say(f"{cell.name} failed; again alone: {shlex.join(cell.command())}")
    return failed


def time_left(left: Sequence[Cell], done: dict[Cell, float]) -> str:
    """What the cells that are left will take, from what the nearest complete ones took [s]."""
    if not done:
        return "time left is known after the first cell"
    return f"about {duration(sum(_expected(cell, done) for cell in left))} left"


def _expected(cell: Cell, done: dict[Cell, float]) -> float:
    """Mean seconds of the same network and method, else of the method, else of the network."""
    alike = (
        lambda other: (other.network, other.model) == (cell.network, cell.model),
        lambda other: other.model == cell.model,
        lambda other: other.network == cell.network,
        lambda other: True,
    )
    for same in alike:
        if found := [seconds for other, seconds in done.items() if same(other)]:
            return statistics.mean(found)
    raise ValueError("no complete cell to go by")


def _seconds(cell: Cell) -> float:
    """From the last start of a complete cell to its end."""
    origin = Origin.read(cell.folder)
    assert origin is not None, "a complete cell has an origin"
    began = datetime.fromisoformat(origin.date).timestamp()
    return max((cell.folder / "summary.json").stat().st_mtime - began, 0.0)


def _run(cell: Cell) -> int:
    # A campaign in the background ignores SIGINT, and its runs would inherit that.
    process = subprocess.Popen(
        cell.command(), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        # The terminal has interrupted the run as well, which ends by itself.
        process.wait()
        raise
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
