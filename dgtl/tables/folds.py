"""Which tables are searched, and which of them each may learn from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dgtl.core.folds import assign_folds
from dgtl.tables.networks import OTHER, SHAPES, networks_of, weight_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgtl.core.history import SourceTask
    from dgtl.tables.read import Tables


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


def layer_folds(read: Tables, targets: Sequence[SourceTask], n: int | None) -> list[Fold]:
    """Layers in ``n`` folds, one per layer if None; tables of one shape stay together.

    The folds are those of all tables to search, whichever are ``targets``. With one fold, targets
    learn from the small tables alone.

    Raises:
        ValueError: no fold, or one that has nothing to learn from.
    """
    shapes = sorted({table.task.shape_key for table in read.tables})
    n = len(shapes) if n is None else min(n, len(shapes))
    if n < 1:
        raise ValueError(f"workload.folds={n}: at least 1")
    fold_of = dict(zip(shapes, assign_folds(shapes, n, np.random.default_rng(0)), strict=True))
    folds = []
    for number in range(n):
        left_out = {shape for shape, fold in fold_of.items() if fold == number}
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
    for name in (*SHAPES, OTHER) if networks is None else networks:
        own = tuple(t for t in left if name in networks_of(t.task))
        left = [t for t in left if t not in own]
        sources = tuple(t for t in (*read.tables, *read.small) if name not in networks_of(t.task))
        if own and not sources:
            raise ValueError(f"all tables are of {name}: leave_out=network leaves nothing to learn")
        if own:
            folds.append(Fold(name, own, sources))
    return folds


def network_fold(read: Tables, targets: Sequence[SourceTask], network: str) -> Fold:
    """One network of its recorded layers, each as often as the network runs it.

    Raises:
        ValueError: the network leaves nothing to learn from.
    """
    (fold,) = network_folds(read, targets, [network])
    layers = tuple(
        dataclasses.replace(t, task=dataclasses.replace(t.task, weight=weight_of(t.task, network)))
        for t in fold.targets
    )
    return dataclasses.replace(fold, targets=layers)
