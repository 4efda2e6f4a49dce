"""Which tasks are most like those to tune: what to learn from where a history is too large.

Two tasks are alike if the numbers of their shape are: extents by the role of the axis, bytes of the
buffers, operations. All are logarithms, as the columns of `dgtl.features.loop_nest` that do not
depend on a configuration; a distance of 1 is a factor of 2 in one of them.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dgtl.core.records import Task

ROLES = 3
"""Axes of a kind that are told apart, from the innermost; the others are taken together."""

OTHER_KIND = 4.0
"""What another kind of layer adds to the distance."""

LEAST_SHAPES = 32
"""A bound on trials is shared by so many shapes at least, where there are so many: a model that
learns from few layers fits their peculiarities."""


def distances(tasks: Sequence[Task], targets: Sequence[Task]) -> NDArray[np.float64]:
    """Distance of every task to every target [N, M]."""
    a, b = (np.array([_numbers(task) for task in some]) for some in (tasks, targets))
    kinds = np.array([x.kind for x in tasks])[:, None] != np.array([y.kind for y in targets])
    apart = np.stack([np.sqrt(((a - row) ** 2).sum(axis=1)) for row in b], axis=1)
    return np.asarray(apart + OTHER_KIND * kinds)


def most_alike(
    tasks: Sequence[Task], counts: Sequence[int], targets: Sequence[Task], most: int
) -> dict[int, int]:
    """The tasks most like the targets, with as many trials as a bound allows.

    Every target has its say in turn, so that none is without its like, and tasks of one shape
    count as one, so that what was measured often is not all that is learned from.

    Args:
        tasks: to choose among.
        counts: trials of each.
        targets: to tune.
        most: trials in all.

    Returns:
        How many trials each of them gives, by index, in the order of indices.
    """
    if not tasks or not targets:
        return {}
    order = np.argsort(distances(tasks, targets), axis=0, kind="stable")
    chosen: dict[int, int] = {}
    of_shape: Counter[str] = Counter()
    left, each = most, max(most // LEAST_SHAPES, 1)
    for i in dict.fromkeys(order.reshape(-1).tolist()):
        shape = tasks[i].shape_key
        n = min(counts[i], each - of_shape[shape], left)
        if n > 0:
            chosen[i] = n
            of_shape[shape] += n
            left -= n
    return dict(sorted(chosen.items()))


def _numbers(task: Task) -> list[float]:
    roles: dict[tuple[str, int], float] = {(k, r): 0.0 for k in "SR" for r in range(ROLES)}
    for kind in "SR":
        extents = [axis.extent for axis in task.axes if axis.kind == kind]
        for place, extent in enumerate(reversed(extents)):
            roles[kind, min(place, ROLES - 1)] += math.log2(extent)
    steps = [c for a in task.accesses[:1] for row in a.strides for c in row if c > 0]
    return [
        *roles.values(),
        math.log2(max(task.bytes, 1)),
        math.log2(task.flops),
        math.log2(max(steps, default=1)),
        math.log2(task.hardware.num_cores),
    ]
