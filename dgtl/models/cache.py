"""Pre-trained models, kept under a name that says what they learned and how."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.features.loop_nest import FEATURES_SCHEMA
from dgtl.models.base import SCHEMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dgtl.models.deep_gp.model import DeepGP
    from dgtl.models.stacked import StackedDGP


LEARNED = "learned.json"
"""Beside a kept model: how many seconds it took to learn."""


def fingerprint(
    features: NDArray[np.float32], gflops: NDArray[np.float64], settings: dict[str, Any]
) -> str:
    """Name under which a model trained on this data with these settings is kept."""
    digest = hashlib.sha256()
    for array in (features, gflops):
        digest.update(np.ascontiguousarray(array).tobytes())
    schemas = {"features": FEATURES_SCHEMA, "model": SCHEMA, "folder": 2}
    digest.update(json.dumps(schemas | settings, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _keep(model: DeepGP | StackedDGP, folder: Path, seconds: float) -> None:
    """Saves a model in one go: of two runs that learn the same at once, the later one yields."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="dgp-new-", dir=folder.parent))
    try:
        model.save(fresh)
        (fresh / LEARNED).write_text(json.dumps({"seconds": round(seconds, 3)}))
        fresh.rename(folder)
    except OSError:
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
