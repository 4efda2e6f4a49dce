"""Pre-trained models: kept once, under a name that says what they learned and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dgtl.models import load_model
from dgtl.models.cache import fingerprint, keep, load_or_fit
from dgtl.models.xgb import XGBConfig, XGBModel

if TYPE_CHECKING:
    from pathlib import Path

X = np.random.default_rng(0).uniform(size=(40, 2)).astype(np.float32)
Y = np.exp2(X[:, 0]).astype(np.float64)


def fitted() -> XGBModel:
    model = XGBModel(XGBConfig(trees=5, nthread=1))
    model.fit(X, Y, seed=0)
    return model


def test_of_two_that_keep_the_same_model_both_succeed(tmp_path: Path) -> None:
    model = fitted()
    for _ in range(2):
        keep(model, tmp_path / "cache" / "dgp-1", 1.0)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["dgp-1"]
    kept = load_model(tmp_path / "cache" / "dgp-1")
    np.testing.assert_array_equal(kept.predict(X).mean, model.predict(X).mean)


def test_a_model_is_fitted_once_and_says_what_that_took(tmp_path: Path) -> None:
    calls = []

    def fit() -> XGBModel:
        calls.append(1)
        return fitted()

    first, cached_s = load_or_fit(tmp_path, X, Y, {"seed": 0}, fit)
    assert cached_s == 0.0
    again, cached_s = load_or_fit(tmp_path, X, Y, {"seed": 0}, fit)
    assert cached_s > 0.0
    assert len(calls) == 1
    np.testing.assert_array_equal(first.predict_mean(X), again.predict_mean(X))
    load_or_fit(tmp_path, X, Y, {"seed": 1}, fit)
    assert len(calls) == 2


def test_other_data_or_settings_are_another_model() -> None:
    name = fingerprint(X, Y, {"seed": 0})
    assert name == fingerprint(X.copy(), Y.copy(), {"seed": 0})
    others = [fingerprint(X + 1, Y, {"seed": 0}), fingerprint(X, 2 * Y, {"seed": 0})]
    others.append(fingerprint(X, Y, {"seed": 1}))
    assert len({name, *others}) == 4
