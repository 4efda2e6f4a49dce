"""The one way to assign groups to folds, for everything that leaves something out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def assign_folds(groups: ArrayLike, folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Fold of every row: groups stay together, and are spread over the folds as evenly as can be.

    At random, since neighbours in the order of groups are alike.

    Args:
        groups: label of the group of each row [N].
        folds: how many; at most as many as there are groups.
        rng: the assignment.

    Returns:
        Numbers 0, 1, ... [N].
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    fold_of: NDArray[np.int64] = rng.permutation(len(names)) % min(folds, len(names))
    return fold_of[group]
