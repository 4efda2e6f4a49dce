"""What the prediction experiments leave out: networks one at a time, and layers in folds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgtl.tables.folds import Fold, layer_folds
from dgtl.tables.networks import SHAPES, networks_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dgtl.tables.read import Tables

MIN_ROWS = 16
"""Tasks of which fewer trials ran are learned from, not predicted: they cannot be ranked."""

KINDS = ("network", "layer")
"""What may be left out."""


def left_out(read: Tables, kinds: Iterable[str], folds: int) -> list[Fold]:
    """What is predicted from what: networks, then layers in folds.

    Args:
        read: all tables of one hardware.
        kinds: of `KINDS`.
        folds: into which all layers are dealt, whatever network they are of.

    Returns:
        Folds whose sources hold no shape of their targets, on any number of cores; a layer of
        several networks is a target of each. There is none for a network of which nothing was
        recorded, or nothing beside it, or only layers that it shares with one larger network.

    Raises:
        ValueError: nothing is left to predict.
    """
    targets = [table for table in read.tables if len(table.ok_trials) >= MIN_ROWS]
    found = []
    if "network" in kinds:
        keys = {n: {t.task.key for t in targets if n in networks_of(t.task)} for n in SHAPES}
        for name, own in keys.items():
            sources = tuple(t for t in read.tables if name not in networks_of(t.task))
            if own and sources and not any(own < other for other in keys.values()):
                found.append(Fold(name, tuple(t for t in targets if t.task.key in own), sources))
    if "layer" in kinds:
        found += layer_folds(read, targets, folds)
    if not found:
        raise ValueError(
            f"no layer of {', '.join(SHAPES)} was recorded: leave out layers (--leave-out layer), "
            "or add logs"
        )
    return found
