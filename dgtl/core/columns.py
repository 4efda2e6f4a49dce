"""A history in columns (Parquet): opened at once, and only what is wanted of it is read.

Runs append JSON lines (`dgtl.core.history`); what many runs have gathered is packed now and then
(``scripts/pack_history.py``). Trials of a task lie together, so that those of a few tasks are read
without the others. The first rows are the tasks with their spaces and the provenances, each a
record as JSON has it; all others are trials, a column for each field.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dgtl.core.history import History, HistoryError, SourceTask
from dgtl.core.records import Task, Trial
from dgtl.core.space import DesignSpace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

SUFFIX = ".parquet"

GROUP_ROWS = 1 << 14
"""Rows that are read at once: more than most tasks have trials, and a hundredth of a second."""

MOST_RECORDS_BYTES = 1 << 30
"""Of all tasks with their spaces as text, a few thousand bytes each."""

_NUMBERS = ("build_s", "run_s", "wall_s", "model_s", "timestamp", "predicted_gflops")
_WORDS = ("task", "status", "stage", "provenance")
_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("trials", pa.int64()),
        *((name, pa.string()) for name in (*_WORDS, "config", "error")),
        ("run_times_s", pa.list_(pa.float64())),
        ("quick", pa.bool_()),
        *((name, pa.float64()) for name in _NUMBERS),
    ]
)


@dataclasses.dataclass(frozen=True)
class StoredTask:
    """A task of a file: itself, its record, and where its trials are.

    Args:
        task: the task.
        record: text of its record, with its design space: read when the task is, for few are.
        first: row of its first trial, counted from the first trial of all.
        n_trials: how many it has.
    """

    task: Task
    record: str
    first: int
    n_trials: int


class ColumnHistory:
    """A history file in columns.

    Args:
        path: of the file.

    Attributes:
        tasks: every task.
        n_trials: of all tasks.

    Raises:
        HistoryError: the file is missing, damaged or of something else.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = pq.ParquetFile(path)
            if self._file.schema_arrow != _SCHEMA:
                raise ValueError("its columns are not those of a history")
            groups = range(self._file.num_row_groups)
            sizes = [self._file.metadata.row_group(i).num_rows for i in groups]
            self.tasks = list(self._read_tasks())
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise HistoryError(f"history {path} cannot be read: {error}"[:400]) from error
        self._ends = np.cumsum(sizes)
        self._kept: tuple[int, pa.Table] | None = None
        self.n_trials = sum(stored.n_trials for stored in self.tasks)
        if self._n_records + self.n_trials != self._file.metadata.num_rows:
            raise HistoryError(f"history {path} cannot be read: it does not hold all its trials")

    def _read_tasks(self) -> Iterator[StoredTask]:
        """The tasks of the first row groups, which hold records only."""
        self._n_records, n_bytes, first = 0, 0, 0
        for group in range(self._file.num_row_groups):
            column = self._file.metadata.row_group(group).column(0)
            n_bytes += column.total_uncompressed_size
            if n_bytes > MOST_RECORDS_BYTES:
                raise ValueError("its tasks are larger than any")
            table = self._file.read_row_group(group, columns=["record", "trials"])
            texts, counts = table["record"].to_pylist(), table["trials"].to_pylist()
            for text, count in zip(texts, counts, strict=True):
                if text is None:
                    return
                self._n_records += 1
                record = json.loads(text)
                if record["type"] == "task" and count:
                    if not 0 < count <= self._file.metadata.num_rows:
                        raise ValueError("a number of trials is out of range")
                    if not isinstance(record["space"], dict):
                        raise ValueError("a task without a design space")
                    yield StoredTask(Task.from_json(record), text, first, count)
                    first += count

    def read(self, wanted: Iterable[tuple[StoredTask, int]], seed: int) -> list[SourceTask]:
        """Tasks with so many of their trials each, drawn at random.

        Raises:
            HistoryError: a part of the file is damaged.
        """
        found = []
        for stored, n in wanted:
            rng = np.random.default_rng([seed, stored.first])
            rows = np.sort(rng.permutation(stored.n_trials)[:n])
            try:
                space = DesignSpace.from_json(json.loads(stored.record)["space"])
                trials = [Trial.from_json(r) for r in self._records(stored.first, rows)]
                if any(trial.task != stored.task.key for trial in trials):
                    raise ValueError("trials that are not those of the task")
            except (OSError, pa.ArrowException, ValueError) as error:
                raise HistoryError(
                    f"history {self.path}, task {stored.task.key[:80]} cannot be used: {error}"
                ) from error
            found.append(SourceTask(stored.task, space, tuple(trials)))
        return found

    def _records(self, first: int, rows: np.ndarray) -> Iterator[dict[str, Any]]:
        """Records of trials by their number after ``first``."""
        rows = self._n_records + first + rows
        group_of = np.searchsorted(self._ends, rows, side="right")
        for group in np.unique(group_of):
            begin = int(self._ends[group - 1]) if group else 0
            table = self._group(int(group)).take(rows[group_of == group] - begin)
            for record in table.to_pylist():
                yield {name: value for name, value in record.items() if value is not None}

    def _group(self, group: int) -> pa.Table:
        """A row group; the last one is kept, for the next task often begins where one ends."""
        if self._kept is None or self._kept[0] != group:
            self._kept = group, self._file.read_row_group(group).drop(["record", "trials"])
        return self._kept[1]


def pack(paths: Sequence[Path], out: Path) -> int:
    """Writes histories of lines as one file in columns; how many trials that are.

    Raises:
        ValueError: a history that cannot be used, or a name that is not one of such files.
    """
    if out.suffix != SUFFIX:
        raise ValueError(f"{out}: name it {SUFFIX}")
    history = History.read(*paths)
    sources = list(history)
    records = [provenance.to_json() for provenance in history.provenances.values()]
    records += [
        {**s.task.to_json(), "space": s.space.to_json(), "trials": len(s.trials)} for s in sources
    ]
    write_columns(records, (trial_table(source.trials) for source in sources), out)
    return history.n_trials


def write_columns(
    records: Sequence[dict[str, Any]], trials: Iterable[pa.Table], path: Path
) -> None:
    """Writes a file in columns, which appears under its name when it is complete.

    Args:
        records: of tasks with their spaces and, as ``trials``, how many they have, and of
            provenances; tasks in the order of their trials.
        trials: tables of `trial_table`, those of each task together.
        path: of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with pq.ParquetWriter(partial, _SCHEMA, compression="zstd") as writer:
            texts = [json.dumps(record, separators=(",", ":")) for record in records]
            counts = [record.get("trials", 0) for record in records]
            writer.write_table(_table({"record": texts, "trials": counts}), GROUP_ROWS)
            for table in _grouped(trials):
                writer.write_table(table)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _grouped(trials: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables put together to row groups."""
    waiting: list[pa.Table] = []
    for table in trials:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def trial_table(trials: Sequence[Trial]) -> pa.Table:
    """Trials as a table."""
    fields = [field.name for field in dataclasses.fields(Trial)]
    columns: dict[str, list[Any]] = {n: [getattr(t, n) for t in trials] for n in fields}
    columns["status"] = [str(status) for status in columns["status"]]
    columns["run_times_s"] = [list(times) for times in columns["run_times_s"]]
    return _table(columns)


def _table(columns: dict[str, list[Any]]) -> pa.Table:
    n = len(next(iter(columns.values())))
    nothing = [None] * n
    arrays = [pa.array(columns.get(field.name, nothing), field.type) for field in _SCHEMA]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)
