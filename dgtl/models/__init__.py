"""Cost models: predict the throughput of a configuration from its features.

One protocol (`dgtl.models.base.CostModel`), three models: the deep Gaussian process of the paper
(`deep_gp`), gradient-boosted trees (`xgb`), and both stacked with a residual GP for each task
(`stacked`, `residual_gp`). Import each from its own module: this package stays light.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from dgtl.models.base import CostModel, Prediction, StoredModel, read_config

if TYPE_CHECKING:
    from pathlib import Path

# GPflow and GPflux are written for Keras 2, and TensorFlow reads both when it is first imported;
# every module that imports it lies in this package, so this line always comes first.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__all__ = ["CostModel", "Prediction", "StoredModel", "load_model"]

_KINDS = {
    "dgp": ("dgtl.models.deep_gp.model", "DeepGP"),
    "stacked_dgp": ("dgtl.models.stacked", "StackedDGP"),
    "xgb": ("dgtl.models.xgb", "XGBModel"),
}


def load_model(folder: Path) -> StoredModel:
    """Read whichever model `StoredModel.save` wrote to `folder`.

    Raises:
        ValueError: `folder` holds no model, one of an unknown kind, or a damaged one.
    """
    kind = read_config(folder)["kind"]
    if kind not in _KINDS:
        raise ValueError(f"{folder}: unknown kind of model {kind!r}; known: {sorted(_KINDS)}")
    module, name = _KINDS[kind]
    model: StoredModel = getattr(importlib.import_module(module), name).load(folder)
    return model
