"""Learning the hyperparameters of `ResidualGP`, with GPflow's kernel and Adam.

Imports TensorFlow: import this where it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from dgtl.models.base import CONSTANT
from dgtl.models.residual_gp.gp import ResidualGP, ResidualGPConfig
from dgtl.models.unchecked import gpflow, tf_keras

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dgtl.models.deep_gp.state import Array

_LENGTHSCALE_STD = 2.0
"""Standard deviation of the log-normal prior of a length scale, about the square root of their
number: wide enough to switch a feature off, and proper where the sources say nothing."""

_FLOOR = 1e-4
"""Least variance of the noise: timings of one configuration differ by about 1 %."""

_ABSENT = 1e6
"""Variance of the noise of rows that fill up a task with few: they tell nothing."""


def fit_residual_gp(
    features: Array,
    residuals: Array,
    below: Array,
    task: NDArray[np.int64],
    config: ResidualGPConfig,
    seed: np.random.SeedSequence,
) -> ResidualGP:
    """Hyperparameters that make residuals of source tasks most likely (type II maximum likelihood).

    Args:
        features: [N, width].
        residuals: [N] measured less predicted log2 throughput, by models that had not seen the
            task of the row.
        below: [N] log2 throughput that these models expect less than at best of the task.
        task: [N] which task a row is of.
        config: steps of the optimiser.
        seed: of the rows drawn.
    """
    mean, std = features.mean(axis=0), features.std(axis=0)
    columns = np.flatnonzero(std > CONSTANT * np.maximum(1.0, np.abs(mean)))
    mean, std = mean[columns], std[columns]
    inputs = (features[:, columns] - mean) / std
    width = len(columns)

    total = max(float(np.mean(residuals**2)), 10.0 * _FLOOR)
    kernel = gpflow.kernels.Matern52(variance=0.5 * total, lengthscales=np.full(width, width**0.5))
    prior = tfp.distributions.LogNormal(
        tf.constant(0.5 * np.log(width), tf.float64), tf.constant(_LENGTHSCALE_STD, tf.float64)
    )
    offset = gpflow.Parameter(0.25 * total, transform=gpflow.utilities.positive())
    noise = gpflow.Parameter(0.25 * total, transform=gpflow.utilities.positive(lower=_FLOOR))
    floor = gpflow.Parameter(0.5, transform=tfp.bijectors.Sigmoid(_to64(0.02), _to64(1.0)))
    reach = gpflow.Parameter(1.0, transform=gpflow.utilities.positive(lower=0.1))
    variables = [*kernel.trainable_variables, *offset.trainable_variables]
    freedom = gpflow.Parameter(8.0, transform=gpflow.utilities.positive(lower=2.1))
    for parameter in (noise, floor, reach, freedom):
        variables += parameter.trainable_variables
    rows_of = [np.flatnonzero(task == t) for t in np.unique(task)]
    prior_scale = 1.0 / len(rows_of)
    adam = tf_keras.optimizers.Adam(config.learning_rate, jit_compile=False)
    adam.build(variables)

    # No condition in it depends on a tensor: AutoGraph would take time for nothing.
    @tf.function(autograph=False, reduce_retracing=True)
    def step(x: tf.Tensor, y: tf.Tensor, r: tf.Tensor, absent: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            scale = 1.0 - (1.0 - floor) * tf.exp(-r / reach)
            covariance = scale[..., :, None] * scale[..., None, :] * kernel(x) + offset
            diagonal = tf.linalg.diag_part(covariance) + noise * scale**2 + _ABSENT * absent
            covariance = tf.linalg.set_diag(covariance, diagonal)
            likelihood = tf.reduce_mean(_log_student(y, covariance, freedom, 1.0 - absent))
            # log of a length scale is what Adam moves: its density lacks the Jacobian's 1 / l.
            shape = tf.reduce_sum(prior.log_prob(kernel.lengthscales))
            shape += tf.reduce_sum(tf.math.log(kernel.lengthscales))
            loss = -likelihood - prior_scale * shape
        adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    rng = np.random.default_rng(seed)
    for i in range(config.steps):
        rate = 0.5 * config.learning_rate * (1.0 + np.cos(np.pi * i / config.steps))
        adam.learning_rate.assign(rate)
        drawn = rng.choice(len(rows_of), config.tasks, replace=len(rows_of) < config.tasks)
        rows = np.zeros((len(drawn), config.rows), np.int64)
        absent = np.ones(rows.shape)
        for j, own in enumerate(rows_of[t] for t in drawn):
            # Never a row twice: copies that agree would tell of timings without noise.
            kept = rng.permutation(own)[: config.rows]
            rows[j, : len(kept)], absent[j, : len(kept)] = kept, 0.0
        step(*(tf.constant(part) for part in (inputs[rows], residuals[rows], below[rows], absent)))
    return ResidualGP(
        columns,
        mean,
        std,
        np.asarray(kernel.lengthscales.numpy()),
        float(kernel.variance.numpy()),
        float(offset.numpy()),
        float(noise.numpy()),
        float(floor.numpy()),
        float(reach.numpy()),
        float(freedom.numpy()),
    )


def _log_student(y: tf.Tensor, covariance: tf.Tensor, freedom: tf.Tensor, present: tf.Tensor):
    """Log density [T] of Student-t processes at values [T, n]; absent rows add a constant."""
    n = tf.reduce_sum(present, axis=-1)
    root = tf.linalg.cholesky(covariance)
    white = tf.linalg.triangular_solve(root, y[..., None])[..., 0]
    surprise = tf.reduce_sum(present * white**2, axis=-1)
    log_root = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(root)), axis=-1)
    half = 0.5 * (freedom + n)
    normaliser = tf.math.lgamma(half) - tf.math.lgamma(0.5 * freedom)
    normaliser -= 0.5 * n * tf.math.log((freedom - 2.0) * np.pi) + log_root
    return normaliser - half * tf.math.log1p(surprise / (freedom - 2.0))


def _to64(value: float) -> tf.Tensor:
    return tf.constant(value, tf.float64)
