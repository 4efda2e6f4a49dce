"""The PPO agent of CHAMELEON: networks and how it learns. `baselines.chameleon.ppo` says the rest.

Networks and constants of the public code (2019, `ppo_core.py`); the probability ratio is clipped
per knob, not jointly. This is the only module of the baselines that imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

# First, because it tells TensorFlow which Keras to take, which counts from its first import on.
import dgtl.models  # noqa: F401  # isort: skip
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ACTIONS = 3
"""One option down, stay, one up."""

UNITS = 20
SHARPNESS = 10.0
"""The last hidden layer is divided by a temperature of 0.1."""

BETA_1, BETA_2 = 0.9, 0.999
"""Adam's decay rates."""


@dataclasses.dataclass(frozen=True)
class PPOOptions:
    """Settings of the agent and of its episodes; the defaults are those of the public code.

    Args:
        clip: of the probability ratio, 1 - clip to 1 + clip.
        entropy, value: weights of these terms of the loss.
        discount: of rewards, gamma.
        gae: lambda of the generalised advantage estimation.
        epochs: gradient steps per episode, one minibatch each.
        minibatch: transitions, drawn with replacement.
        learning_rate, adam_epsilon: of Adam.
        episodes: per search.
        side_by_side: episodes per wave.
        steps: longest episode.
        settled: an episode ends with the step in which this share of the knobs stayed or landed on
            a boundary.
    """

    clip: float = 0.2
    entropy: float = 0.3
    value: float = 1.0
    discount: float = 0.9
    gae: float = 0.99
    epochs: int = 3
    minibatch: int = 32
    learning_rate: float = 1e-3
    adam_epsilon: float = 1e-5
    episodes: int = 128
    side_by_side: int = 64
    steps: int = 500
    settled: float = 0.75

    def __post_init__(self) -> None:
        counts = (self.epochs, self.minibatch, self.episodes, self.side_by_side, self.steps)
        if min(counts) < 1 or not 0 < self.clip < 1 or not 0 < self.settled <= 1:
            raise ValueError(f"PPO: options out of range: {self}")


@dataclasses.dataclass(frozen=True)
class Transitions:
    """What a wave of episodes went through, one row per step of an episode.

    Args:
        states: before the step [N, K].
        actions: taken, 0..2 [N, K].
        probabilities: that the policy gave them [N, K].
        advantages: standardised [N].
        returns: targets of the value network [N].
    """

    states: NDArray[np.float32]
    actions: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    advantages: NDArray[np.float32]
    returns: NDArray[np.float32]


class Agent:
    """Policy and value network for K knobs, and what Adam remembers of them.

    Args:
        n_knobs: K.
        rng: of weights, actions and minibatches.
        options: of the agent.
    """

    def __init__(self, n_knobs: int, rng: np.random.Generator, options: PPOOptions):
        self._rng = rng
        self._options = options
        self._forward = compiled_forward(n_knobs, options.side_by_side)
        self._update = compiled_update(
            n_knobs,
            minibatch=options.minibatch,
            clip=options.clip,
            entropy=options.entropy,
            value=options.value,
            learning_rate=options.learning_rate,
            adam_epsilon=options.adam_epsilon,
        )
        theta = initial(n_knobs, rng)
        # Parameters, Adam's first and second moments, and the number of steps taken.
        self._state = tuple(tf.constant(x, tf.float32) for x in (theta, 0 * theta, 0 * theta, 0.0))

    def act(self, states: NDArray[np.float32]) -> tuple[NDArray, NDArray, NDArray]:
        """Actions [N, K], their probabilities [N, K] and values [N] for states [N, K].

        N is at most ``side_by_side``.
        """
        padded = np.zeros((self._options.side_by_side, states.shape[1]), np.float32)
        padded[: len(states)] = states
        log_policy, values = self._forward(self._state[0], padded)
        policy = np.exp(log_policy.numpy()[: len(states)])
        uniform = self._rng.random(states.shape)[..., None]
        actions = (np.cumsum(policy, axis=2) < uniform).sum(axis=2).clip(max=ACTIONS - 1)
        taken = np.take_along_axis(policy, actions[..., None], axis=2)[..., 0]
        return actions.astype(np.int32), taken, values.numpy()[: len(states)]

    def learn(self, data: Transitions, episodes: int) -> None:
        """``epochs`` gradient steps for each of the ``episodes`` that ``data`` came from."""
        size = (episodes * self._options.epochs, self._options.minibatch)
        rows = self._rng.integers(len(data.returns), size=size)
        self._state = self._update(
            *self._state,
            data.states[rows],
            data.actions[rows],
            data.probabilities[rows],
            data.advantages[rows],
            data.returns[rows],
        )


def _shapes(n_knobs: int) -> list[tuple[int, ...]]:
    """Shapes of weights and biases in turn: policy trunk, one head per knob, value network."""
    shapes: list[tuple[int, ...]] = []
    for inputs, outputs in ((n_knobs, UNITS), (UNITS, UNITS)):
        shapes += [(inputs, outputs), (outputs,)]
    for inputs in (UNITS, ACTIONS, ACTIONS):
        shapes += [(n_knobs, inputs, ACTIONS), (n_knobs, ACTIONS)]
    for inputs, outputs in ((n_knobs, UNITS), (UNITS, UNITS), (UNITS, UNITS), (UNITS, 1)):
        shapes += [(inputs, outputs), (outputs,)]
    return shapes


N_TRUNK, N_HEADS = 4, 6
"""Entries of `_shapes` that belong to the trunk and to the heads."""


def initial(n_knobs: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Parameters [P] to start from: uniform weights by Glorot's rule, biases 0."""
    shapes = _shapes(n_knobs)
    values = []
    for weights, bias in zip(shapes[::2], shapes[1::2], strict=True):
        limit = np.sqrt(6 / (weights[-2] + weights[-1]))
        values += [rng.uniform(-limit, limit, size=weights).ravel(), np.zeros(np.prod(bias))]
    return np.concatenate(values)


def networks(n_knobs: int, theta: tf.Tensor, states: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Log policy [N, K, 3] and values [N] at states [N, K], of parameters ``theta`` [P].

    Policy: dense 20 tanh, dense 20 tanh, then for every knob dense 3 tanh, dense 3 tanh, division
    by 0.1, dense 3 softmax. Value: dense 20 tanh three times, dense 1.
    """
    shapes = _shapes(n_knobs)
    flat = tf.split(theta, [int(np.prod(shape)) for shape in shapes])
    parameters = [tf.reshape(x, shape) for x, shape in zip(flat, shapes, strict=True)]
    trunk, heads = parameters[:N_TRUNK], parameters[N_TRUNK : N_TRUNK + N_HEADS]
    critic = parameters[N_TRUNK + N_HEADS :]

    hidden = states
    for weights, bias in zip(trunk[::2], trunk[1::2], strict=True):
        hidden = tf.tanh(hidden @ weights + bias)
    # From here on one small network per knob.
    w1, b1, w2, b2, w3, b3 = heads
    hidden = tf.tanh(tf.einsum("ni,kij->nkj", hidden, w1) + b1)
    hidden = tf.tanh(tf.einsum("nki,kij->nkj", hidden, w2) + b2) * SHARPNESS
    log_policy = tf.nn.log_softmax(tf.einsum("nki,kij->nkj", hidden, w3) + b3)

    value = states
    for weights, bias in zip(critic[:-2:2], critic[1:-2:2], strict=True):
        value = tf.tanh(value @ weights + bias)
    return log_policy, (value @ critic[-2] + critic[-1])[:, 0]


@functools.cache
def compiled_forward(n_knobs: int, walkers: int) -> Callable:
    """The networks for states [walkers, K], as a compiled function without state.

    These networks are so small that TensorFlow's overhead per operation would be nine tenths of the
    time, and its overhead per call half of the rest; so they and Adam's steps are compiled as a
    whole, for fixed shapes, and once for all agents that they are alike for.
    """

    def forward(theta: tf.Tensor, states: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return networks(n_knobs, theta, states)

    signature = [_parameters(n_knobs), tf.TensorSpec([walkers, n_knobs], tf.float32)]
    return tf.function(forward, input_signature=signature, autograph=False, jit_compile=True)


@functools.cache
def compiled_update(
    n_knobs: int,
    *,
    minibatch: int,
    clip: float,
    entropy: float,
    value: float,
    learning_rate: float,
    adam_epsilon: float,
) -> Callable:
    """Steps of Adam on PPO's loss, all those of a wave in one loop; see `compiled_forward`.

    The keywords are `PPOOptions`'.
    """

    def one_step(
        theta: tf.Tensor,
        first: tf.Tensor,
        second: tf.Tensor,
        step: tf.Tensor,
        states: tf.Tensor,
        actions: tf.Tensor,
        probabilities: tf.Tensor,
        advantages: tf.Tensor,
        returns: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(theta)
            log_policy, values = networks(n_knobs, theta, states)
            taken = tf.reduce_sum(log_policy * tf.one_hot(actions, ACTIONS), axis=2)
            ratio = tf.exp(taken) / probabilities
            clipped = tf.clip_by_value(ratio, 1 - clip, 1 + clip)
            gain = tf.minimum(ratio * advantages[:, None], clipped * advantages[:, None])
            policy_entropy = -tf.reduce_sum(tf.exp(log_policy) * log_policy, axis=2)
            policy_gain = tf.reduce_sum(gain + entropy * policy_entropy, axis=1)
            loss = tf.reduce_mean(value * tf.square(values - returns) - policy_gain)
        gradient = tape.gradient(loss, theta)
        step += 1
        first = BETA_1 * first + (1 - BETA_1) * gradient
        second = BETA_2 * second + (1 - BETA_2) * gradient**2
        rate = learning_rate * tf.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
        theta -= rate * first / (tf.sqrt(second) + adam_epsilon)
        return theta, first, second, step

    def update(
        theta: tf.Tensor,
        first: tf.Tensor,
        second: tf.Tensor,
        step: tf.Tensor,
        *minibatches: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        """One step per minibatch; they are stacked along the first axis."""
        i = tf.constant(0)
        while i < tf.shape(minibatches[0])[0]:
            theta, first, second, step = one_step(
                theta, first, second, step, *(x[i] for x in minibatches)
            )
            i += 1
        return theta, first, second, step

    theta, scalar = _parameters(n_knobs), tf.TensorSpec([], tf.float32)
    matrix = tf.TensorSpec([None, minibatch, n_knobs], tf.float32)
    actions = tf.TensorSpec([None, minibatch, n_knobs], tf.int32)
    vector = tf.TensorSpec([None, minibatch], tf.float32)
    signature = [theta, theta, theta, scalar, matrix, actions, matrix, vector, vector]
    return tf.function(update, input_signature=signature, jit_compile=True)


def _parameters(n_knobs: int) -> tf.TensorSpec:
    """Of all parameters as one vector [P]."""
    return tf.TensorSpec([sum(int(np.prod(shape)) for shape in _shapes(n_knobs))], tf.float32)
