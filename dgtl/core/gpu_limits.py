"""Which configurations of a GPU's design space can run: a predicate on index arrays.

Of random configurations of a CUDA sketch about one in thirty is accepted by TVM's verification, at
30 ms a question. What it asks for follows from the tiles: how many threads a block has, and how
many bytes of shared memory the two inputs take between two steps of the outer reductions. A loop
whose loads run ahead of it has to go round more than once. This module answers for whole batches,
so that searches never propose the others; how often it is right: scripts/gpu/predicate.py.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dgtl.core.knob import Knob
    from dgtl.core.records import Access, Axis
    from dgtl.core.space import Configurations


@dataclasses.dataclass(frozen=True)
class DeviceLimits:
    """What a block may take, as TVM's target says it.

    Args:
        threads: most threads.
        shared_bytes: most shared memory [bytes].
        warp: threads that run in lockstep.
    """

    threads: int
    shared_bytes: int
    warp: int


class GPULimits:
    """Tells which configurations [N, K] keep to the limits of a device.

    For sketches of structure ``SSSRRSRS`` whose first three spatial levels are blocks, virtual
    threads and threads, and which stage both inputs in shared memory inside of the first reduction
    level (`dgtl.tvm.workload.sketches`).

    Args:
        axes: loops of the main block.
        accesses: its buffers, inputs first, output last.
        knobs: of the space.
        device: the limits.
        stages: copies of the staged inputs in each sketch: more than one where loads run ahead.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        accesses: Sequence[Access],
        knobs: Sequence[Knob],
        device: DeviceLimits,
        stages: Sequence[int],
    ):
        self._device = device
        self._stages = np.asarray(stages, dtype=np.int64)
        self._accesses = [access for access in accesses if not access.write]
        self._tiles = {knob.axis: i for i, knob in enumerate(knobs) if knob.role == "tile"}
        spatial = [a for a, axis in enumerate(axes) if axis.kind == "S"]
        parts = {a: knobs[i].table for a, i in self._tiles.items()}
        self._threads = {a: parts[a][:, 2] for a in spatial}
        self._rounds = {a: table[:, 0] for a, table in parts.items() if a not in spatial}
        # What a block covers of an axis between two steps of the outer reductions.
        self._staged = {a: table[:, 1:].prod(axis=1) for a, table in parts.items()}
        spatial_extent = np.prod([axes[a].extent for a in spatial])
        self._fewest = device.warp if spatial_extent > 2 * device.warp else 1

    def __call__(self, configs: Configurations) -> NDArray[np.bool_]:
        """Whether each of N configurations [N, K] can run: [N]."""
        threads = self._product(self._threads, configs)
        good = (threads >= self._fewest) & (threads <= self._device.threads)
        ahead = self._stages[configs[good, 0]] > 1
        good[good] = ~ahead | (self._product(self._rounds, configs[good]) > 1)
        good[good] = self._shared_bytes(configs[good]) <= self._device.shared_bytes
        return good

    def _product(self, tables: dict[int, NDArray], configs: Configurations) -> NDArray[np.int64]:
        product = np.ones(len(configs), dtype=np.int64)
        for axis, table in tables.items():
            product *= table[configs[:, self._tiles[axis]]]
        return product

    def _shared_bytes(self, configs: Configurations) -> NDArray[np.int64]:
        """Shared memory that a block takes [bytes]."""
        extents = {a: table[configs[:, self._tiles[a]]] for a, table in self._staged.items()}
        total = np.zeros(len(configs), dtype=np.int64)
        for access in self._accesses:
            n_bytes = np.full(len(configs), access.item_bytes, dtype=np.int64)
            for row, size in zip(access.strides, access.shape, strict=True):
                span = 1 + sum(c * (extents[a] - 1) for a, c in enumerate(row) if c)
                n_bytes *= np.minimum(span, size)
            total += n_bytes
        return total * self._stages[configs[:, 0]]
