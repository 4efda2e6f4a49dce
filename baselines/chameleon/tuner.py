"""CHAMELEON: exploration by a reinforcement-learning agent, sampling by clustering.

Ahn, Pilligundla, Yazdanbakhsh, Esmaeilzadeh, *Chameleon: Adaptive Code Optimization for Expedited
Deep Neural Network Compilation*, ICLR 2020. It is AutoTVM with another explorer
(`baselines.chameleon.ppo`) and another choice of what to measure
(`baselines.chameleon.adaptive_sampling`); with both turned off it is AutoTVM, step by step.

``variant=code`` has the constants of the public code, ``variant=paper`` those recalled from the
paper's appendix, which nobody has verified. In the public code the two parts cannot be used
together; here they can, as the paper describes.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.autotvm.cost_model import TreeOptions
from baselines.autotvm.tuner import AutoTVM, AutoTVMTuner
from baselines.chameleon.adaptive_sampling import SamplingOptions, sample
from baselines.planning import Plan
from dgtl.methods.base import Method, stream
from dgtl.search.annealing import AnnealingOptions

if TYPE_CHECKING:
    from baselines.chameleon.ppo_agent import Agent, PPOOptions
    from dgtl.core.space import Configurations
    from dgtl.features.problem import Problem

PPO: dict[str, dict[str, Any]] = {
    "code": {"clip": 0.2, "entropy": 0.3},
    "paper": {"clip": 0.3, "entropy": 0.1},
}
SAMPLING: dict[str, dict[str, Any]] = {
    "code": {"dimensions": 2, "synthesis": "sample"},
    "paper": {"dimensions": None, "synthesis": "mode"},
}


@dataclasses.dataclass(frozen=True)
class Chameleon(Method):
    """CHAMELEON, and what is left of it with one part turned off.

    Args:
        variant: ``code`` or ``paper``: clipping, entropy, dimensions of clustering, synthesis.
        exploration: ``ppo``, or ``annealing`` to turn the agent off.
        sampling: ``adaptive``, or ``greedy`` to measure the best of the cost model.
        iterations: done after this many plans; None: the budget decides, as in the code.
        plan: candidates per plan, and the most that are measured of them.
        epsilon: share of ``plan`` that is measured at random at the end of every plan.
        episodes: of the agent, per plan.
        steps: longest episode.
        side_by_side: episodes per wave, see `baselines.chameleon.ppo`.
        annealing: with ``exploration=annealing``.
        trees: the cost model, always AutoTVM's regression.

    Raises:
        ValueError: an option that does not exist.
    """

    name = "chameleon"

    variant: str = "code"
    exploration: str = "ppo"
    sampling: str = "adaptive"
    iterations: int | None = None
    plan: int = 64
    epsilon: float = 0.05
    episodes: int = 128
    steps: int = 500
    side_by_side: int = 64
    annealing: AnnealingOptions = dataclasses.field(default_factory=AnnealingOptions)
    trees: TreeOptions = dataclasses.field(default_factory=TreeOptions)

    def __post_init__(self) -> None:
        known = {
            "variant": ("code", "paper"),
            "exploration": ("ppo", "annealing"),
            "sampling": ("adaptive", "greedy"),
        }
        for option, values in known.items():
            if getattr(self, option) not in values:
                given = getattr(self, option)
                raise ValueError(f"chameleon {option} '{given}': choose one of {values}")

    @property
    def autotvm(self) -> AutoTVM:
        """AutoTVM with the same cost model and plans."""
        return AutoTVM(
            plan=self.plan, epsilon=self.epsilon, annealing=self.annealing, trees=self.trees
        )

    def ppo_options(self) -> PPOOptions:
        """Settings of the agent and its episodes."""
        from baselines.chameleon.ppo_agent import PPOOptions

        return PPOOptions(
            **PPO[self.variant],
            episodes=self.episodes,
            steps=self.steps,
            side_by_side=self.side_by_side,
        )

    def sampling_options(self) -> SamplingOptions:
        """Settings of adaptive sampling."""
        return SamplingOptions(**SAMPLING[self.variant], step=min(8, self.plan), most=self.plan)

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> ChameleonTuner:
        # The agent's own stream leaves the others as they are without an agent.
        rngs = np.random.default_rng(seed), np.random.default_rng(stream(seed, 0))
        return ChameleonTuner(problem, *rngs, self)


class ChameleonTuner(AutoTVMTuner):
    """See `Chameleon`. The agent lives as long as the tuner and goes on learning."""

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        agent_rng: np.random.Generator,
        method: Chameleon,
    ):
        super().__init__(problem, rng, method.autotvm)
        self._method = method
        self._plans = 0
        self._agent: Agent | None = None
        if method.exploration == "ppo":
            # TensorFlow is imported here, before the clock of the search runs.
            from baselines.chameleon.ppo import free_knobs
            from baselines.chameleon.ppo_agent import Agent

            knobs = max(len(free_knobs(self.space)), 1)
            self._agent = Agent(knobs, agent_rng, method.ppo_options())

    def _plan(self) -> Plan:
        if self._method.iterations is not None and self._plans >= self._method.iterations:
            return self.random_plan(0)
        self._plans += 1
        return super()._plan()

    def _explore(self, top: int) -> Configurations:
        if self._agent is None:
            return super()._explore(top)
        from baselines.chameleon.ppo import explore

        configs, _ = explore(
            self._agent,
            self.space,
            self._score,
            self.rng,
            top=top,
            options=self._method.ppo_options(),
            exclude=self.seen,
        )
        return configs

    def _select(self, candidates: Configurations) -> Plan:
        if self._method.sampling == "greedy" or len(candidates) == 0:
            return super()._select(candidates)
        options = self._method.sampling_options()
        chosen = sample(self.space, candidates, self.rng, self.seen, options)
        return Plan(chosen, len(chosen), "search")
