"""Tuning a trained model to a target: what moves, how far, and towards what."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tensorflow as tf
from deep_gp_trials import SMALL, equal, rmse, trials

from dgtl.models.deep_gp.layers import Network
from dgtl.models.deep_gp.map import AdamMAP, ClosedFormMAP, OffsetPrior, closed_form, fit_offset
from dgtl.models.unchecked import gpflow

if TYPE_CHECKING:
    from dgtl.models.deep_gp.model import DeepGP

pytestmark = pytest.mark.slow

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
