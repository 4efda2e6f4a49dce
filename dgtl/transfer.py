"""Stages 1 and 2 of the paper: learn from source tasks, carry over to the target task."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.features import FEATURES_SCHEMA, FeatureMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dgtl.history import SourceTask
    from dgtl.space import Configurations
    from dgtl.tuner import Problem


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


def fingerprint(
    features: NDArray[np.float32], gflops: NDArray[np.float64], settings: dict[str, Any]
) -> str:
    """Name under which a model trained on this data with these settings is kept."""
    digest = hashlib.sha256()
    for array in (features, gflops):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(json.dumps({"features": FEATURES_SCHEMA, **settings}, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def choose(
    problem: Problem,
    scores: NDArray[np.floating],
    initial_set: Configurations,
    n: int,
) -> Configurations:
    """The tuning set: the ``n`` of the initial set [N, K] with the top scores [N], best first."""
    top = np.argsort(-scores, kind="stable")[:n]
    return initial_set[top]
