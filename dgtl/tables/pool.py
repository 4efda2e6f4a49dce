"""Searching a recorded table: the design space confined to the configurations that were measured.

In a pool every configuration stands for the nearest one of the table: it has that row's key and
that row's features. So whatever a tuner does with configurations (walking knob by knob, crossing
parents, averaging a cluster), it searches the rows and nothing else, and needs to know nothing of
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from dgtl.core.space import DesignSpace
from dgtl.features.loop_nest import FeatureMap
from dgtl.features.problem import Problem

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from dgtl.core.records import Task
    from dgtl.core.space import Configurations

NEIGHBOURS = 16
"""Rows that a row can become in one step of annealing."""


class PoolSpace(DesignSpace):
    """A design space that holds only given configurations, its rows.

    Distances are between the log2 tile factors; a step of any other choice counts as much as a
    factor of two. The rows are in lexicographic order, whatever order they were recorded in: that
    of a tuner's log would tell how good they are.

    Args:
        space: the whole space.
        rows: configurations [N, K] of it; repeats count once.

    Raises:
        ValueError: no rows.
    """

    def __init__(self, space: DesignSpace, rows: Configurations):
        super().__init__(space.knobs, space.structure)
        if len(rows) == 0:
            raise ValueError("a pool needs at least one recorded configuration")
        self.rows: Configurations = np.unique(rows, axis=0).astype(np.int32)
        self._keys = space.keys(self.rows)
        self._row_of = {row.tobytes(): i for i, row in enumerate(self.rows)}
        self._scales = [
            np.log2(knob.table) if knob.role == "tile" else np.arange(len(knob))[:, None]
            for knob in self.knobs
        ]
        points = self._points(self.rows)
        self._tree = cKDTree(points)
        # The first neighbour of each row is itself.
        count = min(NEIGHBOURS + 1, len(self.rows))
        _, near = self._tree.query(points, k=range(1, count + 1))
        self._near: NDArray[np.int64] = near[:, 1:] if count > 1 else near

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def find(self, configs: Configurations) -> NDArray[np.int64]:
        """The row [N] that each configuration [N, K] stands for: itself, or the nearest."""
        configs = np.ascontiguousarray(configs, dtype=np.int32)
        found = np.array([self._row_of.get(c.tobytes(), -1) for c in configs], dtype=np.int64)
        outside = found < 0
        if outside.any():
            found[outside] = self._tree.query(self._points(configs[outside]))[1]
        return found

    def sample(self, rng: np.random.Generator, n: int) -> Configurations:
        """``n`` random rows [n, K]; repeats are possible."""
        return self.rows[rng.integers(0, self.size, size=n)]

    def sample_distinct(self, rng: np.random.Generator, n: int) -> Configurations:
        """At most ``n`` distinct rows [<=n, K], in random order."""
        return self.rows[rng.permutation(self.size)[:n]]

    def neighbours(self, rng: np.random.Generator, configs: Configurations) -> Configurations:
        """For each configuration [N, K] one of the `NEIGHBOURS` rows nearest to its row."""
        near = self._near[self.find(configs)]
        choice = rng.integers(0, near.shape[1], size=len(near))
        return self.rows[near[np.arange(len(near)), choice]]

    def index(self, configs: Configurations) -> list[int]:
        """`find`, as a list: a row's place is its rank."""
        return [int(i) for i in self.find(configs)]

    def at(self, indices: Any) -> Configurations:
        """Rows [N, K] of given ranks."""
        ranks = np.asarray(indices, dtype=np.int64)
        if ((ranks < 0) | (ranks >= self.size)).any():
            raise ValueError(f"index outside of a pool of {self.size} rows")
        return self.rows[ranks]

    def key(self, config: NDArray[np.integer]) -> str:
        """Text key of the row that a configuration [K] stands for."""
        return self.keys(np.asarray(config)[None])[0]

    def keys(self, configs: Configurations) -> list[str]:
        """`key` of each row."""
        return [self._keys[i] for i in self.find(configs)]

    def _points(self, configs: Configurations) -> NDArray[np.float64]:
        columns = [scale[configs[:, i]] for i, scale in enumerate(self._scales)]
        return np.concatenate(columns, axis=1).astype(np.float64)


class PoolFeatures(FeatureMap):
    """Features of the row that a configuration stands for, computed once for all rows."""

    def __init__(self, task: Task, space: PoolSpace):
        super().__init__(task, space)
        self._pool = space
        self._table = super().__call__(space.rows)

    def __call__(self, configs: Configurations) -> NDArray[np.float32]:
        """Features [N, D] of configurations [N, K]."""
        return self._table[self._pool.find(configs)]


class PoolProblem(Problem):
    """A task whose search is confined to the rows of a table."""

    def __init__(self, task: Task, space: PoolSpace):
        super().__init__(task, space)
        self.features = PoolFeatures(task, space)
