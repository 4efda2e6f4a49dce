"""What one model predicted of one task, and the file of such results."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.results.model_hash import UNKNOWN

if TYPE_CHECKING:
    from pathlib import Path


COLUMNS = ("rmse_gflops", "rmse_log2", "spearman", "top1", "top10")


@dataclasses.dataclass(frozen=True)
class Result:
    """One model on what was left out.

    Args:
        dataset, held_out, model, seed: which.
        settings: fingerprint of the data, and of what else decides the result.
        source_trials: trials that ran and were learned from.
        layers: scores of each task left out, by its key.
        model_hash: of the code of the model; of a program that did not keep it, `UNKNOWN`.
    """

    dataset: str
    held_out: str
    model: str
    seed: int
    settings: str
    source_trials: int
    layers: dict[str, dict[str, float]]
    model_hash: str = UNKNOWN

    @property
    def unit(self) -> tuple[str, str, str, int, str]:
        """What it is the result of."""
        return self.dataset, self.held_out, self.model, self.seed, self.settings

    def mean(self, column: str) -> float:
        """Mean of a score over the layers."""
        return float(np.mean([layer[column] for layer in self.layers.values()]))

    def row(self) -> dict[str, Any]:
        """As a line of ``rmse.csv``."""
        names = ("dataset", "held_out", "model", "seed", "source_trials")
        means = {column: round(self.mean(column), 5) for column in COLUMNS}
        return {name: getattr(self, name) for name in names} | means


def read_results(path: Path) -> list[Result]:
    """The results in a file; its last line may be damaged, as a killed run leaves it."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Result(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is damaged: {error}") from error
    return found
