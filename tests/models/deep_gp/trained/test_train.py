"""Training: it learns, its objective is GPflux's, and it comes back from steps that break."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from deep_gp_trials import SMALL, equal, rmse, scaled, trials

from dgtl.models.deep_gp import train as dgp_train
from dgtl.models.deep_gp.layers import Network
from dgtl.models.deep_gp.model import DeepGP, limit_threads
from dgtl.models.unchecked import gpflow

pytestmark = pytest.mark.slow

SEED = tf.constant([1, 2], dtype=tf.int32)


def test_it_learns(source: DeepGP) -> None:
    x, gflops = trials(500, 1)
    assert rmse(source, x, gflops) < 0.5 * np.log2(gflops).std()


def test_uncertainty_is_of_the_size_of_the_errors(source: DeepGP) -> None:
    x, gflops = trials(500, 1)
    predicted = source.predict(x)
    z = (predicted.mean - np.log2(gflops)) / predicted.std
    assert 0.5 < z.std() < 2.0


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
    gpflux_elbo = tf.function(lambda: network.model.elbo((x, y)), autograph=False)
    elbo = tf.function(network.elbo, autograph=False)
    theirs = np.array([gpflux_elbo().numpy() for _ in range(60)])
    ours = np.array([elbo(x, y, tf.constant([0, 64 * i])).numpy() for i in range(60)])
    error = np.sqrt((theirs.var() + ours.var()) / 60)
    assert theirs.mean() == pytest.approx(ours.mean(), abs=4.0 * error)


def test_a_minibatch_is_scaled_to_all_rows(shallow: DeepGP) -> None:
    x, y = scaled(shallow, 40, 4)
    twice = tf.constant(np.tile(x, (2, 1))), tf.constant(np.tile(y[:, None], (2, 1)))
    network = Network(shallow.state, 80, SMALL.noise_floor)
    batch = network.data_term(tf.constant(x), tf.constant(y[:, None]), SEED)
    assert batch.numpy() == pytest.approx(network.data_term(*twice, SEED).numpy(), rel=1e-8)


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
    model = DeepGP(dataclasses.replace(SMALL, layers=1))  # traced in half the time of two
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


def test_threads_cannot_change_once_tensorflow_computes() -> None:
    tf.constant(1.0) + 1.0
    limit_threads(
        tf.config.threading.get_intra_op_parallelism_threads(),
        tf.config.threading.get_inter_op_parallelism_threads(),
    )
    with pytest.raises(RuntimeError):
        limit_threads(7, 3)


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
