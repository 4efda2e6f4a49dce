"""The history: all trials kept so far, as append-only JSON lines.

A file holds four kinds of record, told apart by ``type``: a ``task`` with its ``space``, a
``provenance``, and ``trial`` lines that refer to both. It is written one line at a time and
flushed, so that killing a run loses the trials in flight only. Files ending in ``.xz`` are read
the same way. A trial of stage ``check`` is the verdict on an earlier one of the same configuration:
it is put into that one, whose cost and run times stay.
"""

from __future__ import annotations

import dataclasses
import json
import lzma
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from dgtl.core.files import DamagedError, read_lines, write_whole
from dgtl.core.records import CHECK, Hardware, Provenance, Task, Trial
from dgtl.core.space import DesignSpace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

SHIPPED = Path(__file__).parents[1] / "data"
"""Folder of the history that comes with the program."""

SHIPPED_TABLES = SHIPPED / "tables"
"""Folder of recorded tables that come with the program: to be searched, not learnt from live."""


class HistoryError(ValueError):
    """A history that is missing or cannot be understood; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class SourceTask:
    """One task of a history, with what was tried on it.

    Args:
        task: the task.
        space: its design space.
        trials: its trials, failures included, in the order of measurement.
    """

    task: Task
    space: DesignSpace
    trials: tuple[Trial, ...]

    @property
    def ok_trials(self) -> tuple[Trial, ...]:
        """Trials that ran: the only ones a cost model may see."""
        return tuple(trial for trial in self.trials if trial.ok)

    def configs(self) -> NDArray[np.int32]:
        """Configurations [N, K] of `ok_trials`."""
        return self.space.of_trials(self.ok_trials)

    def gflops(self) -> NDArray[np.float64]:
        """Throughput [N] of `ok_trials`, in GFLOPS."""
        return np.array([self.task.gflops(trial.latency_s) for trial in self.ok_trials])


class History:
    """Tasks with their trials, from one or more files."""

    def __init__(self) -> None:
        self.provenances: dict[str, Provenance] = {}
        self._tasks: dict[str, tuple[Task, DesignSpace]] = {}
        self._trials: dict[str, list[Trial]] = {}

    @classmethod
    def read(cls, *paths: Path) -> History:
        """All records of ``paths``, files or folders of ``.jsonl`` and ``.jsonl.xz``.

        Raises:
            HistoryError: a path does not exist, is a folder without such files, or holds a line
                that is no record. A damaged last line of a plain file, as a killed run leaves it,
                is a warning only.
        """
        history = cls()
        for path in paths:
            for file in _files(path):
                for number, record in _read_lines(file):
                    try:
                        history.add(record)
                    except (KeyError, TypeError, ValueError) as error:
                        raise HistoryError(
                            f"history {file}, line {number} cannot be used: {error}"
                        ) from error
        return history

    @classmethod
    def of(cls, sources: Iterable[SourceTask]) -> History:
        """The trials of ``sources``, without their provenances."""
        history = cls()
        for source in sources:
            history._tasks[source.task.key] = source.task, source.space
            history._trials[source.task.key] = list(source.trials)
        return history

    def add(self, record: dict[str, Any]) -> None:
        """Takes in one record as read from JSON.

        Raises:
            ValueError: of an unknown type, or a task with another space than it had before.
        """
        if record["type"] == "task":
            task, space = Task.from_json(record), DesignSpace.from_json(record["space"])
            known = self._tasks.setdefault(task.key, (task, space))
            if known[1].to_json() != space.to_json():
                raise ValueError(
                    f"{task.key} has two design spaces, of two versions of the program: their "
                    "trials do not belong together"
                )
        elif record["type"] == "provenance":
            provenance = Provenance.from_json(record)
            self.provenances[provenance.id] = provenance
        elif record["type"] == "trial":
            trial = Trial.from_json(record)
            own = self._trials.setdefault(trial.task, [])
            if trial.stage != CHECK:
                own.append(trial)
                return
            for i, earlier in enumerate(own):
                if earlier.config == trial.config:
                    own[i] = earlier.replace(status=trial.status, error=trial.error)
        else:
            raise ValueError(f"unknown record type '{str(record['type'])[:40]}'")

    def records(self) -> Iterator[dict[str, Any]]:
        """Everything as records for JSON, which `add` takes back; verdicts are in their trials."""
        for provenance in self.provenances.values():
            yield provenance.to_json()
        for source in self:
            yield {**source.task.to_json(), "space": source.space.to_json()}
            for trial in source.trials:
                yield trial.to_json()

    def __iter__(self) -> Iterator[SourceTask]:
        """Every task with at least one trial."""
        for key, trials in self._trials.items():
            if not trials:
                continue
            if key not in self._tasks:
                raise HistoryError(f"trials of task {key} without the task itself")
            yield SourceTask(*self._tasks[key], tuple(trials))

    def trials(self, task_key: str) -> list[Trial]:
        """Trials of one task, in the order of measurement."""
        return list(self._trials.get(task_key, []))

    @property
    def n_trials(self) -> int:
        """Trials of all tasks, failures included."""
        return sum(len(trials) for trials in self._trials.values())

    def sources(
        self,
        hardware: Hardware,
        exclude_shapes: Iterable[str] = (),
        *,
        any_hardware: bool = False,
    ) -> list[SourceTask]:
        """The tasks that a target on ``hardware`` may learn from.

        Those measured on the same processor, with any number of cores (or on any processor, with
        ``any_hardware``), for the same kind of target, whose shape is none of ``exclude_shapes``.

        Raises:
            HistoryError: there are trials, but all of other hardware.
        """
        return usable(list(self), hardware, exclude_shapes, any_hardware=any_hardware)


class OfTask(Protocol):
    """Whatever is of a task."""

    @property
    def task(self) -> Task: ...


T = TypeVar("T", bound=OfTask)


def usable(
    found: Sequence[T],
    hardware: Hardware,
    exclude_shapes: Iterable[str] = (),
    *,
    any_hardware: bool = False,
) -> list[T]:
    """Those that a target on ``hardware`` may learn from, see `History.sources`.

    Raises:
        HistoryError: there are some, but all of other hardware.
    """
    same = [
        one
        for one in found
        if one.task.hardware.kind == hardware.kind
        and (any_hardware or one.task.hardware.name == hardware.name)
    ]
    if not same and found:
        machines = {one.task.hardware for one in found}
        kinds = ", ".join(sorted({h.kind for h in machines}))
        if all(h.kind != hardware.kind for h in machines):
            raise HistoryError(
                f"the history is of {kinds} targets and this one is {hardware.kind}: schedules "
                "of one say nothing of the other"
            )
        names = sorted({h.name for h in machines})
        raise HistoryError(
            f"the history is of other hardware ({', '.join(names)}; this is {hardware.name}): "
            "measure one here with scripts/collect_history.py, or set history.hardware=any"
        )
    excluded = set(exclude_shapes)
    return [one for one in same if one.task.shape_key not in excluded]


def trials_in_order(path: Path) -> list[Trial]:
    """The trials of a file as its lines have them: over all tasks, in the order of measurement.

    Raises:
        HistoryError: there is no such file, or a line is damaged.
    """
    records = [record for _, record in _read_lines(path)]
    return [Trial.from_json(record) for record in records if record["type"] == "trial"]


def subset(sources: Sequence[SourceTask], n: int, seed: int) -> list[SourceTask]:
    """A random ``n`` of all trials, and the tasks that still have any."""
    owner = np.repeat(np.arange(len(sources)), [len(s.trials) for s in sources])
    keep = np.random.default_rng(seed).permutation(len(owner)) < n
    kept = []
    for i, source in enumerate(sources):
        flags = keep[owner == i]
        trials = tuple(t for t, flag in zip(source.trials, flags, strict=True) if flag)
        if trials:
            kept.append(dataclasses.replace(source, trials=trials))
    return kept


class TrialLog:
    """Appends records to a history file, one flushed line each.

    Args:
        path: the file; made if absent. A damaged last line, as a killed run leaves it, is moved to
            ``<name>.damaged`` with a warning.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _set_aside_damaged_tail(path)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> TrialLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def _append(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record, separators=(",", ":")) + "\n")
        self._file.flush()

    def task(self, task: Task, space: DesignSpace) -> None:
        self._append({**task.to_json(), "space": space.to_json()})

    def provenance(self, provenance: Provenance) -> None:
        self._append(provenance.to_json())

    def trial(self, trial: Trial) -> None:
        self._append(trial.to_json())


def pack(source: Path, target: Path) -> None:
    """Compresses a history file, e.g. for shipping; times rounded to five digits."""
    write_records((record for _, record in _read_lines(source)), target)


def write_records(records: Iterable[dict[str, Any]], target: Path) -> None:
    """Writes a history file, compressed where its name ends in ``.xz``; times to five digits.

    It appears under its name only when it is complete.
    """
    lines = []
    for record in records:
        if record["type"] == "trial":
            record = {k: _rounded(v) for k, v in record.items()}
        lines.append(json.dumps(record, separators=(",", ":")))
    target.parent.mkdir(parents=True, exist_ok=True)
    content = ("\n".join(lines) + "\n").encode()
    if target.suffix == ".xz":
        content = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    write_whole(target, content)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 1) if value > 1e8 else float(f"{value:.5g}")
    return [_rounded(v) for v in value] if isinstance(value, list) else value


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.xz")])
        if not files:
            raise HistoryError(f"history {path}: the folder holds no .jsonl or .jsonl.xz file")
        return files
    if not path.exists():
        raise HistoryError(f"history {path}: no such file or folder")
    return [path]


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Records with their line numbers, from 1."""
    lines = enumerate(read_lines(path), start=1)
    while True:
        try:
            number, line = next(lines, (0, b""))
        except (OSError, DamagedError) as error:
            raise HistoryError(f"history {path} cannot be read: {error}") from error
        if not line:
            return
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            record["type"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if not line.endswith(b"\n"):
                warnings.warn(f"{path}: the last line is damaged and left out", stacklevel=2)
                continue
            raise HistoryError(f"history {path}, line {number} is damaged: {error}") from error
        yield number, record


def _set_aside_damaged_tail(path: Path) -> None:
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    tail = data[end:]
    if not tail:
        return
    if _is_json(tail):
        with path.open("ab") as file:
            file.write(b"\n")
        return
    aside = path.with_name(path.name + ".damaged")
    with aside.open("ab") as file:
        file.write(tail + b"\n")
    with path.open("r+b") as file:
        file.truncate(end)
    warnings.warn(f"{path}: the last line was damaged and is now in {aside.name}", stacklevel=3)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
