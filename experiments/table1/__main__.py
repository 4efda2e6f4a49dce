"""Table 1 of the paper, measured here: search time, latency and HV of methods on networks.

    python -m experiments.table1 --budget smoke
    python -m experiments.table1 --networks resnet18 --models dgp,autotvm --seeds 0,1
    python -m experiments.table1 --budget paper hardware.num_cores=2        # for every cell
    python -m experiments.table1 --replay 'hardware.tables=[build/history]' # on recorded GPU tables
    python -m experiments.table1 --replay FOLDER        # of replays that have ended

A campaign is networks x methods x seeds at a budget of ``conf/table1.yaml``; each cell is a run of
run.py below ``outputs/table1``. It is stopped and started at any time: what is complete is skipped,
the rest goes on. At the end the networks are timed again, in turns, and ``table1.csv``, ``.md``,
``.tex``, ``.html`` and the curves are written (``table1_BUDGET`` for other budgets than default).
``--report`` writes them from what is there and runs nothing. On recorded tables (``table1_gpu``)
search time is what the trials cost when they were recorded, and latency the sum of the layers' best
as often as the network runs them.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.errors import HydraException
from omegaconf import OmegaConf

from dgtl.core.history import HistoryError
from dgtl.report.progress import duration
from dgtl.results.run_folder import Run, find_runs
from experiments.shared.models import models_of
from experiments.shared.results import made, write_origin
from experiments.table1.campaign import BUDGETS, cells, run_cells
from experiments.table1.latency import latency_ms, remeasure
from experiments.table1.outcomes import live_outcome, recorded_outcomes
from experiments.table1.report import write_all
from experiments.table1.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments.table1.campaign import Cell
    from experiments.table1.outcomes import Outcome


def read_live(
    planned: Sequence[Cell], limit_gflops: float | None
) -> tuple[list[Run], list[Outcome], list[str]]:
    """Runs of live cells that have ended, what they came to, and remarks on the others."""
    runs, outcomes, remarks = [], [], []
    for cell in planned:
        if not (cell.folder / "summary.json").exists():
            remarks.append(f"Not complete: {cell.name}, {_so_far(cell.folder)}.")
            continue
        run = Run.read(cell.folder)
        outcome = live_outcome(run, cell.model, latency_ms(cell), limit_gflops)
        if outcome is None:
            remarks.append(f"Left out: {cell.name}, a layer of which nothing ran.")
            continue
        if latency_ms(cell) is None:
            remarks.append(f"Timed at the end of its own run, not in turns: {cell.name}.")
        if not cell.complete():
            remarks.append(f"Has other settings than the campaign would give it now: {cell.name}.")
        runs.append(run)
        outcomes.append(outcome)
    return runs, outcomes, remarks


def read_recorded(
    folders: Sequence[Path], networks: Sequence[str], limit_gflops: float | None
) -> tuple[list[Run], list[Outcome], list[str]]:
    """The same of replays, in or below the folders."""
    runs, outcomes = [], []
    remarks = ["Pre-training of a replay is that for all networks that it searches."]
    for folder in find_runs(folders):
        # Both are written at the end of a replay.
        if not (folder / "replay.json").exists() or not (folder / "summary.json").exists():
            remarks.append(f"Not complete: {folder}, {_so_far(folder)}.")
            continue
        run = Run.read(folder)
        runs.append(run)
        found = recorded_outcomes(run, _method(run), networks, limit_gflops)
        outcomes += found
        missing = [name for name in networks if name not in {o.network for o in found}]
        if missing:
            remarks.append(
                f"Without a trial that ran of every layer: {', '.join(missing)} ({folder})."
            )
    return runs, outcomes, remarks


def _method(run: Run) -> str:
    """What ``model=`` named; a method may call itself otherwise."""
    path = run.folder / "config" / "hydra.yaml"
    if not path.exists():
        return run.summary.model
    return str(OmegaConf.select(OmegaConf.load(path), "hydra.runtime.choices.model"))


def _so_far(folder: Path) -> str:
    try:
        summary = Run.read(folder).summary
    except ValueError:
        return "not a trial yet"
    return (
        f"{summary.trials} trials of {len(summary.tasks)} layers in "
        f"{duration(summary.search_s)} of search so far"
    )


def write(
    out: Path,
    name: str,
    runs: Sequence[Run],
    outcomes: Sequence[Outcome],
    remarks: Sequence[str],
    about: str,
) -> str:
    """Writes the table of all outcomes, and returns it.

    Raises:
        ValueError: nothing to show.
    """
    if not outcomes:
        raise ValueError(" ".join(["no run that has ended.", *remarks]))
    revisions = dict.fromkeys(r for run in runs for r in (run.revisions or _revision(run)) if r)
    folders: dict[str, list[Path]] = {}
    for run in runs:
        folders.setdefault(_method(run), []).append(run.folder)
    models = {method: models_of(own) for method, own in folders.items()}
    facts = made(models, hardware=outcomes[0].hardware + (", recorded" * runs[0].replayed))
    facts["revision"] += f"; runs: {', '.join(revisions)}"
    facts["runs"] = about
    text = write_all(out, name, rows_of(outcomes), outcomes, facts, remarks)
    write_origin(out / f"{name}.md", models, (outcome.seed for outcome in outcomes), facts)
    return text


def _revision(run: Run) -> tuple[str, ...]:
    return () if run.origin is None else (run.origin.revision,)


def table1(args: argparse.Namespace) -> int:
    """Does what the command line says; returns how many cells failed.

    Raises:
        ValueError: a budget that does not exist, folders or runs that cannot be used.
    """
    # The folders of a sweep have settings in their names.
    folders = [Path(text) for text in args.settings if "=" not in text or Path(text).is_dir()]
    settings = [text for text in args.settings if Path(text) not in folders]
    if folders and not args.replay:
        raise ValueError(f"{folders[0]}: folders of runs go with --replay")
    if args.share and args.replay:
        raise ValueError("--share: recorded tables answer every method alike already")
    suffix = "" if args.budget == "default" else f"_{args.budget}"
    if folders:
        if settings:
            raise ValueError(f"{settings[0]}: runs that have ended take no settings")
        networks = args.networks or list(OmegaConf.load(BUDGETS).replay.networks)
        return _recorded(args, folders, networks, 0, "table1_gpu", "replays that have ended")
    planned = cells(
        args.budget,
        replay=args.replay,
        networks=args.networks,
        models=args.models,
        seeds=args.seeds,
        settings=settings,
        share=args.share,
        root=args.campaign,
    )
    about = f"{len(planned)} cells at budget {args.budget}"
    failed = 0 if args.report else len(run_cells(planned))
    if args.replay:
        networks = args.networks or list(OmegaConf.load(BUDGETS).replay.networks)
        there = [c.folder for c in planned if (c.folder / "trials.jsonl").exists()]
        return _recorded(args, there, networks, failed, f"table1_gpu{suffix}", about)
    if not args.report:
        remeasure([cell for cell in planned if cell.complete()])
    found = read_live(planned, args.limit_gflops)
    print(write(args.out, f"table1{suffix}", *found, about))
    return failed


def _recorded(
    args: argparse.Namespace,
    folders: Sequence[Path],
    networks: Sequence[str],
    failed: int,
    name: str,
    about: str,
) -> int:
    found = read_recorded(folders, networks, args.limit_gflops)
    print(write(args.out, name, *found, about))
    return failed


def _names(text: str) -> list[str]:
    return text.split(",")


def _seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("settings", nargs="*", help="settings of run.py; folders with --replay")
    parser.add_argument("--budget", default="default", help="smoke, default or paper")
    parser.add_argument("--networks", type=_names, help="separated by commas")
    parser.add_argument("--models", type=_names, help="separated by commas")
    parser.add_argument("--seeds", type=_seeds, default=[0], help="separated by commas")
    parser.add_argument("--replay", action="store_true", help="on recorded tables")
    parser.add_argument("--share", action="store_true", help="measure equal configurations once")
    parser.add_argument("--report", action="store_true", help="only write what is there")
    parser.add_argument("--limit-gflops", type=float, help="arithmetic limit of the hardware")
    parser.add_argument("--campaign", type=Path, default=Path("outputs/table1"))
    parser.add_argument("--out", type=Path, default=Path("results"))
    return parser


def main() -> None:
    args = _parser().parse_intermixed_args()
    # So that the run in flight is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("table1: stopped"))
    try:
        failed = table1(args)
    except (ValueError, HistoryError, HydraException) as error:
        sys.exit(f"table1: {str(error).splitlines()[0]}")
    except KeyboardInterrupt:
        sys.exit(
            "stopped; the same command goes on from here, with --report it shows what is there"
        )
    if failed:
        sys.exit(f"table1: {failed} cells failed; the same command tries them again")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
