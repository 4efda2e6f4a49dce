"""`model=dgp_paper`: the paper's method and nothing else (Sun et al., ICCV 2021).

A deep GP trained by stochastic variational inference (eq. 1), the top predictions of a random
initial set as tuning set, maximum a posteriori about what the sources taught (eq. 2), simulated
annealing with the tuned model, whose top predictions are run.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from dgtl.features.dataset import source_data
from dgtl.methods.transfer import Transfer
from dgtl.models.cache import load_or_fit
from dgtl.models.deep_gp.map import AdamMAP, ClosedFormMAP
from dgtl.models.deep_gp.model import DeepGP, DGPConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.models import CostModel


@dataclasses.dataclass
class PaperDGP(Transfer):
    """Transfer with a deep GP alone.

    Args:
        network: settings of the deep GP.
        map: how it is tuned to a target.
    """

    network: DGPConfig = dataclasses.field(default_factory=DGPConfig)
    map: ClosedFormMAP | AdamMAP = dataclasses.field(default_factory=ClosedFormMAP)

    name = "dgp_paper"
    scheduler = "even"
    hears = False

    def fit_source(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> DeepGP:
        """Stage 1: the deep GP learns from the sources (eq. 1), or is loaded."""
        features, gflops, _ = source_data(sources)

        def fit() -> DeepGP:
            model = DeepGP(self.network)
            model.fit(features, gflops, seed=seed)
            return model

        settings = {"network": dataclasses.asdict(self.network), "seed": seed}
        model, self.cached_training_s = load_or_fit(cache, features, gflops, settings, fit)
        assert isinstance(model, DeepGP)
        return model

    def adapt(
        self,
        prior: CostModel | None,
        features: NDArray[np.float32],
        gflops: NDArray[np.float64],
        seed: int,
    ) -> DeepGP | None:
        """Stage 2: maximum a posteriori about the source model (eq. 2).

        Without a source, the deep GP is trained on the target alone.
        """
        if isinstance(prior, DeepGP):
            return prior.adapt(features, gflops, self.map, seed=seed)
        return DeepGP.of_target(self.network, features, gflops, seed=seed)
