"""Boosted trees: named properties."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dgtl.core.cores import available_cores
from dgtl.models import load_model
from dgtl.models.xgb import XGBConfig, XGBModel

SMALL = XGBConfig(trees=120, rate=0.1, nthread=1)


def trials(n: int, seed: int, *, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8))
    y = 5.0 + shift + np.sin(1.5 * x[:, 0]) + 0.5 * x[:, 1] + np.where(x[:, 6] > 0.3, 0.8, 0.0)
    return x, np.exp2(y + 0.1 * rng.normal(size=n))


@pytest.fixture(scope="module")
def model() -> XGBModel:
    model = XGBModel(SMALL, error_folds=3)
    model.fit(*trials(800, 0), seed=0)
    return model


def test_it_learns_and_knows_its_error(model: XGBModel) -> None:
    x, gflops = trials(800, 1)
    predicted = model.predict(x)
    rmse = np.sqrt(np.mean((predicted.mean - np.log2(gflops)) ** 2))
    assert rmse < 0.5 * np.log2(gflops).std()
    assert predicted.std[0] == pytest.approx(rmse, rel=0.25)


def test_residuals_of_the_training_data_are_too_small(model: XGBModel) -> None:
    without = XGBModel(SMALL)
    without.fit(*trials(800, 0), seed=0)
    x, _ = trials(1, 1)
    assert without.predict(x).std[0] < model.predict(x).std[0]
    np.testing.assert_array_equal(without.predict(x).mean, model.predict(x).mean)


@pytest.mark.slow
def test_same_seed_same_trees(model: XGBModel) -> None:
    x, _ = trials(100, 1)
    same, other = (XGBModel(SMALL, error_folds=3) for _ in range(2))
    same.fit(*trials(800, 0), seed=0)
    other.fit(*trials(800, 0), seed=1)
    np.testing.assert_array_equal(same.predict(x).mean, model.predict(x).mean)
    np.testing.assert_array_equal(same.predict(x).std, model.predict(x).std)
    assert not np.array_equal(other.predict(x).mean, model.predict(x).mean)


def test_weights_decide_between_trials_that_disagree() -> None:
    x, low = trials(400, 0)
    _, high = trials(400, 0, shift=2.0)
    both = np.concatenate([x, x]), np.concatenate([low, high])
    model = XGBModel(SMALL)
    model.fit(*both, seed=0, weights=np.repeat([1.0, 9.0], 400))
    # The mean of two that differ by 2 in log2, weighted 1 to 9, lies 1.8 above the lower.
    assert np.mean(model.predict(x).mean - np.log2(low)) == pytest.approx(1.8, abs=0.1)


def test_a_loaded_model_predicts_the_same(model: XGBModel, tmp_path) -> None:
    model.save(tmp_path)
    x, _ = trials(100, 1)
    for loaded in (XGBModel.load(tmp_path), load_model(tmp_path)):
        assert isinstance(loaded, XGBModel)
        assert loaded.config == model.config
        np.testing.assert_array_equal(loaded.predict(x).mean, model.predict(x).mean)
        np.testing.assert_array_equal(loaded.predict(x).std, model.predict(x).std)


@pytest.mark.slow
def test_the_mean_of_models_predicts_their_mean(tmp_path) -> None:
    models = []
    for number in range(3):
        x, gflops = trials(200, number)
        models.append(XGBModel(SMALL))
        models[-1].fit(x, gflops * 2.0**number, seed=number)
    mean = XGBModel.mean_of(models)
    mean.save(tmp_path)
    x, _ = trials(100, 3)
    expected = np.mean([model.predict_mean(x) for model in models], axis=0)
    for model in (mean, XGBModel.load(tmp_path)):
        np.testing.assert_allclose(model.predict_mean(x), expected, atol=1e-5)
        assert np.isfinite(model.predict(x).std).all()


def test_a_foreign_or_damaged_folder_is_refused(model: XGBModel, tmp_path) -> None:
    with pytest.raises(ValueError, match="no saved model"):
        XGBModel.load(tmp_path)
    model.save(tmp_path)
    trees = tmp_path / "trees.json"
    trees.write_bytes(trees.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        XGBModel.load(tmp_path)
    trees.unlink()
    with pytest.raises(ValueError, match="damaged"):
        XGBModel.load(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "dgp", "schema": 1}')
    with pytest.raises(ValueError, match="not 'xgb'"):
        XGBModel.load(tmp_path)


@pytest.mark.parametrize("weights", [np.ones(3), np.zeros(40), np.full(40, np.nan), -np.ones(40)])
def test_impossible_weights_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(ValueError, match="weights"):
        XGBModel(SMALL).fit(*trials(40, 0), seed=0, weights=weights)


def test_failed_trials_are_refused() -> None:
    x, gflops = trials(40, 0)
    with pytest.raises(ValueError, match="leave failed trials out"):
        XGBModel(SMALL).fit(x, np.where(gflops == gflops[0], 0.0, gflops), seed=0)


def test_wrong_width_and_unfitted_models_are_refused(model: XGBModel, tmp_path) -> None:
    with pytest.raises(ValueError, match="columns"):
        model.predict(np.zeros((2, 5)))
    with pytest.raises(RuntimeError, match="never fitted"):
        XGBModel(SMALL).predict(np.zeros((2, 5)))
    with pytest.raises(RuntimeError, match="never fitted"):
        XGBModel(SMALL).save(tmp_path / "nothing")
    with pytest.raises(RuntimeError, match="never fitted"):
        XGBModel.mean_of([model, XGBModel(SMALL)])


@pytest.mark.parametrize("bad", [{"trees": 0}, {"nthread": -1}, {"rate": 0.0}, {"subsample": 1.5}])
def test_impossible_configs_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="XGBConfig"):
        XGBConfig(**bad)


@pytest.mark.parametrize("folds", [1, -2])
def test_impossible_error_folds_are_refused(folds: int) -> None:
    with pytest.raises(ValueError, match="error_folds"):
        XGBModel(SMALL, error_folds=folds)


# --- against other ways to compute the same --------------------------------------------------


def test_threads_left_open_are_those_of_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in ("3", "3,2", " 3 "):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert XGBConfig(nthread=0).threads == 3
    assert XGBConfig(nthread=2).threads == 2
    for unsaid in ("", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", unsaid)
        assert XGBConfig(nthread=0).threads == available_cores()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert XGBConfig(nthread=0).threads == available_cores()


PLAIN = XGBConfig(trees=15, depth=4, rate=0.3, subsample=1.0, nthread=1)
"""Every tree sees every row, so that nothing is drawn."""


def coarse(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Trials whose features take few values: each is a bin of its own, whatever the weights."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 6, size=(n, 4)).astype(float)
    return x, np.exp2(4.0 + 0.5 * x[:, 0] - 0.2 * x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=n))


@pytest.mark.parametrize("weight", [1, 2, 5])
def test_a_pooled_target_trial_counts_as_often_as_its_weight(weight: int) -> None:
    source, target = coarse(120, 0), coarse(30, 1)
    pooled = XGBModel.pooled(PLAIN, source, (target[0], 8 * target[1]), weight, seed=0)
    repeated = XGBModel(PLAIN)
    repeated.fit(
        np.concatenate([source[0], *[target[0]] * weight]),
        np.concatenate([source[1], *[8 * target[1]] * weight]),
        seed=0,
    )
    x, _ = coarse(200, 2)
    np.testing.assert_allclose(pooled.predict_mean(x), repeated.predict_mean(x), atol=1e-4)
    np.testing.assert_allclose(pooled.predict(x).std, repeated.predict(x).std, rtol=1e-4)


def test_without_folds_the_error_is_the_weighted_one_of_the_training_data() -> None:
    x, gflops = coarse(80, 0)
    weights = np.random.default_rng(1).uniform(0.5, 4.0, size=80)
    model = XGBModel(PLAIN)
    model.fit(x, gflops, seed=0, weights=weights)
    residual = np.log2(gflops) - model.predict_mean(x)
    expected = np.sqrt((weights * residual**2).sum() / weights.sum())
    np.testing.assert_allclose(model.predict(x).std, np.full(80, expected), rtol=1e-6)


@pytest.mark.parametrize("folds", [2, 3])
def test_with_folds_the_error_is_that_of_models_which_never_saw_the_trial(folds: int) -> None:
    x, gflops = coarse(80, 0)
    weights = np.random.default_rng(1).uniform(0.5, 4.0, size=80)
    model = XGBModel(PLAIN, error_folds=folds)
    model.fit(x, gflops, seed=5, weights=weights)
    fold_seed = np.random.SeedSequence(5).spawn(2)[0]
    fold = np.random.default_rng(fold_seed).permutation(80) % folds
    squares = np.empty(80)
    for i in range(folds):
        held = fold == i
        blind = XGBModel(PLAIN)
        blind.fit(x[~held], gflops[~held], seed=0, weights=weights[~held])
        squares[held] = (np.log2(gflops[held]) - blind.predict_mean(x[held])) ** 2
    expected = np.sqrt((weights * squares).sum() / weights.sum())
    assert model.predict(x).std[0] == pytest.approx(expected, rel=1e-5)
    whole = XGBModel(PLAIN)
    whole.fit(x, gflops, seed=0, weights=weights)
    np.testing.assert_array_equal(model.predict_mean(x), whole.predict_mean(x))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_mean_of_models_has_the_mean_of_their_errors(count: int) -> None:
    models = []
    for number in range(count):
        x, gflops = coarse(60, number)
        models.append(XGBModel(dataclasses.replace(PLAIN, trees=3 + number)))
        models[-1].fit(x, gflops * 4.0**number, seed=number)
    x, _ = coarse(50, 9)
    merged = XGBModel.mean_of(models)
    expected = np.mean([model.predict_mean(x) for model in models], axis=0)
    np.testing.assert_allclose(merged.predict_mean(x), expected, atol=1e-5)
    stds = [model.predict(x).std[0] for model in models]
    assert merged.predict(x).std[0] == pytest.approx(np.mean(stds), rel=1e-12)
    assert merged.config == models[0].config


def test_the_depth_bounds_how_many_values_a_tree_tells_apart() -> None:
    x, gflops = coarse(200, 0)
    stump = XGBModel(dataclasses.replace(PLAIN, trees=1, depth=2))
    stump.fit(x, gflops, seed=0)
    assert len(np.unique(stump.predict_mean(x))) == 4


def test_the_rate_scales_what_the_first_tree_learns() -> None:
    x, gflops = coarse(200, 0)
    moves = []
    for rate in (0.1, 0.2):
        model = XGBModel(dataclasses.replace(PLAIN, trees=1, rate=rate))
        model.fit(x, gflops, seed=0)
        moves.append(model.predict_mean(x) - np.log2(gflops).mean())
    np.testing.assert_allclose(moves[1], 2 * moves[0], atol=1e-5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"trees": 0}, r"^XGBConfig\.trees must be at least 1, got 0$"),
        ({"depth": 0}, r"^XGBConfig\.depth must be at least 1, got 0$"),
        ({"nthread": -1}, r"^XGBConfig\.nthread must be at least 0, got -1$"),
        ({"rate": 0.0}, r"^XGBConfig\.rate must be in \(0, 1\], got 0\.0$"),
        ({"rate": 1.1}, r"^XGBConfig\.rate must be in \(0, 1\], got 1\.1$"),
        ({"subsample": 0.0}, r"^XGBConfig\.subsample must be in \(0, 1\], got 0\.0$"),
        ({"subsample": 1.1}, r"^XGBConfig\.subsample must be in \(0, 1\], got 1\.1$"),
    ],
)
def test_impossible_configs_are_refused_by_name(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        XGBConfig(**bad)


def test_the_ends_of_what_is_possible_are() -> None:
    XGBConfig(trees=1, depth=1, nthread=0, rate=1.0, subsample=1.0)
