"""`dgtl history`: what the local history holds, to another machine and from there."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING

from dgtl.autotvm_logs.importer import import_logs
from dgtl.core import local_history
from dgtl.core.history import History, HistoryError
from dgtl.core.local_history import LocalHistory

if TYPE_CHECKING:
    from pathlib import Path


def listing() -> str:
    """A line for each processor with its tasks and trials, after one for the folder."""
    folder = local_history.default_folder()
    local = LocalHistory.read(folder)
    tasks: Counter[str] = Counter()
    trials: Counter[str] = Counter()
    for source in local.sources:
        hardware = source.task.hardware
        name = f"{hardware.name}, {hardware.num_cores} cores"
        tasks[name] += 1
        trials[name] += len(source.trials)
    n = len(local_history.files(folder))
    lines = [f"{folder}: {local.n_trials} trials of {len(local.sources)} tasks in {n} files"]
    lines += [f"  {name}: {trials[name]} trials of {tasks[name]} tasks" for name in sorted(tasks)]
    return "\n".join([*lines, *local.remarks])


def export(path: Path) -> str:
    """Writes all of the local history into one file.

    Raises:
        ValueError: there is nothing, the file is there already or cannot be written.
    """
    if not path.name.endswith((".jsonl", ".jsonl.xz")):
        raise ValueError(f"{path}: name it .jsonl or .jsonl.xz")
    if path.exists():
        raise ValueError(f"{path} exists already: remove it, or name another")
    folder = local_history.default_folder()
    local = LocalHistory.read(folder)
    if not local.sources:
        raise ValueError(f"the local history {folder} is empty: dgtl tune fills it")
    local_history.export(local.sources, path)
    return f"{path}: {local.n_trials} trials of {len(local.sources)} tasks"


def take_in(path: Path) -> str:
    """Adds a history of dgtl, or what is in logs of AutoTVM, to the local history.

    Args:
        path: a file, or a folder of them.

    Raises:
        ValueError: it is neither.
    """
    history = _read(path)
    folder = local_history.default_folder()
    if local_history.add(folder, history) is None:
        raise ValueError(f"{path} holds no trials")
    return f"{path}: {history.n_trials} trials are in {folder} now"


def _read(path: Path) -> History:
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    try:
        with warnings.catch_warnings(action="error"):  # a damaged end: no history, or not all of it
            return History.read(path)
    except (HistoryError, UserWarning) as not_ours:
        try:
            return History.of(import_logs([path]).sources)
        except ValueError as not_theirs:
            raise ValueError(
                f"{path} is no history of dgtl ({not_ours}) and no log of AutoTVM ({not_theirs})"
            ) from not_theirs
