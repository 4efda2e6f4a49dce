"""CHAMELEON's adaptive exploration: a PPO agent walks the design space against the cost model.

Ahn et al., ICLR 2020, with the networks and constants of its public code (2019, `ppo_core.py`,
`rl_model_optimizer.py`). The state is every knob's index over its number of options; the action is,
for every knob on its own, one down, stay or one up; the reward is the cost model's score of the
configuration reached.

Differences from that code: episodes run side by side in waves instead of one after another, so that
a step asks the cost model once for all of them. A wave is followed by as many gradient steps as its
episodes would have had, on minibatches of all its transitions; the old policy is the one that
walked. Knobs with one option are left out: there is no action to choose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from baselines.chameleon.ppo_agent import Transitions
from dgtl.search.annealing import Best

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from baselines.chameleon.ppo_agent import Agent, PPOOptions
    from dgtl.core.space import Configurations, DesignSpace


def explore(
    agent: Agent,
    space: DesignSpace,
    score: Callable[[Configurations], NDArray[np.floating]],
    rng: np.random.Generator,
    *,
    top: int,
    options: PPOOptions,
    exclude: Collection[str] = (),
) -> tuple[Configurations, NDArray[np.float64]]:
    """The best configurations that the agent visits while it learns; cf. `anneal`.

    Args:
        agent: learns in place; made for `free_knobs` of the space.
        space, score, top, exclude: as of `dgtl.search.annealing.anneal`.
        rng: where episodes start.
        options: of the episodes.

    Returns:
        At most ``top`` distinct configurations [M, K] with their scores [M], best first.
    """
    best = Best(space, top, exclude)
    for start in range(0, options.episodes, options.side_by_side):
        episodes = min(options.side_by_side, options.episodes - start)
        wave = _wave(agent, space, score, space.sample(rng, episodes), best, options)
        agent.learn(wave, episodes)
    return best.ranked()


def free_knobs(space: DesignSpace) -> NDArray[np.int64]:
    """Knobs with a choice: those that an agent moves."""
    return np.flatnonzero(space.sizes > 1)


def _wave(
    agent: Agent,
    space: DesignSpace,
    score: Callable[[Configurations], NDArray[np.floating]],
    points: Configurations,
    best: Best,
    options: PPOOptions,
) -> Transitions:
    """Walks from points [B, K], all rows side by side; a row rests when its episode has ended."""
    knobs = free_knobs(space)
    sizes = space.sizes[knobs]
    shape = (options.steps, len(points))
    states = np.zeros((*shape, len(knobs)), np.float32)
    actions = np.zeros((*shape, len(knobs)), np.int32)
    probabilities = np.ones((*shape, len(knobs)), np.float32)
    rewards, values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    walked = np.zeros(shape, dtype=bool)
    rows = np.arange(len(points))
    for step in range(options.steps):
        at = (step, rows)
        state = (points[np.ix_(rows, knobs)] / sizes).astype(np.float32)
        action, probabilities[at], values[at] = agent.act(state)
        moved = np.clip(points[np.ix_(rows, knobs)] + action - 1, 0, sizes - 1)
        points[np.ix_(rows, knobs)] = moved
        reward = score(points[rows])
        best.add(points[rows], reward)
        states[at], actions[at], rewards[at], walked[at] = state, action, reward, True
        resting = (action == 1) | (moved == 0) | (moved == sizes - 1)
        rows = rows[resting.mean(axis=1) < options.settled]
        if len(rows) == 0:
            break
    returns, advantages = estimate(rewards, values, walked, options.discount, options.gae)
    return Transitions(states[walked], actions[walked], probabilities[walked], advantages, returns)


def estimate(
    rewards: NDArray[np.float32],
    values: NDArray[np.float32],
    walked: NDArray[np.bool_],
    discount: float,
    gae: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns [N] and standardised generalised advantages [N] of the N steps walked.

    Args:
        rewards, values: of every step [T, B], 0 where the episode has ended.
        walked: which steps belong to an episode [T, B].
        discount, gae: gamma and lambda.
    """
    following = np.zeros_like(values)
    following[:-1] = values[1:]
    returns = rewards + discount * following
    surprise = returns - values
    advantages = np.zeros_like(values)
    running = np.zeros(values.shape[1], values.dtype)
    for step in reversed(range(len(values))):
        running = np.where(walked[step], surprise[step] + discount * gae * running, 0)
        advantages[step] = running
    chosen = advantages[walked]
    # A constant reward has no spread; the original divides by zero here.
    spread = chosen.std()
    return returns[walked], (chosen - chosen.mean()) / (spread if spread > 0 else 1)
