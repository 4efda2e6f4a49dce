"""The local history: what was tuned on this machine, so that the next network starts ahead.

A folder with one compressed history file for each run or import. A file is written once, in one
go, and never changed: processes that add at the same time do not meet.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from dgtl.core.history import History, HistoryError, write_records
from dgtl.core.records import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dgtl.core.history import SourceTask
    from dgtl.core.records import Hardware

SUFFIX = ".jsonl.xz"


def default_folder() -> Path:
    """Where the local history is: ``DGTL_HISTORY``, else in the user's folder for data."""
    named = os.environ.get("DGTL_HISTORY")
    return Path(named) if named else Path(platformdirs.user_data_dir("dgtl")) / "history"


@dataclasses.dataclass(frozen=True)
class LocalHistory:
    """What a folder of local history holds.

    Args:
        sources: tasks with their trials, each configuration once: as it was measured last.
        remarks: files that cannot be used, and why; one line each.
    """

    sources: tuple[SourceTask, ...] = ()
    remarks: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> LocalHistory:
        """Reads a folder, which may be absent; a file that cannot be used is left out.

        Of a task that has two design spaces, of two versions of the program, the newer counts.
        """
        found: dict[str, SourceTask] = {}
        remarks = []
        for path in reversed(files(folder)):
            try:
                history = list(History.read(path))
            except HistoryError as error:
                remarks.append(f"{error}: left out")
                continue
            for source in history:
                newer = found.get(source.task.key)
                if newer is None:
                    found[source.task.key] = _distinct(source)
                elif newer.space.to_json() == source.space.to_json():
                    both = (*newer.trials, *source.trials)
                    found[source.task.key] = _distinct(dataclasses.replace(newer, trials=both))
        return cls(tuple(found.values()), tuple(remarks))

    def of_kind(self, hardware: Hardware) -> list[SourceTask]:
        """The tasks for the same kind of target, on any processor."""
        return [s for s in self.sources if s.task.hardware.kind == hardware.kind]

    @property
    def n_trials(self) -> int:
        return sum(len(source.trials) for source in self.sources)


def make(folder: Path) -> None:
    """Makes the folder, if it is absent.

    Raises:
        HistoryError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def files(folder: Path) -> list[Path]:
    """The files of a local history, the oldest first."""
    found = folder.glob(f"*{SUFFIX}") if folder.is_dir() else []
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def add(folder: Path, history: History) -> Path | None:
    """Adds what a history holds; None if it has no trial that was made in its own run.

    The same history added twice is one file.

    Raises:
        HistoryError: the folder cannot be written.
    """
    records = [r for r in history.records() if r.get("stage") != KNOWN]
    trials = [r for r in records if r["type"] == "trial"]
    if not trials:
        return None
    names = "\n".join(sorted(f"{r['task']} {r['config']} {r.get('timestamp', 0)}" for r in trials))
    name = hashlib.sha256(names.encode()).hexdigest()[:16]
    path = folder / f"{name}{SUFFIX}"
    try:
        write_records(records, path)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return path


def export(sources: Iterable[SourceTask], target: Path) -> None:
    """Writes tasks with their trials as one history file.

    Raises:
        HistoryError: it cannot be written.
    """
    try:
        write_records(History.of(sources).records(), target)
    except OSError as error:
        raise HistoryError(f"{target} cannot be written: {error.strerror}") from error


def _unwritable(folder: Path, error: OSError) -> HistoryError:
    return HistoryError(
        f"the local history {folder} cannot be written: {error.strerror} "
        "(DGTL_HISTORY=FOLDER chooses another)"
    )


def _distinct(source: SourceTask) -> SourceTask:
    """The task with the first trial of each configuration."""
    trials = {trial.config: trial for trial in reversed(source.trials)}
    return dataclasses.replace(source, trials=tuple(reversed(trials.values())))
