"""The deep GP as GPflux layers: built from a `DGPState`, trained, and read back into one.

Layers and model are GPflux's. Ours are the noise of the samples and the sum of the objective:
GPflux draws from the global generator, has no floor under a variance before its square root,
and sees no priors but those on kernels. And ours is `layer_prediction`, for the time of training.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from dgtl.models.deep_gp.state import Array, DGPState, LayerState
from dgtl.models.unchecked import gpflow, gpflux

_KERNELS = {"matern52": gpflow.kernels.Matern52, "rbf": gpflow.kernels.SquaredExponential}

_VARIANCE_FLOOR = 1e-12

GROUPS = ("variational", "kernels", "inducing", "mean")
"""Groups of a layer's parameters; the likelihood's own is `noise`."""


def _layer(state: LayerState, kernel: str, num_data: int, name: str) -> gpflux.layers.GPLayer:
    inputs, outputs = state.mean_a.shape
    base = _KERNELS[kernel](variance=float(state.variance), lengthscales=state.lengthscales)
    layer = gpflux.layers.GPLayer(
        gpflow.kernels.SharedIndependent(base, output_dim=outputs),
        gpflow.inducing_variables.SharedIndependentInducingVariables(
            gpflow.inducing_variables.InducingPoints(state.inducing)
        ),
        num_data,
        gpflow.mean_functions.Linear(A=state.mean_a, b=state.mean_b),
        name=name,
        verbose=False,
    )
    layer.build((None, inputs))
    layer.q_mu.assign(state.q_mu)
    layer.q_sqrt.assign(state.q_sqrt)
    return layer


def layer_prediction(layer: gpflux.layers.GPLayer, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean [B, R] and variance [B, R] of a layer at x [B, D]: what `GPLayer.predict` returns.

    With a = L^-1 k(Z, x) and whitened q(v_r) = N(m_r, S_r S_r^T), the variance is
    k(x, x) - |a|^2 + |S_r^T a|^2 (Hensman et al. 2015, eq. 10). The last product is most of the
    arithmetic of training; GPflow does it in float64, one r after another, and TensorFlow's float64
    products take three times as long as those in float32. It is a sum of squares, so that nothing
    cancels in it: float32 errs by a millionth of the variance.
    """
    kernel, inducing = layer.kernel.kernel, layer.inducing_variable.inducing_variable
    jitter = gpflow.config.default_jitter()
    root = tf.linalg.cholesky(gpflow.covariances.Kuu(inducing, kernel, jitter=jitter))
    a = tf.linalg.triangular_solve(root, gpflow.covariances.Kuf(inducing, kernel, x))
    mean = tf.matmul(a, layer.q_mu, transpose_a=True) + layer.mean_function(x)

    factors = tf.cast(tf.linalg.matrix_transpose(layer.q_sqrt), tf.float32)  # [R, M, M]
    outputs, points = factors.shape[0], factors.shape[1]
    projected = tf.reshape(factors, [outputs * points, points]) @ tf.cast(a, tf.float32)
    spread = tf.reduce_sum(tf.reshape(projected, [outputs, points, -1]) ** 2, axis=1)
    prior = kernel(x, full_cov=False) - tf.reduce_sum(a**2, axis=0)
    return mean, prior[:, None] + tf.transpose(tf.cast(spread, prior.dtype))


class Network:
    """A GPflux deep GP with the parameters of `state`.

    Args:
        state: the parameters to start from.
        num_data: rows of the training data, which scales a minibatch.
        noise_floor: least variance of the likelihood.
    """

    def __init__(self, state: DGPState, num_data: int, noise_floor: float) -> None:
        self._origin = state
        self.num_data = num_data
        self.layers = [
            _layer(layer, state.kernel, num_data, f"layer{i}")
            for i, layer in enumerate(state.layers)
        ]
        # A softplus cannot start on its own bound.
        noise = max(state.noise, noise_floor * (1.0 + 1e-6))
        likelihood = gpflow.likelihoods.Gaussian(noise, variance_lower_bound=noise_floor)
        self.model = gpflux.models.DeepGP(
            self.layers,
            likelihood,
            input_dim=state.layers[0].mean_a.shape[0],
            target_dim=1,
            num_data=num_data,
        )
        self.likelihood = likelihood
        assert isinstance(likelihood.variance, gpflow.Parameter)
        self.noise = likelihood.variance

    def layer_parameters(self, index: int, group: str) -> list[gpflow.Parameter]:
        """Parameters of one of `GROUPS` of a layer."""
        layer = self.layers[index]
        if group == "variational":
            return [layer.q_mu, layer.q_sqrt]
        if group == "kernels":
            return [layer.kernel.kernel.variance, layer.kernel.kernel.lengthscales]
        if group == "inducing":
            return [layer.inducing_variable.inducing_variable.Z]
        if group == "mean":
            return [layer.mean_function.A, layer.mean_function.b]
        raise ValueError(f"unknown group {group!r}, known: {GROUPS}")

    def data_term(self, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """sum_i E_q[log p(y_i | f(x_i))], one sample of the hidden layers, scaled from the
        batch x [B, D], y [B, 1] to all rows; `seed` [2] decides the sample."""
        h = x
        for i, layer in enumerate(self.layers[:-1]):
            mean, var = layer_prediction(layer, h)
            noise = tf.random.stateless_normal(
                tf.shape(mean), tf.stack([seed[0], seed[1] + i]), dtype=mean.dtype
            )
            h = mean + tf.sqrt(tf.maximum(var, _VARIANCE_FLOOR)) * noise
        mean, var = layer_prediction(self.layers[-1], h)
        terms = self.likelihood.variational_expectations(h, mean, var, y)
        return tf.reduce_mean(terms) * self.num_data

    def elbo(self, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Evidence lower bound: Sun et al. (ICCV 2021) eq. 1, Salimbeni & Deisenroth (2017).

        sum_i E_q[log p(y_i | f^L(x_i))] - sum_l KL(q(u^l) || p(u^l)).
        """
        return self.data_term(x, y, seed) - tf.add_n([layer.prior_kl() for layer in self.layers])

    def state(self, jitter: float) -> DGPState:
        """The parameters as they are now."""
        layers = tuple(
            LayerState(
                variance=_numpy(layer.kernel.kernel.variance),
                lengthscales=_numpy(layer.kernel.kernel.lengthscales),
                inducing=_numpy(layer.inducing_variable.inducing_variable.Z),
                q_mu=_numpy(layer.q_mu),
                q_sqrt=np.tril(_numpy(layer.q_sqrt)),
                mean_a=_numpy(layer.mean_function.A),
                mean_b=_numpy(layer.mean_function.b),
            )
            for layer in self.layers
        )
        noise = float(_numpy(self.noise))
        return dataclasses.replace(self._origin, layers=layers, noise=noise, jitter=jitter)


def gaussian_kl(layer: gpflux.layers.GPLayer, mean: tf.Tensor, chol: tf.Tensor) -> tf.Tensor:
    """KL(q(v) || N(mean, chol chol^T)), mean [M, R], chol [R, M, M]."""
    return gpflow.kullback_leiblers.gauss_kl(layer.q_mu - mean, layer.q_sqrt, K_cholesky=chol)


def _numpy(parameter: gpflow.Parameter) -> Array:
    return np.asarray(parameter.numpy(), dtype=np.float64)
