"""Source tasks as arrays: what a model learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dgtl.features.loop_nest import FeatureMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask


def source_data(
    sources: Sequence[SourceTask],
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]:
    """Everything that ran on the source tasks, as one data set.

    Returns:
        Features [N, D], throughput [N] in GFLOPS, and for each row the index of its source [N].
        Failed trials are left out: a made-up number would mislead either kind of model.
    """
    rows = [FeatureMap(s.task, s.space)(s.configs()) for s in sources]
    labels = [s.gflops() for s in sources]
    owner = [np.full(len(y), i, dtype=np.int64) for i, y in enumerate(labels)]
    return np.concatenate(rows), np.concatenate(labels), np.concatenate(owner)


def layers_of(sources: Sequence[SourceTask]) -> NDArray[np.int64]:
    """Number of the layer (shape, on any cores) of each source [len(sources)]."""
    shapes = [source.task.shape_key for source in sources]
    return np.unique(shapes, return_inverse=True)[1]


def source_outcomes(
    sources: Sequence[SourceTask],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features [N, D] of all trials of the sources, and whether they ran [N]."""
    rows = [FeatureMap(s.task, s.space)(s.space.of_trials(s.trials)) for s in sources]
    return np.concatenate(rows), np.array([t.ok for s in sources for t in s.trials])


def source_builds(sources: Sequence[SourceTask]) -> NDArray[np.float64]:
    """Build times [N] of all trials of the sources, in the order of `source_outcomes`.

    As multiples of the median on their hardware, for machines differ; NaN where a trial failed or
    does not say.
    """
    build_s = [np.array([t.build_s if t.ok else 0.0 for t in s.trials]) for s in sources]
    hardware = np.repeat([s.task.hardware.name for s in sources], [len(b) for b in build_s])
    relative = np.concatenate(build_s)
    relative[relative <= 0.0] = np.nan
    for name in np.unique(hardware):
        own = hardware == name
        if np.isfinite(relative[own]).any():
            relative[own] /= np.nanmedian(relative[own])
    return relative
