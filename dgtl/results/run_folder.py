"""A run's folder: what made it (``run.json``), whether it is complete, and how it is read back.

A run is complete when it has a summary and had the same settings as now. Everything that a report
shows is read back from the folder: trials are the truth, ``summary.json`` adds what no trial tells
(the latency of the network, the time of pre-training).
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dgtl.core.files import read_object, write_whole
from dgtl.core.history import History, SourceTask
from dgtl.core.model_file import file_digest
from dgtl.core.revision import revision
from dgtl.core.typed import typed
from dgtl.results.model_hash import UNKNOWN, model_hash
from dgtl.results.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dgtl.core.records import Hardware

REPORT = "report.html"
"""The page that a run leaves, after everything else that is read back."""

RESULT_NEUTRAL_KEYS = ("fresh", "cache", "tracking")
"""Parts of the configuration that change nothing of what a run comes to."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """What made a run.

    Args:
        command: as typed; a sweep's is that of the one job.
        model: name of the method.
        revision: of the program, as in a provenance.
        date: when it began or last went on, ISO 8601 in UTC.
        config: the resolved configuration.
        fingerprint: of the configuration and of the files that it names.
        model_hashes: of the models that its trials are of: one, or more where another model went
            on with the run; `UNKNOWN` for trials of a program that did not keep it.
    """

    command: str
    model: str
    revision: str
    date: str
    config: dict[str, Any]
    fingerprint: str
    model_hashes: tuple[str, ...] = (UNKNOWN,)

    @classmethod
    def now(cls, command: str, model: str, config: dict[str, Any]) -> Origin:
        """Of a run that begins now."""
        date = datetime.now(UTC).isoformat(timespec="seconds")
        made_by = (model_hash(config.get("model"), scheduler=config.get("scheduler")),)
        return cls(command, model, revision(), date, config, fingerprint(config), made_by)

    def begin(self, folder: Path, *, fresh: bool) -> None:
        """Writes ``run.json``; what other settings, or a run set aside, came to is removed."""
        earlier = Origin.read(folder)
        if fresh or earlier is None or earlier.fingerprint != self.fingerprint:
            for name in ("summary.json", REPORT):
                (folder / name).unlink(missing_ok=True)
        hashes = self.model_hashes
        if not fresh and (folder / "trials.jsonl").exists():
            before = (UNKNOWN,) if earlier is None else earlier.model_hashes
            hashes = tuple(dict.fromkeys((*before, *hashes)))
        kept = dataclasses.replace(self, model_hashes=hashes)
        write_whole(folder / "run.json", json.dumps(dataclasses.asdict(kept), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Origin | None:
        """What made the run in a folder; None where it was not kept.

        Raises:
            ValueError: the file is damaged.
        """
        path = folder / "run.json"
        if not path.exists():
            return None
        try:
            return typed(cls, read_object(path))
        except ValueError as error:
            raise ValueError(f"{path} cannot be used: {error}") from error


def fingerprint(config: dict[str, Any]) -> str:
    """Equal for configurations that make the same run.

    Files and folders of trials that the configuration names count with their sizes and times: a
    history that has grown since teaches something else. A network counts with what is in its file
    and in the weights beside it, and so do its inputs.
    """
    settings = {name: value for name, value in config.items() if name not in RESULT_NEUTRAL_KEYS}
    paths = [settings.get("history", {}).get("path")]
    paths += settings.get("hardware", {}).get("tables") or []
    stamps = [_stamp(Path(path)) for path in paths if path is not None]
    workload = settings.get("workload", {})
    named = (workload.get("path"), workload.get("inputs"))
    digests = [file_digest(Path(path)) for path in named if path is not None]
    text = json.dumps([settings, stamps, digests], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


MAY_CHANGE = (
    *RESULT_NEUTRAL_KEYS,
    *("share", "deploy", "workload.tasks"),
    *("budget.trials", "budget.batch", "budget.seconds", "budget.stop_gain"),
    *("hardware.limit_gflops", "measure.rpc"),
)
"""What may change while a run goes on: it says how much is tried, or what is made of it."""


def changed(before: Any, now: Any, name: str = "") -> list[str]:
    """Names of the settings that make the trials of two configurations not belong together.

    Settings that only one of them has are those of another version of the program.
    """
    if name in MAY_CHANGE or before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        parts = [key for key in before if key in now]
        paths = [(key, f"{name}.{key}" if name else str(key)) for key in parts]
        return [found for key, path in paths for found in changed(before[key], now[key], path)]
    return [name]


def is_complete(folder: Path, config: dict[str, Any]) -> bool:
    """Whether a run of this configuration has ended here, its report, written last, included."""
    origin = Origin.read(folder)
    if origin is None or not all((folder / name).exists() for name in ("summary.json", REPORT)):
        return False
    return origin.fingerprint == fingerprint(config)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as read back from its folder.

    Args:
        folder: where it lies.
        origin: what made it; None for a run of a program that did not keep it.
        summary: what it came to, from its trials.
        results: tasks with their trials, a schedule that computed something wrong a failure.
        hardware: where the trials ran.
        revisions: of the program that measured, one for each start; empty for a replay.
        recorded_best: of a replay, throughput [GFLOPS] of each table's best row, by task key.
        replayed: true for a search of recorded tables.
    """

    folder: Path
    origin: Origin | None
    summary: Summary
    results: tuple[SourceTask, ...]
    hardware: Hardware
    revisions: tuple[str, ...]
    recorded_best: dict[str, float]
    replayed: bool

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Reads a run, finished or not.

        Raises:
            ValueError: there are no trials, or they cannot be used.
        """
        path = folder / "trials.jsonl"
        if not path.exists():
            raise ValueError(f"{folder} holds no trials.jsonl: give the folder of a run")
        history = History.read(path)
        results = tuple(history)
        if not results:
            raise ValueError(f"{path} holds no trial yet")
        origin = Origin.read(folder)
        report = folder / "replay.json"
        replay = read_object(report) if report.exists() else {}
        return cls(
            folder=folder,
            origin=origin,
            summary=_summary(folder, origin, results),
            results=results,
            hardware=results[0].task.hardware,
            revisions=() if replay else _revisions(history),
            recorded_best=_numbers(replay.get("best_gflops", {}), report),
            replayed=bool(replay),
        )


def _numbers(content: Any, path: Path) -> dict[str, float]:
    """A dictionary of numbers that a file holds."""
    if not isinstance(content, dict) or not all(
        isinstance(value, int | float) and math.isfinite(value) for value in content.values()
    ):
        raise ValueError(f"{path} cannot be used: best_gflops is no dictionary of numbers")
    return content


LOCK = "run.lock"
"""Locked as long as a process is at work in the folder."""


def claim(folder: Path) -> IO[str]:
    """Keeps other processes from a run's folder until this one ends, or the file is closed.

    The lock is the process's: one that is killed leaves none behind.

    Raises:
        ValueError: another process is at work there.
    """
    file = (folder / LOCK).open("a")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return file  # a file system without locks
        file.close()
        raise ValueError(
            f"another run is at work in {folder}: wait for it, or choose another folder with "
            "hydra.run.dir=FOLDER"
        ) from error
    return file


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """The folders of all runs in or below the given ones.

    Raises:
        ValueError: there are none in one of them.
    """
    found: list[Path] = []
    for folder in folders:
        runs = sorted(path.parent for path in folder.rglob("trials.jsonl"))
        if not runs:
            raise ValueError(f"no run in {folder}: give a folder that holds a trials.jsonl")
        found += runs
    return list(dict.fromkeys(found))


def _revisions(history: History) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p.revision for p in history.provenances.values()))


def _summary(folder: Path, origin: Origin | None, results: tuple[SourceTask, ...]) -> Summary:
    """The summary anew from the trials, the rest from ``summary.json`` where there is one."""
    path = folder / "summary.json"
    config = {} if origin is None else origin.config
    named, seed = config.get("workload"), config.get("seed", 0)
    summary = summarise(
        results,
        workload=str(named.get("name", folder.name)) if isinstance(named, dict) else folder.name,
        model="unknown" if origin is None else origin.model,
        hardware=results[0].task.hardware,
        seed=seed if isinstance(seed, int) else 0,
        pretrain_s=0.0,
        sources=[],
        untuned_latency_ms=None,
        latency_ms=None,
    )
    if not path.exists():
        return summary
    kept = Summary.read(path)
    names = ["workload", "model", "seed", "pretrain_s", "untuned_latency_ms", "latency_ms"]
    names += ["source_tasks", "source_trials"]
    return dataclasses.replace(summary, **{name: getattr(kept, name) for name in names})


def _stamp(path: Path) -> list[tuple[str, int, int]]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
