"""What every cost model promises, whatever it is made of: one suite for all of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from dgtl.models import load_model
from dgtl.models.deep_gp.map import AdamMAP, ClosedFormMAP
from dgtl.models.deep_gp.model import DeepGP, DGPConfig
from dgtl.models.residual_gp.gp import ResidualGPConfig
from dgtl.models.stacked import StackConfig, StackedDGP, TunedDGP
from dgtl.models.xgb import XGBConfig, XGBModel
from experiments.shared.zero_shot import ExactGP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dgtl.models import CostModel

pytestmark = pytest.mark.slow  # Deep GPs are trained.

WIDTH, TASKS, ROWS = 4, 4, 60
TREES = XGBConfig(trees=60, rate=0.2, nthread=1)
NETWORK = DGPConfig(hidden=2, inducing=24, steps=250, batch=240, learning_rate=0.03)
STACK = StackConfig(TREES, folds=2, residual=ResidualGPConfig(steps=60, tasks=4, rows=40))


class Data(NamedTuple):
    features: np.ndarray
    gflops: np.ndarray
    task: np.ndarray


def data(seed: int, tasks: int = TASKS) -> Data:
    """Trials of tasks that share a slope and a wave and differ by an offset."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.0, 1.0, (tasks * ROWS, WIDTH))
    task = np.repeat(np.arange(tasks), ROWS)
    y = 5.0 + 1.5 * x[:, 0] + np.sin(3.0 * x[:, 1]) + 0.2 * rng.normal(size=tasks)[task]
    return Data(x, np.exp2(y + 0.1 * rng.normal(size=len(y))), task)


@functools.cache
def deep(fit: int, layers: int = 2) -> DeepGP:
    """Trained with seed 0, anew for each ``fit``; no test changes a model."""
    model = DeepGP(DGPConfig(**{**vars(NETWORK), "layers": layers}))
    model.fit(*data(0)[:2], seed=0)
    return model


def tuned(model: DeepGP | StackedDGP | TunedDGP, *prior: Any, **options: Any) -> Any:
    x, gflops, _ = data(5, tasks=1)
    return model.adapt(x[:12], gflops[:12], *prior, **options)


@functools.cache
def trees(fit: int) -> XGBModel:
    model = XGBModel(TREES, error_folds=3)
    model.fit(*data(0)[:2], seed=0)
    return model


@functools.cache
def stacked(fit: int) -> StackedDGP:
    model = StackedDGP(NETWORK, STACK)
    x, gflops, task = data(0)
    model.fit(x, gflops, seed=0, task=task, layer=task)
    return model


def corrected(fit: int) -> TunedDGP:
    """By trees on what the source model leaves of what it has learned."""
    x, gflops, _ = data(0)
    correction = XGBModel(TREES)
    correction.fit(x, gflops / np.exp2(stacked(fit).predict_mean(x)), seed=0)
    return TunedDGP.of(stacked(fit), data(5, tasks=1).features, correction)


MODELS: dict[str, Callable[[int], CostModel]] = {
    "deep GP": deep,
    "one layer": lambda fit: deep(fit, layers=1),
    "deep GP tuned in closed form": lambda fit: tuned(deep(fit), ClosedFormMAP(), seed=0),
    "deep GP tuned by Adam": lambda fit: tuned(deep(fit), AdamMAP(steps=5), seed=0),
    "trees": trees,
    "stacked": stacked,
    "stacked and tuned": lambda fit: tuned(stacked(fit), data(5, tasks=1).features),
    "stacked, corrected, tuned": lambda fit: tuned(corrected(fit)),
    "exact GP": lambda fit: ExactGP(*data(0)[:2], 0),
}
"""By the number of the fit: the same seed whenever it is made."""
UNFITTED = {
    "deep GP": lambda: DeepGP(NETWORK),
    "trees": lambda: XGBModel(TREES),
    "stacked": lambda: StackedDGP(NETWORK, STACK),
}


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> CostModel:
    return MODELS[name](0)


def test_predictions_have_the_shape_of_the_rows(model: CostModel) -> None:
    for n in (0, 1, 7):
        x = data(1).features[:n]
        predicted = model.predict(x) if n or not isinstance(model, ExactGP) else None
        if predicted is not None:
            assert predicted.mean.shape == predicted.std.shape == (n,)
            assert model.predict_mean(x).shape == (n,)


def test_the_mean_alone_is_the_mean_of_the_distribution(model: CostModel) -> None:
    x = data(1).features
    np.testing.assert_allclose(model.predict_mean(x), model.predict(x).mean, atol=1e-3)


def test_predictions_are_deterministic_and_row_by_row(model: CostModel) -> None:
    x = data(1).features
    order = np.random.default_rng(0).permutation(len(x))
    whole = model.predict(x)
    parts = [model.predict(part) for part in np.array_split(x[order], 5)]
    for moment in ("mean", "std"):
        found = np.concatenate([getattr(part, moment) for part in parts])
        np.testing.assert_allclose(found, getattr(whole, moment)[order], atol=1e-4)


def test_it_predicts_unseen_trials_better_than_their_mean_and_says_how_well(
    model: CostModel,
) -> None:
    """Squared errors are of the size of the variances, within a factor of four."""
    x, gflops, _ = data(2)
    y, predicted = np.log2(gflops), model.predict(x)
    errors = (y - predicted.mean) ** 2
    assert errors.mean() < 0.3 * y.var()
    assert (predicted.std > 0).all()
    assert 0.25 < errors.mean() / (predicted.std**2).mean() < 4.0


def test_gflops_are_the_mean_of_the_log_normal(model: CostModel) -> None:
    predicted = model.predict(data(1).features[:5])
    draws = np.random.default_rng(0).standard_normal((200_000, 1))
    sampled = np.exp2(predicted.mean + predicted.std * draws).mean(axis=0)
    np.testing.assert_allclose(predicted.gflops, sampled, rtol=0.02)


def test_what_is_no_row_of_features_is_refused(model: CostModel) -> None:
    for predict in (model.predict, model.predict_mean):
        with pytest.raises(ValueError, match=r"nan or inf"):
            predict(np.full((2, WIDTH), np.nan))
        with pytest.raises(ValueError, match=r"\[N, D\]"):
            predict(np.zeros(WIDTH))
        with pytest.raises(ValueError, match=r"column|feature|expecting"):
            predict(np.zeros((2, WIDTH - 1)))


def test_same_seed_same_model(name: str, model: CostModel) -> None:
    x = data(1).features
    np.testing.assert_array_equal(MODELS[name](1).predict(x).mean, model.predict(x).mean)


def test_a_saved_model_predicts_bit_for_bit(model: CostModel, tmp_path: Path) -> None:
    if not hasattr(model, "save"):
        return  # Tuned to one target, or of an experiment: not worth keeping.
    model.save(tmp_path / "kept")
    x = data(1).features
    loaded = load_model(tmp_path / "kept")
    np.testing.assert_array_equal(loaded.predict(x).mean, model.predict(x).mean)
    np.testing.assert_array_equal(loaded.predict(x).std, model.predict(x).std)


@pytest.mark.parametrize("name", UNFITTED)
def test_what_was_never_fitted_says_so(name: str, tmp_path: Path) -> None:
    model = UNFITTED[name]()
    calls = (model.predict, model.predict_mean, lambda _: model.save(tmp_path / "nothing"))
    for call in calls:
        with pytest.raises(RuntimeError, match="never fitted"):
            call(np.zeros((1, WIDTH)))
