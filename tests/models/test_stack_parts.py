"""What a stacked model makes of its parts, with parts that are known: nothing is trained."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import random_states

from dgtl.models import stacked
from dgtl.models.deep_gp.model import DeepGP, DGPConfig
from dgtl.models.residual_gp.gp import ResidualGP, ResidualGPConfig, condition_student
from dgtl.models.stacked import StackConfig, StackedDGP, TunedDGP
from dgtl.models.xgb import XGBConfig, XGBModel

TREES = XGBConfig(trees=20, rate=0.3, nthread=1)
STACK = StackConfig(TREES, folds=3, dgp_weight=0.25, residual=ResidualGPConfig(steps=3))
WIDTH = random_states.WIDTH - 1
"""The deep GP has one more: what the trees predict."""

COLUMNS = np.array([0, 2])
SHAPE = (0.5, 2.0, 7.0)
RESIDUAL = ResidualGP(COLUMNS, np.zeros(2), np.ones(2), np.array([1.0, 2.0]), 0.5, 0.2, 0.1, *SHAPE)


class Slope(XGBModel):
    """Predicts a multiple of the first feature."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__(TREES)
        self.slope = slope

    def predict_mean(self, features):
        return self.slope * np.asarray(features)[:, 0]


def deep() -> DeepGP:
    model = DeepGP(DGPConfig(layers=2, hidden=2))
    model._hold(random_states.random_state(0))
    return model


def put_together(stack: StackConfig = STACK) -> StackedDGP:
    model = StackedDGP(DGPConfig(layers=2, hidden=2), stack)
    model._trees, model._deep, model._residual = Slope(), deep(), RESIDUAL
    return model


def rows(n: int, seed: int = 0) -> np.ndarray:
    return random_states.features(n, seed)[:, :WIDTH]


def expected_mean(x: np.ndarray) -> np.ndarray:
    by_deep = deep().predict_mean(np.column_stack([x, x[:, 0]]))
    return 0.75 * x[:, 0] + 0.25 * by_deep


@pytest.fixture(autouse=True)
def no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained here, and importing it takes seconds."""
    monkeypatch.setattr(stacked, "training", lambda: None)


def test_the_mean_is_weighted_and_the_deep_gp_sees_what_the_trees_predict() -> None:
    x = rows(7)
    model = put_together()
    np.testing.assert_allclose(model.predict_mean(x), expected_mean(x))
    predicted = model.predict(x)
    np.testing.assert_array_equal(predicted.mean, model.predict_mean(x))
    np.testing.assert_allclose(predicted.std, np.full(7, (0.5 + 0.2 + 0.1) ** 0.5))
    assert model.width == WIDTH


def test_features_of_another_width_are_refused() -> None:
    model = put_together()
    tuned = model.adapt(rows(3), np.ones(3), rows(3))
    for predict in (model.predict_mean, tuned.predict, tuned.predict_mean, tuned.joint):
        with pytest.raises(ValueError, match=f"{WIDTH + 1} columns"):
            predict(np.zeros((2, WIDTH + 1)))


def test_tuning_conditions_the_residual_on_what_the_source_left() -> None:
    x, y, new = rows(6), np.linspace(1.0, 4.0, 6), rows(5, 1)
    model = put_together()
    like = rows(40, 2)
    tuned = model.adapt(x, np.exp2(y), like)
    top = expected_mean(like).max()
    residual = RESIDUAL.condition(x, y - expected_mean(x), top - expected_mean(x))
    below = top - expected_mean(new)
    expected = expected_mean(new) + residual.mean(new, below)
    np.testing.assert_allclose(tuned.predict_mean(new), expected)
    predicted = tuned.predict(new)
    np.testing.assert_array_equal(predicted.mean, tuned.predict_mean(new))
    np.testing.assert_allclose(predicted.std**2, residual.variance(new, below))
    with pytest.raises(ValueError, match="finite and positive"):
        model.adapt(x, -np.exp2(y), like)


def test_one_trial_is_enough_to_tune_and_none_leaves_the_source() -> None:
    x = rows(5, 1)
    one = put_together().adapt(rows(1), np.array([64.0]), x)
    assert not np.allclose(one.predict_mean(x), expected_mean(x))
    none = put_together().adapt(np.empty((0, WIDTH)), np.empty(0), x)
    np.testing.assert_allclose(none.predict_mean(x), expected_mean(x))


def test_a_correction_moves_what_is_expected_without_a_trial() -> None:
    like, x, new = rows(40, 2), rows(6), rows(5, 1)
    prior = TunedDGP.of(put_together(), like, Slope(3.0))

    def expected(features):
        return expected_mean(features) + 3.0 * features[:, 0]

    np.testing.assert_allclose(prior.predict_mean(new), expected(new))
    top = expected(like).max()
    tuned = prior.adapt(x, np.full(6, 8.0))
    residual = RESIDUAL.condition(x, 3.0 - expected(x), top - expected(x))
    below = top - expected(new)
    np.testing.assert_allclose(
        tuned.predict_mean(new), expected(new) + residual.mean(new, below), rtol=1e-6
    )
    np.testing.assert_allclose(tuned.joint(new)[1], residual.joint(new, below)[1])


def test_the_joint_distribution_is_conditioned_on_later_trials() -> None:
    """By the prior over all trials at once, written out."""
    known, later, new = rows(4), rows(3, 1), rows(5, 2)
    y = np.linspace(2.0, 3.0, 7)
    tuned = put_together().adapt(known, np.exp2(y[:4]), known)
    mean, covariance = tuned.joint(new, (later, np.exp2(y[4:])))
    x = np.concatenate([known, later, new])
    below = expected_mean(known).max() - expected_mean(x)
    nothing = RESIDUAL.condition(x[:0], y[:0], y[:0])
    _, prior = nothing.joint(x, below)
    expected = condition_student(expected_mean(x), prior, y, RESIDUAL.freedom)
    np.testing.assert_allclose(mean, expected[0], atol=1e-4)
    np.testing.assert_allclose(covariance, expected[1], atol=1e-4)
    alone, spread = tuned.joint(new)
    assert not np.allclose(alone, mean)
    np.testing.assert_allclose(np.diag(spread), tuned.predict(new).std ** 2)


def test_what_is_learned_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deep GP learns with out-of-fold predictions, the residual GP what those leave."""
    told: dict = {}

    def fit(self, features, gflops, *, seed):
        told["deep"] = (self.config, features, gflops, seed)

    def fit_residual(features, residuals, below, task, config, seed):
        told["residual"] = (features, residuals, task, config, seed.spawn_key)
        told["below"] = below
        return RESIDUAL

    learning = SimpleNamespace(fit_residual_gp=fit_residual)
    monkeypatch.setattr(DeepGP, "fit", fit)
    monkeypatch.setitem(sys.modules, "dgtl.models.residual_gp.fit", learning)
    x, task, layer = rows(120), np.repeat(np.arange(12), 10), np.repeat(np.arange(6), 20)
    y = np.sin(x[:, 0]) + 3.0
    config = DGPConfig(layers=1)
    model = StackedDGP(config, STACK)
    model.fit(x, np.exp2(y), seed=4, task=task, layer=layer)

    folds, one, two, three = np.random.SeedSequence(4).spawn(4)
    seeds = [int(s.generate_state(1)[0] >> 1) for s in (one, two)]
    trees, unseen = StackedDGP(config, STACK)._out_of_fold(x, np.exp2(y), layer, folds, seeds[0])
    expected = np.mean([part.predict_mean(x) for part in trees], axis=0)
    np.testing.assert_allclose(model._trees.predict_mean(x), expected, rtol=1e-5)

    assert told["deep"][0] is config
    np.testing.assert_array_equal(told["deep"][1], np.column_stack([x, unseen]))
    np.testing.assert_allclose(told["deep"][2], np.exp2(y))
    assert told["deep"][3] == seeds[1] != seeds[0]
    np.testing.assert_array_equal(told["residual"][0], x)
    np.testing.assert_allclose(told["residual"][1], y - unseen)
    np.testing.assert_array_equal(told["residual"][2], task)
    assert told["residual"][3] is STACK.residual
    assert told["residual"][4] == three.spawn_key
    assert model.residual is RESIDUAL
    best = np.array([unseen[task == own].max() for own in task])
    np.testing.assert_array_equal(told["below"], best - unseen)


def test_too_few_rows_of_sources_are_refused() -> None:
    few = stacked.MIN_SOURCE_ROWS - 1
    which = np.zeros(few, np.int64)
    with pytest.raises(ValueError, match="too few"):
        StackedDGP(DGPConfig(), STACK).fit(rows(few), np.ones(few), seed=0, task=which, layer=which)


def test_each_row_is_predicted_by_the_trees_of_its_fold() -> None:
    layer = np.repeat(np.arange(6), 20)
    x = rows(120)
    seed = np.random.SeedSequence(2)
    model = StackedDGP(DGPConfig(), STACK)
    trees, unseen = model._out_of_fold(x, 2 ** x[:, 0], layer, seed, 5)
    assert len(trees) == STACK.folds + 1
    whole = XGBModel(TREES)
    whole.fit(x, 2 ** x[:, 0], seed=5)
    np.testing.assert_array_equal(trees[-1].predict_mean(x), whole.predict_mean(x))
    fold_of = stacked.assign_folds(layer, STACK.folds, np.random.default_rng(seed))
    for fold, part in enumerate(trees[:-1]):
        held = fold_of == fold
        again = XGBModel(TREES)
        again.fit(x[~held], 2 ** x[~held, 0], seed=5)
        np.testing.assert_array_equal(unseen[held], again.predict_mean(x[held]))
        np.testing.assert_array_equal(unseen[held], part.predict_mean(x[held]))


def test_trees_are_the_same_on_any_number_of_threads() -> None:
    layer, x = np.repeat(np.arange(6), 20), rows(120)
    unseen = []
    for nthread in (1, 4):
        model = StackedDGP(
            DGPConfig(),
            dataclasses.replace(STACK, trees=dataclasses.replace(TREES, nthread=nthread)),
        )
        seed = np.random.SeedSequence(2)
        unseen.append(model._out_of_fold(x, 2 ** x[:, 0], layer, seed, 5)[1])
    np.testing.assert_array_equal(*unseen)


def test_a_model_comes_back_from_disk(tmp_path) -> None:
    model = put_together()
    model._trees = XGBModel(TREES)
    model._trees.fit(rows(60), 2 ** rows(60)[:, 0], seed=0)
    model.save(tmp_path / "new" / "folder")
    content = json.loads((tmp_path / "new" / "folder" / "config.json").read_text())
    assert content["kind"] == "stacked_dgp"
    loaded = StackedDGP.load(tmp_path / "new" / "folder")
    assert (loaded.stack, loaded.network) == (STACK, model._deep.config)
    x = rows(9, 3)
    np.testing.assert_array_equal(loaded.predict_mean(x), model.predict_mean(x))
    np.testing.assert_array_equal(loaded.predict(x).std, model.predict(x).std)
    model.save(tmp_path / "new" / "folder")  # over what is there
    for spoiled in ({"stack": {}}, {"stack": {**content["stack"], "depth": 3}}, {"other": 1}):
        kept = {name: value for name, value in content.items() if name != "stack"}
        (tmp_path / "new" / "folder" / "config.json").write_text(json.dumps({**kept, **spoiled}))
        with pytest.raises(ValueError, match=r"config\.json is not that of this model \("):
            StackedDGP.load(tmp_path / "new" / "folder")


def test_the_least_and_the_greatest_stack_are_taken() -> None:
    for good in ({"folds": 2}, {"dgp_weight": 0.0}, {"dgp_weight": 1.0}):
        assert vars(dataclasses.replace(STACK, **good)).items() >= good.items()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"folds": 1}, r"^StackConfig\.folds must be at least 2, got 1$"),
        ({"dgp_weight": 1.5}, r"^StackConfig\.dgp_weight must be in \[0, 1\], got 1\.5$"),
        ({"dgp_weight": -0.1}, r"^StackConfig\.dgp_weight must be in \[0, 1\], got -0\.1$"),
    ],
)
def test_bad_stack_is_refused(bad: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(STACK, **bad)


def test_what_was_never_fitted_says_so(tmp_path) -> None:
    model = StackedDGP(DGPConfig(), STACK)
    for call in (lambda: model.residual, lambda: model.save(tmp_path / "nothing")):
        with pytest.raises(RuntimeError, match=r"^this StackedDGP was never fitted$"):
            call()
    with pytest.raises(RuntimeError, match="never fitted"):
        model.predict_mean(np.zeros((1, 3)))
    assert not list(tmp_path.iterdir())


def test_out_of_fold_trees_have_not_seen_the_layer() -> None:
    """Every layer has a level of its own that no feature tells but its number."""
    layer = np.repeat(np.arange(8), 20)
    x = np.column_stack([layer, np.random.default_rng(0).normal(size=160)]).astype(float)
    level = np.array([0.0, 6.0] * 4)[layer]
    model = StackedDGP(DGPConfig(), dataclasses.replace(STACK, folds=8))
    trees, unseen = model._out_of_fold(x, 2**level, layer, np.random.SeedSequence(0), 0)
    # Who had seen a layer would be right; neighbours in number are of the other level.
    assert np.mean(np.abs(unseen - level)) > 2.0
    assert len(trees) == 9


@pytest.mark.parametrize("sizes", [(64, 5), (64, 64, 5), (20,), (4, 4, 4, 4)])
def test_sources_however_few_make_a_model(sizes: tuple[int, ...]) -> None:
    """Every row is predicted by trees that were fitted to enough others."""
    layer = np.repeat(np.arange(len(sizes)), sizes)
    x = np.random.default_rng(0).normal(size=(len(layer), 3))
    model = StackedDGP(DGPConfig(), dataclasses.replace(STACK, folds=5))
    _, unseen = model._out_of_fold(x, 2 ** x[:, 0], layer, np.random.SeedSequence(0), 0)
    assert np.isfinite(unseen).all()
