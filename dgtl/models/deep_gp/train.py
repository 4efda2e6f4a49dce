"""Training of the GPflux layers: the ELBO of a source model, the MAP objective of a target's.

Adam on one compiled function, with a way back: GPflux's Cholesky factors fail now and then, so
the parameters are kept every few steps, and a step that is not finite returns to the last good
ones with ten times the jitter and half the step.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from dgtl.models.deep_gp.layers import GROUPS, Network, gaussian_kl
from dgtl.models.deep_gp.map import AdamMAP, prior_cholesky
from dgtl.models.unchecked import gpflow, tf_keras

if TYPE_CHECKING:
    from dgtl.models.deep_gp.state import Array, DGPConfig, DGPState

_LOG = logging.getLogger(__name__)

_KEEP_EVERY = 25
_RESCUES = 6
_KEYS_A_STEP = 64

Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""(x [B, D], y [B, 1], seed [2]) to a scalar."""


def limit_threads(intra: int, inter: int = 1) -> None:
    """Threads of TensorFlow: `intra` within an operation, `inter` operations at once.

    They hold for the process and can be set only before TensorFlow first computes.

    Raises:
        RuntimeError: TensorFlow has computed already, with other numbers.
    """
    now = (
        tf.config.threading.get_intra_op_parallelism_threads(),
        tf.config.threading.get_inter_op_parallelism_threads(),
    )
    if now != (intra, inter):
        tf.config.threading.set_intra_op_parallelism_threads(intra)
        tf.config.threading.set_inter_op_parallelism_threads(inter)


def train_source(
    state: DGPState, config: DGPConfig, x: Array, y: Array, seed: np.random.SeedSequence
) -> DGPState:
    """Maximise the ELBO (eq. 1) over all parameters but the mean functions of hidden layers.

    Args:
        state: where to start.
        config: steps, batch, learning rate and noise floor are taken from it.
        x, y: standardised inputs [N, D] and targets [N].
        seed: of the batches and the samples.

    Raises:
        RuntimeError: training broke down again and again.
    """
    network = Network(state, len(x), config.noise_floor)
    parameters = [network.noise]
    for i in range(len(network.layers)):
        last = i == len(network.layers) - 1
        for group in GROUPS:
            if group != "mean" or last:
                parameters += network.layer_parameters(i, group)

    def loss(x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return -network.elbo(x, y, seed) / len_x

    len_x = float(len(x))
    return _Adam(network, loss, parameters, config.learning_rate, config.steps, state.jitter).run(
        x, y, config.batch, seed
    )


def train_target(
    state: DGPState,
    config: DGPConfig,
    prior: AdamMAP,
    x: Array,
    y: Array,
    seed: np.random.SeedSequence,
) -> DGPState:
    """Minimise J of map.py over what `prior.frozen` leaves free, starting from the source.

    Raises:
        RuntimeError: training broke down again and again.
    """
    network = Network(state, len(x), config.noise_floor)
    last = len(network.layers) - 1
    scales = {
        "kernels": prior.kernel_scale,
        "inducing": prior.inducing_scale,
        "mean": prior.mean_scale,
    }
    moved = range(last if "lower_layers" in prior.frozen else 0, last + 1)
    tight: list[tuple[gpflow.Parameter, float]] = []
    for i in moved:
        for group, scale in scales.items():
            if group not in prior.frozen and (group != "mean" or i == last):
                tight += [(p, scale) for p in network.layer_parameters(i, group)]
    if "noise" not in prior.frozen:
        tight.append((network.noise, prior.noise_scale))
    centres = [tf.constant(p.unconstrained_variable.numpy()) for p, _ in tight]

    free = [p for p, _ in tight]
    posteriors = []
    if "variational" not in prior.frozen:
        for i in moved:
            free += network.layer_parameters(i, "variational")
            layer = state.layers[i]
            factor = tf.constant(prior_cholesky(layer.q_sqrt, prior.tau))
            posteriors.append((network.layers[i], tf.constant(layer.q_mu), factor))

    def loss(x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        terms = [-network.data_term(x, y, seed)]
        terms += [gaussian_kl(layer, mean, factor) for layer, mean, factor in posteriors]
        for (parameter, scale), centre in zip(tight, centres, strict=True):
            shift = (parameter.unconstrained_variable - centre) / scale
            terms.append(0.5 * tf.reduce_sum(shift**2))
        return tf.add_n(terms)

    return _Adam(network, loss, free, prior.learning_rate, prior.steps, state.jitter).run(
        x, y, config.batch, seed
    )


class _Adam:
    """Adam with a cosine to zero, which comes back from steps that are not finite."""

    def __init__(
        self,
        network: Network,
        loss: Loss,
        parameters: list[gpflow.Parameter],
        learning_rate: float,
        steps: int,
        jitter: float,
    ) -> None:
        self._network = network
        self._loss = loss
        self._variables = [p.unconstrained_variable for p in parameters]
        self._rate = learning_rate
        self._steps = steps
        self._jitter = jitter
        self._compile()

    def run(self, x: Array, y: Array, batch: int, seed: np.random.SeedSequence) -> DGPState:
        """Take the steps and return the parameters reached."""
        batch_seed, sample_seed = seed.spawn(2)
        rows = _batches(len(x), batch, np.random.default_rng(batch_seed))
        # Step i draws with the keys (word, _KEYS_A_STEP * i + layer), see Network.data_term.
        word = int(sample_seed.generate_state(1)[0] >> 1)
        data = (tf.constant(x), tf.constant(y[:, None]))
        kept = self._values()
        kept_at = step = rescues = 0
        while step < self._steps:
            rate = 0.5 * self._rate * (1.0 + np.cos(np.pi * step / self._steps))
            good = self._step(data, next(rows), (word, step * _KEYS_A_STEP), rate)
            step += 1
            checkpoint = step % _KEEP_EVERY == 0 or step == self._steps
            if good and checkpoint:
                values = self._values()
                good = all(np.isfinite(v).all() for v in values)
                if good:
                    kept, kept_at = values, step
            if not good:
                rescues += 1
                if rescues > _RESCUES:
                    raise RuntimeError(
                        f"training broke down {rescues} times, last at step {step} with jitter "
                        f"{self._jitter:g}: lower the learning rate or raise the noise floor"
                    )
                self._rescue(kept, step)
                step = kept_at
        return self._network.state(self._jitter)

    def _step(
        self,
        data: tuple[tf.Tensor, tf.Tensor],
        rows: np.ndarray,
        seed: tuple[int, int],
        rate: float,
    ) -> bool:
        """One step of Adam; False where the loss was not finite or could not be computed."""
        self._adam.learning_rate.assign(rate)
        try:
            loss = self._compiled(*data, tf.constant(rows), tf.constant(seed, dtype=tf.int32))
        except tf.errors.InvalidArgumentError as error:
            if "holesky" not in str(error):
                raise
            return False
        return bool(np.isfinite(loss.numpy()))

    def _rescue(self, kept: list[Array], step: int) -> None:
        for variable, value in zip(self._variables, kept, strict=True):
            variable.assign(value)
        self._jitter *= 10.0
        self._rate *= 0.5
        _LOG.warning("step %d was not finite: going back, jitter %g", step, self._jitter)
        self._compile()

    def _values(self) -> list[Array]:
        return [np.array(variable.numpy()) for variable in self._variables]

    def _compile(self) -> None:
        """A fresh optimiser and objective: jitter is fixed when the objective is traced.

        No condition in it depends on a tensor, so AutoGraph, which takes seconds, is left out.
        """
        adam = tf_keras.optimizers.Adam(self._rate, jit_compile=False)
        adam.build(self._variables)
        jitter = self._jitter

        @tf.function(autograph=False, reduce_retracing=True)
        def compiled(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            config = dataclasses.replace(gpflow.config.config(), jitter=jitter)
            with gpflow.config.as_context(config), tf.GradientTape() as tape:
                loss = self._loss(tf.gather(x, rows), tf.gather(y, rows), seed)
            adam.apply_gradients(
                zip(tape.gradient(loss, self._variables), self._variables, strict=True)
            )
            return loss

        self._adam = adam
        self._compiled = compiled


def _batches(count: int, batch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of one minibatch after another, each pass over the data in a new order."""
    while True:
        order = rng.permutation(count)
        if count <= batch:
            yield order
        for start in range(0, count - batch + 1, batch) if count > batch else ():
            yield order[start : start + batch]
