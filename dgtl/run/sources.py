"""What a live run learns from: the shipped history, or the user's, in lines or in columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dgtl.autotvm_logs.importer import import_logs
from dgtl.core.columns import SUFFIX, ColumnHistory
from dgtl.core.history import SHIPPED, History, HistoryError, SourceTask, subset, usable
from dgtl.features.similarity import most_alike

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig

    from dgtl.core.records import Hardware, Task
    from dgtl.report.progress import Progress


def read_sources(
    cfg: DictConfig, hardware: Hardware, tasks: Sequence[Task], progress: Progress
) -> list[SourceTask]:
    """The tasks to learn from: none has the shape of a target (the paper's setting: new tasks).

    Args:
        cfg: the composed configuration.
        hardware: of the targets.
        tasks: the targets.
        progress: is told what was chosen.

    Raises:
        ValueError: a history that cannot be used.
    """
    any_hardware = cfg.history.hardware == "any"
    shapes = set() if cfg.history.own_layers else {task.shape_key for task in tasks}
    path = None if cfg.history.path is None else Path(cfg.history.path)
    if path is None:
        sources = _shipped(hardware, shapes, any_hardware, progress)
    elif path.suffix == SUFFIX:
        sources = _of_columns(cfg, path, hardware, tasks, shapes, progress)
    else:
        found = History.read(path).sources(hardware, shapes, any_hardware=any_hardware)
        sources = _bounded(cfg, found, tasks, progress)
    if (logs := cfg.history["import"]) is not None:
        try:
            imported = History.of(import_logs([Path(logs)]).sources)
            sources += imported.sources(hardware, shapes, any_hardware=any_hardware)
        except ValueError as error:
            raise ValueError(f"history.import={logs}: {error}") from error
    if cfg.history.max_trials is None:
        return sources
    return subset(sources, cfg.history.max_trials, cfg.seed)


def _shipped(
    hardware: Hardware, shapes: set[str], any_hardware: bool, progress: Progress
) -> list[SourceTask]:
    """Of the shipped history; the user never asked for it, so that it must not stop the run."""
    history = History.read(SHIPPED)
    try:
        return history.sources(hardware, shapes, any_hardware=any_hardware)
    except HistoryError as error:
        if all(source.task.hardware.kind != hardware.kind for source in history):
            progress.message(f"nothing is shipped for {hardware.kind} targets")
            return []
        progress.message(f"{error}; learning from it all the same")
        return history.sources(hardware, shapes, any_hardware=True)


def _of_columns(
    cfg: DictConfig,
    path: Path,
    hardware: Hardware,
    tasks: Sequence[Task],
    shapes: set[str],
    progress: Progress,
) -> list[SourceTask]:
    """Of a history in columns: the trials of the chosen tasks are all that is read."""
    history = ColumnHistory(path)
    any_hardware = cfg.history.hardware == "any"
    stored = usable(history.tasks, hardware, shapes, any_hardware=any_hardware)
    chosen = _chosen(cfg, [(s.task, s.n_trials) for s in stored], tasks, progress)
    return history.read([(stored[i], n) for i, n in chosen.items()], cfg.seed)


def _bounded(
    cfg: DictConfig, sources: list[SourceTask], tasks: Sequence[Task], progress: Progress
) -> list[SourceTask]:
    """Of a history of lines, which was read as a whole."""
    counted = [(source.task, len(source.trials)) for source in sources]
    chosen = _chosen(cfg, counted, tasks, progress)
    return [part for i, n in chosen.items() for part in subset([sources[i]], n, cfg.seed)]


def _chosen(
    cfg: DictConfig,
    counted: Sequence[tuple[Task, int]],
    targets: Sequence[Task],
    progress: Progress,
) -> dict[int, int]:
    """Of which of these tasks, each with so many trials, how many are learned from."""
    most, counts = cfg.history.most_alike, [n for _, n in counted]
    if most is None or sum(counts) <= most:
        return dict(enumerate(counts))
    chosen = most_alike([task for task, _ in counted], counts, targets, most)
    progress.message(
        f"of {sum(counts)} trials of {len(counted)} tasks, {sum(chosen.values())} of the "
        f"{len(chosen)} tasks most like these are learned from (history.most_alike)"
    )
    return chosen
