"""The agent: estimates by hand, rules of an episode, and that it learns a known problem."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.chameleon.ppo import estimate, explore, free_knobs
from baselines.chameleon.ppo_agent import Agent, PPOOptions, networks
from dgtl.core.knob import Knob
from dgtl.core.space import DesignSpace

pytestmark = pytest.mark.slow  # TensorFlow is imported.

SPACE = DesignSpace(tuple(Knob.choice(f"k{i}", "other", tuple(range(16))) for i in range(4)), "S")
TARGET = np.array([12, 3, 9, 14])


def closeness(configs: np.ndarray) -> np.ndarray:
    """1 at the target, falling by the distance from it."""
    return 1 - np.abs(configs - TARGET).sum(axis=1) / 60


# Networks are compiled, for seconds, once for all agents of so many knobs and the same options.
OPTIONS = PPOOptions(episodes=32, steps=60, side_by_side=32, entropy=0.1, clip=0.3, epochs=6)


def test_constants_are_those_of_the_code() -> None:
    options = PPOOptions()
    assert (options.clip, options.entropy, options.value) == (0.2, 0.3, 1.0)
    assert (options.discount, options.gae) == (0.9, 0.99)
    assert (options.epochs, options.minibatch) == (3, 32)
    assert (options.learning_rate, options.adam_epsilon) == (1e-3, 1e-5)
    assert (options.episodes, options.steps, options.settled) == (128, 500, 0.75)


def test_estimates_by_hand() -> None:
    """Two episodes, of two steps and of one, discount 0.5, lambda 0.5."""
    rewards = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32)
    values = np.array([[4.0, 1.0], [2.0, 0.0]], np.float32)
    walked = np.array([[True, True], [True, False]])
    returns, advantages = estimate(rewards, values, walked, 0.5, 0.5)
    # Returns: 1 + 0.5 * 2, 2 + 0, 3 + 0. Surprises: -2, 1, 1; the first gets 0.25 of the last.
    np.testing.assert_allclose(returns, [2, 2, 3])
    raw = np.array([-2 + 0.25, 1, 1])
    np.testing.assert_allclose(advantages, (raw - raw.mean()) / raw.std(), rtol=1e-6)


def test_constant_advantages_are_no_nan() -> None:
    ones = np.ones((1, 4), np.float32)
    _, advantages = estimate(ones, 0 * ones, ones.astype(bool), 0.9, 0.99)
    np.testing.assert_array_equal(advantages, 0)


def test_an_episode_ends_when_three_quarters_of_the_knobs_rest() -> None:
    """With two options per knob every move lands on a boundary: one step per episode."""
    space = DesignSpace(tuple(Knob.choice(f"k{i}", "other", (0, 1)) for i in range(4)), "S")
    visits = []

    def score(configs: np.ndarray) -> np.ndarray:
        visits.append(len(configs))
        return np.zeros(len(configs))

    agent = Agent(4, np.random.default_rng(0), OPTIONS)
    explore(agent, space, score, np.random.default_rng(0), top=4, options=OPTIONS)
    assert visits == [32]


def test_knobs_without_a_choice_never_move() -> None:
    knobs = (*SPACE.knobs[:2], Knob.choice("fixed", "other", (7,)), *SPACE.knobs[2:])
    space = DesignSpace(knobs, "S")
    assert free_knobs(space).tolist() == [0, 1, 3, 4]
    agent = Agent(4, np.random.default_rng(0), OPTIONS)
    found, _ = explore(
        agent,
        space,
        lambda configs: configs.sum(axis=1).astype(float),
        np.random.default_rng(0),
        top=50,
        options=OPTIONS,
    )
    assert (found[:, 2] == 0).all()


def test_policy_is_a_distribution_per_knob() -> None:
    agent = Agent(4, np.random.default_rng(0), OPTIONS)
    states = np.random.default_rng(1).random((32, 4)).astype(np.float32)
    log_policy, values = networks(4, agent._state[0], states)
    assert log_policy.shape == (32, 4, 3)
    assert values.shape == (32,)
    np.testing.assert_allclose(np.exp(log_policy.numpy()).sum(axis=2), 1, rtol=1e-5)


def walked(agent: Agent, steps: int = 60) -> np.ndarray:
    """Where the agent's policy leads from 32 random configurations [32, 4]."""
    points = SPACE.sample(np.random.default_rng(9), 32)
    for _ in range(steps):
        actions, _, _ = agent.act((points / SPACE.sizes).astype(np.float32))
        points = np.clip(points + actions - 1, 0, SPACE.sizes - 1).astype(np.int32)
    return points


def test_the_agent_solves_a_problem_with_a_known_optimum() -> None:
    """It visits the optimum among 65,536 and learns to walk towards it."""
    rng = np.random.default_rng(1)
    agent = Agent(4, rng, OPTIONS)
    before = closeness(walked(agent)).mean()
    found = []
    for _ in range(20):
        best, scores = explore(agent, SPACE, closeness, rng, top=8, options=OPTIONS)
        np.testing.assert_allclose(scores, closeness(best))
        found += SPACE.keys(best)
    after = closeness(walked(agent)).mean()
    assert SPACE.key(TARGET) in found
    assert after > before
    assert after > 0.75, "random configurations have 0.65"


def test_excluded_configurations_are_not_returned() -> None:
    first, _ = explore(
        Agent(4, np.random.default_rng(0), OPTIONS),
        SPACE,
        closeness,
        np.random.default_rng(1),
        top=16,
        options=OPTIONS,
    )
    keys = SPACE.keys(first)
    second, _ = explore(
        Agent(4, np.random.default_rng(0), OPTIONS),
        SPACE,
        closeness,
        np.random.default_rng(1),
        top=16,
        options=OPTIONS,
        exclude=keys,
    )
    assert set(keys).isdisjoint(SPACE.keys(second))
