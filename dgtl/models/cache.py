"""Pre-trained models, kept under a name that says what they learned and how."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core.files import read_object
from dgtl.features.loop_nest import FEATURES_SCHEMA
from dgtl.models import load_model
from dgtl.models.base import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dgtl.models.base import StoredModel

_SECONDS = "learned.json"
"""Beside a kept model: how many seconds it took to learn."""


def load_or_fit(
    folder: Path,
    features: NDArray[np.float32],
    gflops: NDArray[np.float64],
    settings: dict[str, Any],
    fit: Callable[[], StoredModel],
) -> tuple[StoredModel, float]:
    """The model of this data and these settings, fitted unless it was before.

    Args:
        folder: of kept models.
        features, gflops: what is learned from, [N, D] and [N].
        settings: everything else that decides the model, as JSON would have it.
        fit: fits it.

    Returns:
        The model, and the seconds that fitting took an earlier run; 0 if it was fitted here.
    """
    path = folder / f"dgp-{fingerprint(features, gflops, settings)}"
    if path.exists():
        return load_model(path), learning_seconds(path)
    begin = time.perf_counter()
    model = fit()
    keep(model, path, time.perf_counter() - begin)
    return model, 0.0


def learning_seconds(folder: Path) -> float:
    """Seconds that a kept model took to learn.

    Raises:
        ValueError: the folder does not say it.
    """
    seconds = read_object(folder / _SECONDS).get("seconds")
    if not isinstance(seconds, int | float):
        raise ValueError(f"{folder / _SECONDS} says no seconds: remove the folder")
    return float(seconds)


def fingerprint(
    features: NDArray[np.float32], gflops: NDArray[np.float64], settings: dict[str, Any]
) -> str:
    """Name under which a model trained on this data with these settings is kept."""
    digest = hashlib.sha256()
    for array in (features, gflops):
        digest.update(np.ascontiguousarray(array).tobytes())
    schemas = {"features": FEATURES_SCHEMA, "model": SCHEMA}
    digest.update(json.dumps(schemas | settings, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def keep(model: StoredModel, path: Path, seconds: float) -> None:
    """Saves a model in one go: of two runs that learn the same at once, the later one yields."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="dgp-new-", dir=path.parent))
    try:
        model.save(fresh)
        (fresh / _SECONDS).write_text(json.dumps({"seconds": round(seconds, 3)}))
        fresh.rename(path)
    except OSError:
        if not path.exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
