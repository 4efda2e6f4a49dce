"""`model=dgp`: deep Gaussian transfer learning, as this program does it by default.

The paper's three stages (`dgtl.methods.transfer`) with three changes, each with its evidence in
docs/decisions: the deep GP is stacked on boosted trees, tuned to the target in function space
(`dgtl.models.stacked`), and candidates run that are good together (`dgtl.search.acquisition`).
`model=dgp_paper` is the paper's method and nothing else.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.features.dataset import layers_of, source_data
from dgtl.methods.batch import Choice
from dgtl.methods.transfer import BUILD_PENALTY, Transfer
from dgtl.models.cache import load_or_fit
from dgtl.models.deep_gp.model import DeepGP, DGPConfig
from dgtl.models.ready import load_ready
from dgtl.models.stacked import StackConfig, StackedDGP, TunedDGP
from dgtl.models.xgb import XGBConfig, XGBModel
from dgtl.search.acquisition import CANDIDATES, expected_saving, greedy_qei

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.methods.batch import Observations
    from dgtl.models import CostModel


CORRECTION = XGBConfig(trees=50, depth=5, subsample=1.0, nthread=1)
"""Trees on what the source model leaves of tasks that it has not seen: a second's work."""

ANCHORS = 500
"""Trials of the sources that they see too: where the new tasks say nothing, they change little."""

FURTHER_WEIGHT = 2.0
"""Of a trial of the new tasks, one of the sources weighing 1."""


def _left(model: CostModel | None, features: NDArray[np.float32], gflops: NDArray[np.float64]):
    """Throughput [n] as a multiple of what a model expects."""
    assert model is not None, "only a source model is corrected"
    return gflops / np.exp2(model.predict_mean(features))


@dataclasses.dataclass
class DGP(Transfer):
    """Transfer with a deep GP that is stacked on boosted trees.

    Args:
        network: settings of the deep GP.
        stack: what stands around it.
        greedy_fraction: fraction of a batch that are the top predictions; the rest are chosen so
            that the best of all is expected to be highest (greedy q-EI).
        update_every: after so many trials of a search the rest is chosen anew, the predictions
            conditioned on how they did; 0: all are chosen at once.
        covariance_scale: factor of the covariance in q-EI: less bets less on the upper tail of a
            normal distribution, which the machine's limit cuts off.
    """

    network: DGPConfig = dataclasses.field(default_factory=DGPConfig)
    stack: StackConfig = dataclasses.field(default_factory=StackConfig)
    greedy_fraction: float = 0.5
    update_every: int = 16
    covariance_scale: float = 1.0
    build_penalty: float = BUILD_PENALTY

    name = "dgp"
    scheduler = "expected"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("greedy_fraction", "covariance_scale"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{self.name}: {name}={getattr(self, name)}: between 0 and 1")
        if self.update_every < 0:
            raise ValueError(f"{self.name}: update_every={self.update_every}: not negative")
        self._anchors = np.empty((0, 0), np.float32), np.empty(0)
        self._further: XGBModel | None = None  # what `learn_further` made of more tasks

    def fit_source(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> StackedDGP:
        """Stage 1: the stacked deep GP learns from the sources (eq. 1), or is loaded."""
        features, gflops, owner = source_data(sources)

        def fit() -> StackedDGP:
            model = StackedDGP(self.network, self.stack)
            layer = layers_of(sources)[owner]
            model.fit(features, gflops, seed=seed, task=owner, layer=layer)
            return model

        settings = self.learning_settings(seed)
        ready = load_ready(sources, settings)
        if ready is None:
            ready = load_or_fit(cache, features, gflops, settings, fit)
        model, self.cached_training_s = ready
        assert isinstance(model, StackedDGP)
        rows = np.random.default_rng(seed).permutation(len(gflops))[:ANCHORS]
        self._anchors = features[rows], _left(model, features[rows], gflops[rows])
        self._further = None
        return model

    def learning_settings(self, seed: int) -> dict[str, Any]:
        """What decides the model of given sources, for its name."""
        return {
            "network": dataclasses.asdict(self.network),
            "stack": dataclasses.asdict(self.stack),
            "seed": seed,
        }

    def learn_further(self, sources: Sequence[SourceTask]) -> None:
        """Trees learn what the source model leaves of them, and correct it for every target.

        The deep GP does not see them: training it takes minutes.
        """
        if self.source is None or not any(source.ok_trials for source in sources):
            return
        features, gflops, _ = source_data(sources)
        known, ratio = self._anchors
        self._further = XGBModel(CORRECTION)
        self._further.fit(
            np.concatenate([known, features]),
            np.concatenate([ratio, _left(self.source, features, gflops)]),
            seed=0,
            weights=np.repeat([1.0, FURTHER_WEIGHT], [len(ratio), len(gflops)]),
        )

    def prior(self, like: NDArray[np.float32]) -> CostModel | None:
        """The source model, which knows what to expect of the target's best."""
        if not isinstance(self.source, StackedDGP):
            return None
        return TunedDGP.of(self.source, like, self._further)

    def adapt(
        self,
        prior: CostModel | None,
        features: NDArray[np.float32],
        gflops: NDArray[np.float64],
        seed: int,
    ) -> CostModel | None:
        """Stage 2: the residual GP's posterior on the target (eq. 2, in function space).

        Without a source, the deep GP is trained on the target alone.
        """
        if not isinstance(prior, TunedDGP):
            return DeepGP.of_target(self.network, features, gflops, seed=seed)
        return prior.adapt(features, gflops)

    def shortlist_size(self, n: int) -> int:
        """More than are run, where they are chosen together."""
        return n if self.source is None else max(n, CANDIDATES)

    def subbatch_size(self, n: int) -> int:
        """A few, where the rest can be chosen anew."""
        return n if self.source is None or self.update_every == 0 else min(n, self.update_every)

    def select_batch(
        self,
        model: CostModel,
        features: NDArray[np.float32],
        n: int,
        observed: Observations,
        rng: np.random.Generator,
    ) -> Choice:
        """The candidates that are best together, given the observations.

        See `Transfer.select_batch`.
        """
        if not isinstance(model, TunedDGP) or len(features) == 0:
            return super().select_batch(model, features, n, observed, rng)
        mean, covariance = model.joint(features, (observed.features, observed.gflops))
        log2_runs = self.log2_runs(features)
        worth = mean - self.build_cost(features)
        order = np.argsort(-(worth + log2_runs), kind="stable")
        incumbent = None if observed.best_gflops is None else float(np.log2(observed.best_gflops))
        chosen = greedy_qei(
            worth[order],
            self.covariance_scale * covariance[np.ix_(order, order)],
            np.exp2(log2_runs[order]),
            n,
            incumbent,
            rng,
            first=round(self.greedy_fraction * n),
        )
        rows = order[chosen]
        gain = None
        if incumbent is not None:
            joint = self.covariance_scale * covariance[np.ix_(rows, rows)]
            gain = expected_saving(mean[rows], joint, np.exp2(log2_runs[rows]), incumbent, rng)
        return Choice(rows, mean[rows], gain)
