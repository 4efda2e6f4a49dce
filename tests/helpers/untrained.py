"""Methods whose models are given instead of learned: seconds less for each of many runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from dgtl.models.residual_gp.gp import ResidualGP

if TYPE_CHECKING:
    import pytest


def untrained_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep GPs stay as they start."""
    no_training = SimpleNamespace(
        train_source=lambda state, *_: state, train_target=lambda state, *_: state
    )
    for user in ("deep_gp.model", "stacked"):
        monkeypatch.setattr(f"dgtl.models.{user}.training", lambda: no_training)


def given_residual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Residual GPs are given, not learned."""

    def given(features, *_):
        ones = np.ones(features.shape[1])
        columns = np.arange(features.shape[1])
        return ResidualGP(
            columns, features.mean(axis=0), ones, 9.0 * ones, 0.5, 0.2, 0.1, 0.5, 1.0, 6.0
        )

    monkeypatch.setattr("dgtl.models.residual_gp.fit.fit_residual_gp", given)
