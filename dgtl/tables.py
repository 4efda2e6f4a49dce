"""Recorded tables to search in: reading them, and which of them may be learnt from for which.

A table is a `SourceTask` with one trial per configuration. It comes from a history or from AutoTVM
logs. What a target learns from is all other tables of the hardware but those of its fold: other
layers (shapes), or whole other networks. Tables too small to be searched are learnt from as well.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgtl.autotvm.importer import import_logs
from dgtl.history import SHIPPED, SHIPPED_TABLES, History, SourceTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dgtl.records import Provenance, Task

Layer = tuple[int, int, int, int, int]
"""A square convolution: input channels, output channels, kernel, stride, size of the output."""

NETWORKS: dict[str, dict[Layer, int]] = {
    # TVM's relay.testing variant: pre-activation, with a 1x1 shortcut in stage 1 as well.
    "resnet18": {
        **{(3, 64, 7, 2, 112): 1, (64, 64, 3, 1, 56): 4, (64, 64, 1, 1, 56): 1},
        **{(64, 128, 3, 2, 28): 1, (64, 128, 1, 2, 28): 1, (128, 128, 3, 1, 28): 3},
        **{(128, 256, 3, 2, 14): 1, (128, 256, 1, 2, 14): 1, (256, 256, 3, 1, 14): 3},
        **{(256, 512, 3, 2, 7): 1, (256, 512, 1, 2, 7): 1, (512, 512, 3, 1, 7): 3},
    },
    "vgg16": {
        **{(3, 64, 3, 1, 224): 1, (64, 64, 3, 1, 224): 1, (64, 128, 3, 1, 112): 1},
        **{(128, 128, 3, 1, 112): 1, (128, 256, 3, 1, 56): 1, (256, 256, 3, 1, 56): 2},
        **{(256, 512, 3, 1, 28): 1, (512, 512, 3, 1, 28): 2, (512, 512, 3, 1, 14): 3},
    },
    # Without its depthwise layers, which are of another kind.
    "mobilenet_v1": {
        **{(3, 32, 3, 2, 112): 1, (32, 64, 1, 1, 112): 1, (64, 128, 1, 1, 56): 1},
        **{(128, 128, 1, 1, 56): 1, (128, 256, 1, 1, 28): 1, (256, 256, 1, 1, 28): 1},
        **{(256, 512, 1, 1, 14): 1, (512, 512, 1, 1, 14): 5, (512, 1024, 1, 1, 7): 1},
        **{(1024, 1024, 1, 1, 7): 1},
    },
    # The first version, with the stride in the first 1x1 convolution of a block.
    "resnet50": {
        **{(3, 64, 7, 2, 112): 1, (64, 64, 1, 1, 56): 1, (64, 64, 3, 1, 56): 3},
        **{(64, 256, 1, 1, 56): 4, (256, 64, 1, 1, 56): 2, (256, 128, 1, 2, 28): 1},
        **{(128, 128, 3, 1, 28): 4, (128, 512, 1, 1, 28): 4, (256, 512, 1, 2, 28): 1},
        **{(512, 128, 1, 1, 28): 3, (512, 256, 1, 2, 14): 1, (256, 256, 3, 1, 14): 6},
        **{(256, 1024, 1, 1, 14): 6, (512, 1024, 1, 2, 14): 1, (1024, 256, 1, 1, 14): 5},
        **{(1024, 512, 1, 2, 7): 1, (512, 512, 3, 1, 7): 3, (512, 2048, 1, 1, 7): 3},
        **{(1024, 2048, 1, 2, 7): 1, (2048, 512, 1, 1, 7): 2},
    },
}
"""Distinct convolutions of networks, batch 1, 224 x 224, and how often a network runs each; a layer
may be of several networks. ResNet-18, VGG-16 and MobileNet-v1 as in TVM's ``relay.testing``."""

SQUARE = re.compile(r"conv2d_1x(\d+)x\1x(\d+)x(\d+)x\3x(\d+)(?:_yy\*(\d+)_xx\*\5)?")
"""Shape key of a square convolution of batch 1: output, channels, kernel, inputs, stride."""

OTHER = "other"
"""The network of what is in none of `NETWORKS`; in the GTX 1650 logs that is Inception v3."""


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
        hardware: name of the hardware, needed where the files hold several. It may have measured
            with several numbers of cores, each a task of its own.
        min_rows: tasks with fewer distinct configurations are only learnt from.

    Raises:
        ValueError: a path that cannot be read, no table that is large enough, several hardware.
    """
    files = [SHIPPED_TABLES, SHIPPED] if paths is None else [Path(path) for path in paths]
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


@dataclasses.dataclass(frozen=True)
class Fold:
    """Tables that are searched, and those that they may learn from.

    Args:
        name: of the fold.
        targets: to be searched.
        sources: of no layer that is left out.
    """

    name: str
    targets: tuple[SourceTask, ...]
    sources: tuple[SourceTask, ...]


def finder(patterns: Iterable[str] | None) -> Callable[[str], bool]:
    """Whether one of the regular expressions of ``workload.tasks`` finds something in a text.

    Raises:
        ValueError: an expression that is none, or no list of them.
    """
    if patterns is None:
        return lambda text: True
    if isinstance(patterns, str):
        raise ValueError(f"workload.tasks={patterns}: give a list: 'workload.tasks=[{patterns}]'")
    patterns = list(patterns)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ValueError(
                f"workload.tasks: {pattern} is read as a number; in quotes it is text: "
                f"workload.tasks=['\"{pattern}\"']"
            )
    try:
        found = [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise ValueError(
            f"workload.tasks: {error.pattern!r} is no regular expression: {error}"
        ) from error
    return lambda text: any(pattern.search(text) for pattern in found)


def choose(
    tables: Sequence[SourceTask],
    patterns: Iterable[str] | None = None,
    networks: Sequence[str] | None = None,
) -> list[SourceTask]:
    """The tables whose key one of the regular expressions finds, of one of the networks.

    Raises:
        ValueError: no table is left, or a network or an expression is unknown.
    """
    wanted = finder(patterns)
    chosen = [table for table in tables if wanted(table.task.key)]
    if networks is not None:
        unknown = set(networks) - {*NETWORKS, OTHER}
        if unknown:
            raise ValueError(
                f"workload.networks: {', '.join(sorted(unknown))} not known; "
                f"choose of {', '.join((*NETWORKS, OTHER))}"
            )
        chosen = [t for t in chosen if not networks_of(t.task).isdisjoint(networks)]
    if not chosen:
        raise ValueError("no table is left: see workload.tasks and workload.networks")
    return chosen


def layer_folds(read: Tables, targets: Sequence[SourceTask], n: int | None) -> list[Fold]:
    """Layers dealt into ``n`` folds, one per layer if None; tables of one shape stay together.

    The folds are those of all tables to search, whichever are ``targets``. With one fold, targets
    learn from the small tables alone.

    Raises:
        ValueError: no fold, or one that has nothing to learn from.
    """
    shapes = sorted({table.task.shape_key for table in read.tables})
    n = len(shapes) if n is None else min(n, len(shapes))
    if n < 1:
        raise ValueError(f"workload.folds={n}: at least 1")
    # Dealt at random, since neighbours in the order of shapes are alike.
    dealt = np.random.default_rng(0).permutation(len(shapes)) % n
    folds = []
    for number in range(n):
        left_out = {shape for shape, fold in zip(shapes, dealt, strict=True) if fold == number}
        own = tuple(t for t in targets if t.task.shape_key in left_out)
        sources = tuple(t for t in (*read.tables, *read.small) if t.task.shape_key not in left_out)
        if own and not sources:
            raise ValueError(
                f"{n} folds of {len(shapes)} layers leave nothing to learn from: without smaller "
                "tables, workload.folds is at least 2, and so are the layers of the tables"
            )
        if own:
            folds.append(Fold(f"layers {number + 1}/{n}", own, sources))
    return folds


def network_folds(
    read: Tables, targets: Sequence[SourceTask], networks: Sequence[str] | None = None
) -> list[Fold]:
    """One fold per network, which learns from no layer of that network.

    A target of several networks is searched with the first of them.

    Raises:
        ValueError: a network leaves nothing to learn from.
    """
    folds = []
    left = list(targets)
    for name in (*NETWORKS, OTHER) if networks is None else networks:
        own = tuple(t for t in left if name in networks_of(t.task))
        left = [t for t in left if t not in own]
        sources = tuple(t for t in (*read.tables, *read.small) if name not in networks_of(t.task))
        if own and not sources:
            raise ValueError(f"all tables are of {name}: leave_out=network leaves nothing to learn")
        if own:
            folds.append(Fold(name, own, sources))
    return folds


def networks_of(task: Task) -> frozenset[str]:
    """Names of the networks that a task's layer is of, batch 1; `OTHER` if none."""
    found = frozenset(name for name, layers in NETWORKS.items() if layer_of(task) in layers)
    return found or frozenset({OTHER})


def layer_of(task: Task) -> Layer | None:
    """The square convolution that a task is, batch 1; None for anything else."""
    found = SQUARE.fullmatch(task.shape_key)
    if found is None:
        return None
    size, outputs, kernel, inputs, stride = (int(n or 1) for n in found.groups())
    return inputs, outputs, kernel, stride, size
