"""The deep GP: named properties and equivalences."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import gpflow
import numpy as np
import pytest
import tensorflow as tf

from dgtl.models import load_model
from dgtl.models.base import Prediction
from dgtl.models.deep_gp import train as dgp_train
from dgtl.models.deep_gp.init import initial_state
from dgtl.models.deep_gp.layers import Network
from dgtl.models.deep_gp.map import (
    AdamMAP,
    ClosedFormMAP,
    OffsetPrior,
    closed_form,
    fit_offset,
    prior_cholesky,
)
from dgtl.models.deep_gp.model import DeepGP, DGPConfig, limit_threads
from dgtl.models.deep_gp.predict import CachedPredictor
from dgtl.models.deep_gp.state import Scaler

pytestmark = pytest.mark.slow

SMALL = DGPConfig(hidden=3, inducing=24, steps=60, batch=128)
SEED = tf.constant([1, 2], dtype=tf.int32)


def function(x: np.ndarray) -> np.ndarray:
    """Smooth in six inputs, with a step in the seventh."""
    smooth = np.sin(1.5 * x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] - 0.3 * x[:, 3] ** 2
    return smooth + np.tanh(x[:, 4]) + 0.4 * x[:, 5] + np.where(x[:, 6] > 0.3, 0.8, 0.0)


def trials(n: int, seed: int, *, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, 10], two columns of no use and one constant, and GFLOPS around 2**5."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 10))
    x[:, 9] = 3.0
    y = 5.0 + shift + function(x) + shift * 0.3 * x[:, 0] + 0.05 * rng.normal(size=n)
    return x, np.exp2(y)


@pytest.fixture(scope="module")
def source() -> DeepGP:
    model = DeepGP(dataclasses.replace(SMALL, steps=400, inducing=40))
    model.fit(*trials(800, 0), seed=0)
    return model


@pytest.fixture(scope="module")
def shallow() -> DeepGP:
    model = DeepGP(dataclasses.replace(SMALL, layers=1, steps=150))
    model.fit(*trials(300, 0), seed=0)
    return model


def scaled(model: DeepGP, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Trials in the model's standardised units."""
    x, gflops = trials(n, seed)
    scaler = model.state.scaler
    return scaler.inputs(x), scaler.targets(np.log2(gflops))


def untrained(config: DGPConfig) -> DeepGP:
    """A model at its start, with a random q(v) so that no term of a prediction vanishes."""
    rng = np.random.default_rng(0)
    x, gflops = trials(200, 0)
    y = np.log2(gflops)
    scaler = Scaler.of(x, y)
    seed = np.random.SeedSequence(0)
    state = initial_state(config, scaler, scaler.inputs(x), scaler.targets(y), seed)
    layers = tuple(
        dataclasses.replace(
            layer,
            q_mu=rng.normal(size=layer.q_mu.shape),
            q_sqrt=np.tril(0.3 * rng.normal(size=layer.q_sqrt.shape)),
        )
        for layer in state.layers
    )
    model = DeepGP(config)
    model._hold(dataclasses.replace(state, layers=layers))
    return model


def rmse(model: DeepGP, x: np.ndarray, gflops: np.ndarray) -> float:
    return float(np.sqrt(np.mean((model.predict(x).mean - np.log2(gflops)) ** 2)))


def equal(one: DeepGP, other: DeepGP) -> bool:
    a, b = one.state.arrays(), other.state.arrays()
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


# --- training ------------------------------------------------------------------------------


def test_it_learns(source: DeepGP) -> None:
    x, gflops = trials(500, 1)
    assert rmse(source, x, gflops) < 0.5 * np.log2(gflops).std()


def test_uncertainty_is_of_the_size_of_the_errors(source: DeepGP) -> None:
    x, gflops = trials(500, 1)
    predicted = source.predict(x)
    z = (predicted.mean - np.log2(gflops)) / predicted.std
    assert 0.5 < z.std() < 2.0


def test_posterior_mean_in_gflops_is_that_of_a_log_normal() -> None:
    draws = np.exp2(np.random.default_rng(0).normal(3.0, 0.7, size=400_000))
    predicted = Prediction(np.array([3.0]), np.array([0.7]))
    assert predicted.gflops[0] == pytest.approx(draws.mean(), rel=0.01)


def test_same_seed_same_parameters() -> None:
    config = dataclasses.replace(SMALL, steps=12)
    data = trials(200, 0)
    models = [DeepGP(config) for _ in range(3)]
    tf.random.set_seed(5)
    models[0].fit(*data, seed=0)
    tf.random.set_seed(6)
    np.random.seed(7)  # neither global generator is read
    models[1].fit(*data, seed=0)
    models[2].fit(*data, seed=1)
    assert equal(models[0], models[1])
    assert not equal(models[0], models[2])


def test_one_layer_is_an_svgp(shallow: DeepGP) -> None:
    """Same ELBO and predictions as gpflow.models.SVGP with the same parameters, to 1e-9."""
    state = shallow.state
    layer = state.layers[0]
    x, y = scaled(shallow, 300, 0)
    svgp = gpflow.models.SVGP(
        gpflow.kernels.Matern52(float(layer.variance), layer.lengthscales),
        gpflow.likelihoods.Gaussian(state.noise, variance_lower_bound=SMALL.noise_floor),
        layer.inducing,
        mean_function=gpflow.mean_functions.Linear(layer.mean_a, layer.mean_b),
        q_mu=layer.q_mu,
        q_sqrt=layer.q_sqrt,
        num_data=300,
    )
    network = Network(state, 300, SMALL.noise_floor)
    ours = network.elbo(tf.constant(x), tf.constant(y[:, None]), SEED).numpy()
    assert ours == pytest.approx(svgp.elbo((x, y[:, None])).numpy(), rel=1e-9)

    features, _ = trials(50, 3)
    mean, var = svgp.predict_y(state.scaler.inputs(features))
    predicted = shallow.predict(features)
    scale = state.scaler.y_std
    np.testing.assert_allclose(predicted.mean, state.scaler.y_mean + scale * mean[:, 0], rtol=1e-9)
    np.testing.assert_allclose(predicted.std, scale * np.sqrt(var[:, 0]), rtol=1e-7)


def test_the_objective_is_the_elbo_of_gpflux(source: DeepGP) -> None:
    """GPflux draws its own samples of the hidden layer, so the means of many agree."""
    x, y = (tf.constant(a) for a in scaled(source, 100, 4))
    y = y[:, None]
    network = Network(source.state, 100, SMALL.noise_floor)
    tf.random.set_seed(0)
    gpflux_elbo = tf.function(lambda: network.model.elbo((x, y)))
    elbo = tf.function(network.elbo)
    theirs = np.array([gpflux_elbo().numpy() for _ in range(60)])
    ours = np.array([elbo(x, y, tf.constant([0, 64 * i])).numpy() for i in range(60)])
    error = np.sqrt((theirs.var() + ours.var()) / 60)
    assert theirs.mean() == pytest.approx(ours.mean(), abs=4.0 * error)


def test_a_minibatch_is_scaled_to_all_rows(shallow: DeepGP) -> None:
    x, y = scaled(shallow, 40, 4)
    twice = tf.constant(np.tile(x, (2, 1))), tf.constant(np.tile(y[:, None], (2, 1)))
    network = Network(shallow.state, 80, SMALL.noise_floor)
    batch = network.data_term(tf.constant(x), tf.constant(y[:, None]), SEED)
    assert batch.numpy() == pytest.approx(network.data_term(*twice, SEED).numpy(), rel=1e-12)


@pytest.mark.parametrize("how", ["nan", "cholesky"])
def test_training_survives_a_step_that_breaks(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    step = dgp_train._Adam._step

    def failing(*_: object) -> None:
        raise tf.errors.InvalidArgumentError(None, None, "Cholesky decomposition failed")

    def breaking(self: dgp_train._Adam, *args: object) -> bool:
        taken.append(1)
        if len(taken) == 40 and how == "nan":
            for variable in self._variables:
                variable.assign(np.nan * variable)
        elif len(taken) == 40:
            self._compiled = failing
        return step(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(dgp_train._Adam, "_step", breaking)
    model = DeepGP(SMALL)
    model.fit(*trials(300, 0), seed=0)
    # Step 40 broke, 25 was the last kept: 15 steps are taken again.
    assert len(taken) == SMALL.steps + 15
    assert model.state.jitter == pytest.approx(10.0 * SMALL.jitter)
    assert np.isfinite(model.predict(trials(20, 1)[0]).std).all()


def test_training_that_never_recovers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dgp_train._Adam, "_step", lambda *_: False)
    with pytest.raises(RuntimeError, match="broke down"):
        DeepGP(SMALL).fit(*trials(100, 0), seed=0)


def test_duplicate_rows_and_equal_targets_are_no_trouble() -> None:
    x, _ = trials(12, 0)
    model = DeepGP(dataclasses.replace(SMALL, steps=10))
    model.fit(np.repeat(x, 5, axis=0), np.full(60, 8.0), seed=0)
    assert len(model.state.layers[0].inducing) == 12
    np.testing.assert_allclose(model.predict(x).mean, 3.0, atol=0.05)


def test_a_column_constant_in_the_source_is_ignored(source: DeepGP) -> None:
    x, _ = trials(20, 1)
    moved = x.copy()
    moved[:, 9] = 1e6
    np.testing.assert_array_equal(source.predict(x).mean, source.predict(moved).mean)


def test_what_lies_beyond_the_source_counts_as_its_end(source: DeepGP) -> None:
    x, _ = trials(50, 2)
    ends = source.state.scaler.x_range
    columns = source.state.scaler.columns
    beyond = x.copy()
    beyond[:, columns[0]] = ends[1, 0] + 100.0
    at_the_end = x.copy()
    at_the_end[:, columns[0]] = ends[1, 0]
    assert np.array_equal(source.predict_mean(beyond), source.predict_mean(at_the_end))


def test_threads_cannot_change_once_tensorflow_computes() -> None:
    tf.constant(1.0) + 1.0
    limit_threads(
        tf.config.threading.get_intra_op_parallelism_threads(),
        tf.config.threading.get_inter_op_parallelism_threads(),
    )
    with pytest.raises(RuntimeError):
        limit_threads(7, 3)


# --- prediction ----------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["matern52", "rbf"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_cached_prediction_equals_gpflux(layers: int, kernel: str) -> None:
    """Means to 1e-8, variances to 1e-7, single precision to 1e-4, in standardised units."""
    config = dataclasses.replace(SMALL, layers=layers, kernel=kernel)
    model = untrained(config)
    state = model.state
    features, _ = trials(70, 2)
    h = tf.constant(state.scaler.inputs(features))
    for layer in Network(state, 200, config.noise_floor).layers:
        h, var = layer.predict(h)
    mean, cached = CachedPredictor(state, linearise=False).latent(state.scaler.inputs(features))
    np.testing.assert_allclose(mean, h[:, 0], atol=1e-8)
    np.testing.assert_allclose(cached, var[:, 0], atol=1e-7)
    np.testing.assert_allclose(
        model.predict_mean(features), model.predict(features).mean, atol=1e-4
    )


def test_a_large_batch_equals_its_chunks(source: DeepGP) -> None:
    x, _ = trials(5000, 2)
    whole = source.predict(x)
    parts = [source.predict(x[i : i + 700]) for i in range(0, 5000, 700)]
    np.testing.assert_allclose(whole.mean, np.concatenate([p.mean for p in parts]), rtol=1e-12)
    np.testing.assert_allclose(whole.std, np.concatenate([p.std for p in parts]), rtol=1e-9)


def test_no_rows_give_no_predictions(source: DeepGP) -> None:
    assert source.predict(np.empty((0, 10))).std.shape == (0,)
    assert source.predict_mean(np.empty((0, 10))).shape == (0,)


def test_linearised_variance_is_that_of_samples(source: DeepGP) -> None:
    """Law of total variance over samples of the hidden layer, within a fifth in the median."""
    state = source.state
    x, _ = scaled(source, 60, 5)
    _, plain = CachedPredictor(state, linearise=False).latent(x)
    _, linear = CachedPredictor(state, linearise=True).latent(x)
    first, second = Network(state, 60, SMALL.noise_floor).layers
    mean, var = (a.numpy() for a in first.predict(tf.constant(x)))
    rng = np.random.default_rng(0)
    draws = mean + np.sqrt(var) * rng.normal(size=(300, *mean.shape))
    means, variances = second.predict(tf.constant(draws.reshape(-1, mean.shape[1])))
    sampled = means.numpy().reshape(300, -1).var(axis=0)
    sampled += variances.numpy().reshape(300, -1).mean(axis=0)
    assert (linear >= plain).all()
    assert np.median(np.abs(linear - sampled) / sampled) < 0.2


# --- saving --------------------------------------------------------------------------------


def test_a_loaded_model_predicts_the_same(source: DeepGP, tmp_path) -> None:
    source.save(tmp_path / "model")
    x, _ = trials(100, 1)
    for loaded in (DeepGP.load(tmp_path / "model"), load_model(tmp_path / "model")):
        assert isinstance(loaded, DeepGP)
        assert loaded.config == source.config
        np.testing.assert_array_equal(loaded.predict(x).mean, source.predict(x).mean)
        np.testing.assert_array_equal(loaded.predict(x).std, source.predict(x).std)


def test_loading_and_predicting_need_no_tensorflow(source: DeepGP, tmp_path) -> None:
    source.save(tmp_path)
    code = (
        "import sys, pathlib, numpy as np; from dgtl.models import load_model;"
        f"load_model(pathlib.Path({str(tmp_path)!r})).predict(np.zeros((3, 10)));"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_foreign_or_damaged_folder_is_refused(source: DeepGP, tmp_path) -> None:
    with pytest.raises(ValueError, match="no saved model"):
        DeepGP.load(tmp_path)
    source.save(tmp_path)
    arrays, config = tmp_path / "parameters.npz", tmp_path / "config.json"
    good, text = arrays.read_bytes(), config.read_text()

    arrays.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="not the parameters"):
        DeepGP.load(tmp_path)
    middle = len(good) // 2
    arrays.write_bytes(good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :])
    with pytest.raises(ValueError, match="not the parameters"):
        DeepGP.load(tmp_path)
    np.savez(arrays, something=np.zeros(3))
    with pytest.raises(ValueError, match="missing or unknown"):
        DeepGP.load(tmp_path)
    arrays.write_bytes(good)

    for key, value, message in (
        ("kind", "other", "not 'dgp'"),
        ("schema", 99, "schema 99"),
        ("config", {"depth": 3}, "not that of a deep GP"),
    ):
        config.write_text(json.dumps(json.loads(text) | {key: value}))
        with pytest.raises(ValueError, match=message):
            DeepGP.load(tmp_path)
    config.write_text(text.replace('"dgp"', '"other"'))
    with pytest.raises(ValueError, match="unknown kind"):
        load_model(tmp_path)


# --- MAP -----------------------------------------------------------------------------------

EXACT = ClosedFormMAP(explain_residual=False, offset=None)


def test_no_trials_leave_the_model_as_it_is(source: DeepGP) -> None:
    tuned = source.adapt(np.empty((0, 10)), np.empty(0), ClosedFormMAP(), seed=0)
    assert tuned is not source
    assert equal(tuned, source)


@pytest.mark.parametrize("prior", [ClosedFormMAP(), AdamMAP(steps=60)], ids=["closed", "adam"])
def test_adapting_lowers_the_error_and_leaves_the_source_alone(source: DeepGP, prior) -> None:
    before = {k: v.copy() for k, v in source.state.arrays().items()}
    x, gflops = trials(400, 8, shift=1.0)
    tuned = source.adapt(x[:64], gflops[:64], prior, seed=0)
    assert rmse(tuned, x[64:], gflops[64:]) < 0.7 * rmse(source, x[64:], gflops[64:])
    assert all(np.array_equal(before[k], v) for k, v in source.state.arrays().items())


def test_offset_and_scale_alone_carry_a_shifted_task(source: DeepGP) -> None:
    x, gflops = trials(64, 8)
    moved = fit_offset(source.state, x, np.log2(gflops) + 1.5, OffsetPrior())
    assert moved.scaler.y_mean - source.state.scaler.y_mean == pytest.approx(1.5, abs=0.1)
    assert moved.scaler.y_std == pytest.approx(source.state.scaler.y_std, rel=0.1)
    tight = OffsetPrior(offset_scale=1e-6, slope_scale=1e-6)
    held = fit_offset(source.state, x, np.log2(gflops) + 1.5, tight)
    assert held.scaler.y_mean == pytest.approx(source.state.scaler.y_mean, abs=1e-6)


def test_closed_form_is_the_optimum_that_adam_finds(shallow: DeepGP) -> None:
    """With q(v) of the last layer alone free; predictions in standardised units to 0.01."""
    x, gflops = trials(40, 9, shift=0.7)
    exact = shallow.adapt(x, gflops, EXACT, seed=0)
    others = ("lower_layers", "kernels", "inducing", "noise", "mean")
    by_adam = AdamMAP(tau=EXACT.tau, frozen=others, steps=1500, learning_rate=0.03, offset=None)
    found = shallow.adapt(x, gflops, by_adam, seed=0)
    new, _ = trials(100, 10)
    scale = shallow.state.scaler.y_std
    np.testing.assert_allclose(found.predict(new).mean, exact.predict(new).mean, atol=0.01 * scale)
    np.testing.assert_allclose(found.predict(new).std, exact.predict(new).std, atol=0.01 * scale)
    np.testing.assert_array_equal(found.state.layers[0].inducing, shallow.state.layers[0].inducing)


def test_closed_form_agrees_with_the_formula(source: DeepGP) -> None:
    """m = m~ + P Phi^T (Phi P Phi^T + R)^-1 (y - mean_fn - Phi m~), written out with GPflow."""
    x, gflops = trials(30, 9, shift=0.5)
    state, layer = source.state, source.state.layers[-1]
    first = Network(state, 30, SMALL.noise_floor).layers[0]
    h = first.predict(tf.constant(state.scaler.inputs(x)))[0].numpy()
    kernel = gpflow.kernels.Matern52(float(layer.variance), layer.lengthscales)
    z = layer.inducing
    chol = np.linalg.cholesky(kernel(z).numpy() + state.jitter * np.eye(len(z)))
    phi = np.linalg.solve(chol, kernel(z, h).numpy()).T
    p = layer.q_sqrt[0] @ layer.q_sqrt[0].T + 0.2**2 * np.eye(len(z))
    noise = state.noise + layer.variance - (phi**2).sum(axis=1)
    gap = state.scaler.targets(np.log2(gflops)) - phi @ layer.q_mu[:, 0]
    gap -= (h @ layer.mean_a + layer.mean_b)[:, 0]
    gain = np.linalg.solve(phi @ p @ phi.T + np.diag(noise), phi @ p).T
    tuned = closed_form(state, x, np.log2(gflops), ClosedFormMAP(tau=0.2)).layers[-1]
    np.testing.assert_allclose(tuned.q_mu, layer.q_mu + (gain @ gap)[:, None], atol=1e-8)
    np.testing.assert_allclose(tuned.q_sqrt[0] @ tuned.q_sqrt[0].T, p - gain @ phi @ p, atol=1e-8)


def test_a_prior_of_no_width_holds_the_mean(source: DeepGP) -> None:
    """tau -> 0 about a source that is sure of itself; the more tau, the more it moves."""
    layer = source.state.layers[-1]
    sure = dataclasses.replace(layer, q_sqrt=1e-8 * layer.q_sqrt)
    state = dataclasses.replace(source.state, layers=(source.state.layers[0], sure))
    x, gflops = trials(64, 9, shift=1.0)
    moves = []
    for tau in (0.0, 0.03, 0.3):
        tuned = closed_form(state, x, np.log2(gflops), ClosedFormMAP(tau=tau))
        moves.append(np.abs(tuned.layers[-1].q_mu - layer.q_mu).max())
    assert moves[0] < 1e-6
    assert moves[0] < moves[1] < moves[2]


def test_the_prior_fades_as_trials_arrive(source: DeepGP) -> None:
    held_x, held_y = trials(300, 20, shift=1.0)
    x, gflops = trials(1000, 21, shift=1.0)
    prior = dataclasses.replace(EXACT, tau=0.3)
    counts = (0, 8, 64, 1000)
    errors = [rmse(source.adapt(x[:n], gflops[:n], prior, seed=0), held_x, held_y) for n in counts]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


def test_adam_moves_only_what_is_free(source: DeepGP) -> None:
    x, gflops = trials(32, 9, shift=0.5)
    prior = AdamMAP(steps=5, frozen=("variational", "inducing", "mean", "noise"), offset=None)
    tuned = source.adapt(x, gflops, prior, seed=0)
    before, after = source.state.arrays(), tuned.state.arrays()
    moved = {k for k in before if not np.allclose(before[k], after[k], rtol=1e-9, atol=1e-12)}
    assert moved == {f"layer{i}.{f}" for i in (0, 1) for f in ("variance", "lengthscales")}


def test_same_seed_same_adaptation(source: DeepGP) -> None:
    x, gflops = trials(200, 9)
    prior = AdamMAP(steps=8, frozen=())
    one, same, other = (source.adapt(x, gflops, prior, seed=s) for s in (0, 0, 1))
    assert equal(one, same)
    assert not equal(one, other)


def test_trials_that_are_all_alike_break_no_cholesky(source: DeepGP) -> None:
    x, gflops = trials(1, 9)
    x, gflops = np.repeat(x, 500, axis=0), np.repeat(gflops, 500)
    sure = source.adapt(x, gflops, ClosedFormMAP(tau=10.0, explain_residual=False), seed=0)
    predicted = sure.predict(x[:1])
    assert predicted.mean[0] == pytest.approx(np.log2(gflops[0]), abs=0.02)
    assert np.isfinite(predicted.std).all()


def test_the_widened_posterior_is_factored_exactly() -> None:
    q_sqrt = np.tril(np.random.default_rng(0).normal(size=(2, 6, 6)))
    factor = prior_cholesky(q_sqrt, 0.3)
    expected = q_sqrt @ q_sqrt.transpose(0, 2, 1) + 0.09 * np.eye(6)
    np.testing.assert_allclose(factor @ factor.transpose(0, 2, 1), expected, atol=1e-12)
    np.testing.assert_array_equal(factor, np.tril(factor))


# --- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: (x, np.where(y == y[0], np.nan, y)), "finite and positive"),
        (lambda x, y: (x, np.where(y == y[0], np.inf, y)), "finite and positive"),
        (lambda x, y: (x, y - y[0]), "finite and positive"),
        (lambda x, y: (x * np.inf, y), "nan or inf"),
        (lambda x, y: (x[:, 0], y), r"\[N, D\]"),
        (lambda x, y: (x, y[:-1]), "like the features"),
        (lambda x, y: (x[:5], y[:5]), "too few"),
        (lambda x, y: (np.ones_like(x), y), "constant"),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused(spoil, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeepGP(SMALL).fit(*spoil(*trials(40, 0)), seed=0)


def test_wrong_width_is_refused(source: DeepGP) -> None:
    for call in (
        lambda: source.predict(np.zeros((3, 9))),
        lambda: source.predict_mean(np.zeros((3, 9))),
        lambda: source.adapt(np.zeros((3, 9)), np.ones(3), ClosedFormMAP(), seed=0),
    ):
        with pytest.raises(ValueError, match="9 columns"):
            call()


def test_a_model_never_fitted_says_so(tmp_path) -> None:
    model = DeepGP(SMALL)
    for call in (
        lambda: model.predict(np.zeros((1, 10))),
        lambda: model.save(tmp_path / "nothing"),
        lambda: model.adapt(np.zeros((1, 10)), np.ones(1), ClosedFormMAP(), seed=0),
    ):
        with pytest.raises(RuntimeError, match="never fitted"):
            call()


@pytest.mark.parametrize("bad", [{"layers": 0}, {"kernel": "linear"}, {"jitter": 0.0}])
def test_impossible_configs_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="DGPConfig"):
        DGPConfig(**bad)


@pytest.mark.parametrize(
    ("prior", "bad"),
    [
        (ClosedFormMAP, {"tau": -1.0}),
        (AdamMAP, {"tau": -1.0}),
        (AdamMAP, {"frozen": ("all",)}),
        (AdamMAP, {"kernel_scale": 0.0}),
        (OffsetPrior, {"slope_scale": 0.0}),
    ],
)
def test_impossible_priors_are_refused(prior: type, bad: dict) -> None:
    with pytest.raises(ValueError, match=f"{prior.__name__}.{next(iter(bad))}"):
        prior(**bad)


def test_everything_frozen_is_refused() -> None:
    frozen = ("kernels", "inducing", "noise", "mean", "variational")
    with pytest.raises(ValueError, match="nothing to tune"):
        AdamMAP(frozen=frozen)
