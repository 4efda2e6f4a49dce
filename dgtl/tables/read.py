"""Recorded tables to search in: reading them, and which of them may be learnt from for which.

A table is a `SourceTask` with one trial per configuration. It comes from a history or from AutoTVM
logs. What a target learns from is all other tables of the hardware but those of its fold: other
layers (shapes), or whole other networks. Tables too small to be searched are learnt from as well.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from dgtl.autotvm_logs.importer import import_logs
from dgtl.core.history import SHIPPED, SHIPPED_TABLES, History, SourceTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dgtl.core.records import Provenance

BENCH = "intel-r-xeon-r-processor-rocketlake"
"""Hardware whose shipped tables are searched unless another is named: the least noisy ones."""


@dataclasses.dataclass(frozen=True)
class Tables:
    """What was read.

    Args:
        tables: those to search, one per task, all of one hardware, in the order of their keys.
        small: those with too few rows to be searched, only learnt from; same hardware and order.
        provenances: under which they were measured.
        skipped: keys of tasks of which no trial ran.
    """

    tables: tuple[SourceTask, ...]
    small: tuple[SourceTask, ...]
    provenances: tuple[Provenance, ...]
    skipped: tuple[str, ...]


def read_tables(
    paths: Sequence[str] | None, hardware: str | None = None, min_rows: int = 1
) -> Tables:
    """Reads histories (``.jsonl``, ``.jsonl.xz``, or folders of them) and AutoTVM logs.

    Args:
        paths: files or folders; None is the shipped tables and the shipped history. What several
            of them hold of one task is one table.
        hardware: name of the hardware, needed where the files hold several; of what is shipped,
            None is `BENCH`. It may have measured with several numbers of cores, each a task of its
            own.
        min_rows: tasks with fewer distinct configurations are only learnt from.

    Raises:
        ValueError: a path that cannot be read, no table that is large enough, several hardware.
    """
    files = [Path(path) for path in paths] if paths is not None else [SHIPPED_TABLES, SHIPPED]
    if paths is None and hardware is None:
        hardware = BENCH
    histories = [path for path in files if _is_history(path)]
    logs = [path for path in files if path not in histories]
    sources: list[SourceTask] = []
    provenances: list[Provenance] = []
    if histories:
        history = History.read(*histories)
        sources += history
        provenances += history.provenances.values()
    if logs:
        imported = import_logs(logs)
        sources += imported.sources
        provenances += imported.provenances.values()

    names = sorted({source.task.hardware.name for source in sources})
    if hardware is not None:
        sources = [source for source in sources if source.task.hardware.name == hardware]
    elif len(names) > 1:
        raise ValueError(f"tables of several hardware: choose with hardware.name={'|'.join(names)}")
    tables = sorted(map(_distinct, _merged(sources)), key=lambda table: table.task.key)
    ran = [table for table in tables if table.ok_trials]
    large = [table for table in ran if len(table.trials) >= min_rows]
    if not large:
        raise ValueError(
            f"no table of {hardware or 'any hardware'} with {min_rows} configurations or more in "
            f"{', '.join(map(str, files))} ({len(tables)} smaller ones; hardware there: "
            f"{', '.join(names) or 'none'})"
        )
    return Tables(
        tuple(large),
        tuple(table for table in ran if len(table.trials) < min_rows),
        tuple(p for p in provenances if p.hardware.name == large[0].task.hardware.name),
        tuple(table.task.key for table in tables if not table.ok_trials),
    )


def _is_history(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob("*.jsonl")) or any(path.glob("*.jsonl.xz"))
    return path in (SHIPPED, SHIPPED_TABLES) or path.name.endswith((".jsonl", ".jsonl.xz"))


def _merged(sources: Iterable[SourceTask]) -> list[SourceTask]:
    """One per task, with the trials of all, in the order given."""
    merged: dict[str, SourceTask] = {}
    for source in sources:
        same = merged.setdefault(source.task.key, source)
        if same is not source:
            both = (*same.trials, *source.trials)
            merged[source.task.key] = dataclasses.replace(same, trials=both)
    return list(merged.values())


def _distinct(source: SourceTask) -> SourceTask:
    """One trial per configuration, the first recorded, in the order of configurations.

    Records without a time for building and running together take the sum of both. The task is named
    after its key, since AutoTVM's logs call all tasks of a template the same.
    """
    first = {trial.config: trial for trial in reversed(source.trials)}
    trials = [
        trial.replace(wall_s=trial.wall_s or trial.build_s + trial.run_s, model_s=0.0, stage="")
        for _, trial in sorted((tuple(map(int, k.split("."))), t) for k, t in first.items())
    ]
    task = dataclasses.replace(source.task, name=source.task.key.split("@")[0])
    return dataclasses.replace(source, task=task, trials=tuple(trials))
