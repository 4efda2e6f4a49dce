"""Offline W&B runs: made from a run's trials, found, uploaded."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from dgtl.core.titles import titles
from dgtl.tracking.tracker import Tracker, run_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dgtl.results.run_folder import Run


def rebuild(run: Run, project: str = "dgtl", group: str = "") -> Path:
    """Makes an offline W&B run from a finished run's folder, as if it had been tracked.

    Args:
        run: read back from its folder, into which W&B writes.
        project, group: as of `Tracker`.

    Returns:
        The folder of the W&B run.

    Raises:
        ValueError: W&B made none; the warning says why.
    """
    summary = run.summary
    before = set(offline_runs(run.folder))
    with Tracker(
        "offline",
        run.folder,
        config={} if run.origin is None else run.origin.config,
        project=project,
        group=group or summary.workload,
        job_type=summary.model,
        name=run_name(summary.workload, summary.model, summary.seed),
    ) as tracker:
        if not run.replayed:
            names = titles([result.task for result in run.results])
            for name, result in zip(names, run.results, strict=True):
                for trial in result.trials:
                    tracker.trial(result.task, trial, name)
        tracker.end(run)
    made = set(offline_runs(run.folder)) - before
    if not made:
        raise ValueError(f"no W&B run could be made in {run.folder}")
    return made.pop()


def offline_runs(folder: Path) -> list[Path]:
    """Folders of the offline W&B runs of one run, oldest first."""
    return sorted(folder.glob("wandb/offline-run-*"))


def not_uploaded(folder: Path) -> Path | None:
    """The W&B run to upload for a run that is finished; None if there is none, or it was.

    It is the last: a run that goes on reports its earlier trials again.
    """
    runs = offline_runs(folder)
    if not runs or not (folder / "summary.json").exists():
        return None
    return None if list(runs[-1].glob("*.synced")) else runs[-1]


def upload(paths: Sequence[Path]) -> None:
    """Uploads offline W&B runs by W&B's own command, which shows what it does.

    Raises:
        ValueError: it failed, for want of a login or otherwise.
    """
    command = [sys.executable, "-m", "wandb", "sync", "--yes", *map(str, paths)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1] if lines else f"exit code {done.returncode}"
        if "API key" in said or "login" in said:
            raise ValueError("not logged in to W&B: wandb login, then the same command again")
        raise ValueError(f"W&B uploaded nothing: {said}")
