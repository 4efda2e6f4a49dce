"""What every cost model promises, and the checks they share.

All models work on the binary logarithm of throughput: random configurations of one task span a
factor of fifty, and a factor matters equally at both ends of it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from dgtl.core.files import read_object

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SCHEMA = 6
"""Rises with what a kept model consists of, or predicts; a reader refuses any other."""

MIN_ROWS = 8
"""Fewer trials than this do not make a model."""

MIN_SOURCE_ROWS = 2 * MIN_ROWS
"""Fewer trials of sources than this are not learned from: folds of them must make models too."""

CONSTANT = 1e-6
"""A column that varies by less, relative to its mean, is constant: features are float32."""


@dataclass(frozen=True)
class Prediction:
    """Predictive distribution of throughput, a log-normal for each configuration.

    Args:
        mean: [N] mean of log2 throughput (throughput in GFLOPS).
        std: [N] standard deviation of log2 throughput of a new trial: noise is part of it.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @property
    def gflops(self) -> NDArray[np.float64]:
        """[N] posterior mean of throughput in GFLOPS, E[2**Y] = 2**(m + ln2 v / 2)."""
        return np.exp2(self.mean + 0.5 * math.log(2.0) * self.std**2)


class CostModel(Protocol):
    """Predicts throughput from features: what stands in for the hardware in a search.

    A cost model never sees failed trials: callers leave them out, and validity is modelled apart.
    How a model is fitted is its own business (some must be told which rows are of one task).
    """

    def predict(self, features: ArrayLike) -> Prediction:
        """Predictive distribution of new trials at features [N, D].

        Raises:
            ValueError: wrong width or values not finite.
            RuntimeError: the model was never fitted.
        """
        ...

    def predict_mean(self, features: ArrayLike) -> NDArray[np.float64]:
        """Mean [N] of log2 throughput alone, as `predict` has it but faster: a search's score."""
        ...


class StoredModel(CostModel, Protocol):
    """A cost model of source tasks, which is worth keeping."""

    def save(self, folder: Path) -> None:
        """Write the fitted model to `folder`, which is created if need be."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: `folder` holds no model of this kind, or a damaged one.
        """
        ...


def check_features(features: ArrayLike, width: int | None = None) -> NDArray[np.float64]:
    """Features as [N, D] float64, D being `width` where that is given.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError(f"features must be [N, D], got shape {x.shape}")
    if width is not None and x.shape[1] != width:
        raise ValueError(f"features have {x.shape[1]} columns, the model was fitted on {width}")
    if not np.isfinite(x).all():
        raise ValueError("features hold nan or inf")
    return x


def check_trials(
    features: ArrayLike, gflops: ArrayLike, *, width: int | None = None, min_rows: int = MIN_ROWS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features [N, D] and log2 throughput [N] of trials fit to learn from.

    Raises:
        ValueError: shapes that do not agree, fewer than `min_rows` rows, values that are not
            finite, throughput that is not positive.
    """
    x = check_features(features, width)
    y = np.asarray(gflops, dtype=np.float64)
    if y.shape != (len(x),):
        raise ValueError(f"gflops must be [{len(x)}] like the features, got shape {y.shape}")
    if len(y) < min_rows:
        raise ValueError(f"{len(y)} trials are too few, {min_rows} is the least")
    if not (np.isfinite(y).all() and (y > 0.0).all()):
        raise ValueError("gflops must be finite and positive: leave failed trials out")
    return x, np.log2(y)


def write_config(folder: Path, kind: str, content: dict[str, Any]) -> None:
    """Write config.json. Write it last: a folder that has one is complete."""
    text = json.dumps({"kind": kind, "schema": SCHEMA, **content}, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n")


def read_config(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """Read config.json, which must be of this `kind` where that is given.

    Raises:
        ValueError: no such file, not JSON, another kind or another schema.
    """
    try:
        content = read_object(Path(folder) / "config.json")
    except ValueError as error:
        raise ValueError(f"{folder}: no saved model here ({error})") from error
    if not isinstance(content.get("kind"), str):
        raise ValueError(f"{folder}: config.json is not that of a model")
    if kind is not None and content["kind"] != kind:
        raise ValueError(f"{folder}: holds a {content['kind']!r} model, not {kind!r}")
    if content.get("schema") != SCHEMA:
        raise ValueError(f"{folder}: schema {content.get('schema')!r}, this code reads {SCHEMA}")
    return content
