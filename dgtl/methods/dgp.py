"""`model=dgp`: deep Gaussian transfer learning (Sun et al., ICCV 2021).

Two models, one schedule (`dgtl.methods.transfer`). The default stacks the deep GP on boosted trees,
tunes it to the target in function space, and runs candidates that are good together
(`dgtl.models.stacked`). With ``stack=null`` it is the paper's: the deep GP alone, tuned in its last
layer (or, with ``map.method=adam``, wherever ``map.frozen`` lets it), the top predictions run.
"""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING

import numpy as np

from dgtl.features.dataset import layers_of, source_data
from dgtl.methods.transfer import Estimator, Told, Transfer
from dgtl.models import load_model
from dgtl.models.base import MIN_ROWS
from dgtl.models.cache import LEARNED, _keep, fingerprint
from dgtl.models.deep_gp.model import DeepGP, DGPConfig, MapConfig
from dgtl.models.stacked import StackConfig, StackedDGP, TunedDGP
from dgtl.models.xgb import XGBModel
from dgtl.search.acquisition import CANDIDATES, expected_best

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask


ALONE_STEPS = 500
"""Steps of training on the target alone, where there is no source."""


@dataclasses.dataclass
class DeepGaussianTransfer(Transfer):
    """Transfer with a deep GP.

    Args:
        network: settings of the deep GP.
        map: settings of its tuning to a target; plays no part with a stack.
        stack: what stands around the deep GP; None for the paper's deep GP alone.
        top_share: share of a batch that are the top predictions; the rest are chosen so that the
            best of all is expected to be highest (`expected_best`), which needs a stack.
        refit: weight of a target trial in trees that are fitted anew to source and target together
            and averaged with the tuned model; 0 leaves them out. Needs a stack.
        refit_share: share of these trees in that mean.
        feedback: after so many trials of a search's batch the rest is chosen anew, the predictions
            conditioned on how they did; 0: all are chosen at once. Needs a stack.
        spread: share of their covariance that this choice reckons with: less bets less on the upper
            tail of a normal distribution, which the machine's limit cuts off.
    """

    network: DGPConfig = dataclasses.field(default_factory=DGPConfig)
    map: MapConfig = dataclasses.field(default_factory=MapConfig)
    stack: StackConfig | None = dataclasses.field(default_factory=StackConfig)
    top_share: float = 0.5
    feedback: int = 16
    spread: float = 1.0
    refit: float = 2.0
    refit_share: float = 0.75

    name = "dgp"
    _source: DeepGP | StackedDGP | None = dataclasses.field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("top_share", "spread", "refit_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{self.name}: {name}={getattr(self, name)}: between 0 and 1")
        for name in ("refit", "feedback"):
            if getattr(self, name) < 0:
                raise ValueError(f"{self.name}: {name}={getattr(self, name)}: not negative")
        self._trials: tuple[NDArray[np.float32], NDArray[np.float64]] | None = None

    @property
    def source(self) -> DeepGP | TunedDGP | None:
        if isinstance(self._source, StackedDGP):
            return self._source.adapt(np.empty((0, self._source.width)), np.empty(0))
        return self._source

    def forget(self) -> None:
        self._source = self._trials = None
        self.cached_training_s = 0.0

    def learn(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """The deep GP learns from the sources (eq. 1), or is loaded if it has before."""
        features, gflops, owner = source_data(sources)
        self._trials = features, gflops
        settings = {
            "network": dataclasses.asdict(self.network),
            "stack": self.stack and dataclasses.asdict(self.stack),
            "seed": seed,
        }
        folder = cache / f"dgp-{fingerprint(features, gflops, settings)}"
        if folder.exists():
            model = load_model(folder)
            assert isinstance(model, DeepGP | StackedDGP)
            self._source = model
            self.cached_training_s = float(json.loads((folder / LEARNED).read_text())["seconds"])
            return
        begin = time.perf_counter()
        if self.stack is None:
            self._source = DeepGP(self.network)
            self._source.fit(features, gflops, seed=seed)
        else:
            layer = layers_of(sources)[owner]
            self._source = StackedDGP(self.network, self.stack)
            self._source.fit(features, gflops, seed=seed, task=owner, layer=layer)
        _keep(self._source, folder, time.perf_counter() - begin)

    def adapted(
        self, features: NDArray[np.float32], gflops: NDArray[np.float64], seed: int
    ) -> DeepGP | TunedDGP | None:
        """Stage 2: the source model tuned to the target by maximum a posteriori (eq. 2).

        Without a source the same network is trained on the target alone.
        """
        if isinstance(self._source, StackedDGP):
            tuned = self._source.adapt(features, gflops)
            if self.refit == 0.0 or self.stack is None or self._trials is None:
                return tuned
            target = (features, gflops)
            trees = XGBModel.pooled(self.stack.trees, self._trials, target, self.refit, seed=seed)
            return tuned.averaged(trees, self.refit_share)
        if self._source is not None:
            return self._source.adapt(features, gflops, self.map, seed=seed)
        if len(gflops) < MIN_ROWS:
            return None
        alone = dataclasses.replace(
            self.network, inducing=min(self.network.inducing, len(gflops)), steps=ALONE_STEPS
        )
        model = DeepGP(alone)
        model.fit(features, gflops, seed=seed)
        return model

    def shortlist(self, n: int) -> int:
        """More than are run, where they are chosen together."""
        return max(n, CANDIDATES) if isinstance(self._source, StackedDGP) else n

    def portion(self, n: int) -> int:
        """A few where the rest can be chosen anew."""
        again = self.feedback > 0 and isinstance(self._source, StackedDGP)
        return min(n, self.feedback) if again else n

    def choose(
        self,
        model: Estimator,
        features: NDArray[np.float32],
        n: int,
        told: Told,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The candidates that are best together, knowing what was told; see `Transfer.choose`."""
        if not isinstance(model, TunedDGP) or len(features) == 0:
            return super().choose(model, features, n, told, rng)
        mean, covariance = model.joint(features, (told.features, told.gflops))
        penalty = np.zeros(len(mean))
        if self.validity is not None:
            penalty = self.validity.penalty(features)
        runs = np.exp2(penalty)
        order = np.argsort(-(mean + penalty), kind="stable")
        best = None if told.best_gflops is None else float(np.log2(told.best_gflops))
        first = round(self.top_share * n)
        covariance = self.spread * covariance[np.ix_(order, order)]
        chosen = order[
            expected_best(mean[order], covariance, runs[order], n, best, rng, first=first)
        ]
        return chosen, mean[chosen]
