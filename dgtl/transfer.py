"""The paper's method: learn from source tasks, carry over to the target, search with the model.

Sun et al., ICCV 2021, section 3. Stage 1 is `DeepGaussianTransfer.prepare`, stage 2 and 3 are
`TransferTuner`: the tuning set, the model tuned to it, simulated annealing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.features import FEATURES_SCHEMA, FeatureMap
from dgtl.models.base import MIN_ROWS
from dgtl.models.dgp import DeepGP, DGPConfig, MapConfig
from dgtl.search import AnnealingOptions, anneal
from dgtl.tuner import Method

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.history import SourceTask
    from dgtl.records import Trial
    from dgtl.space import Configurations
    from dgtl.tuner import Problem


def source_data(
    sources: Sequence[SourceTask],
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]:
    """Everything that ran on the source tasks, as one data set.

    Returns:
        Features [N, D], throughput [N] in GFLOPS, and for each row the index of its source [N].
        Failed trials are left out: a made-up number would mislead either kind of model.
    """
    rows = [FeatureMap(s.task, s.space)(s.configs()) for s in sources]
    labels = [s.gflops() for s in sources]
    owner = [np.full(len(y), i, dtype=np.int64) for i, y in enumerate(labels)]
    return np.concatenate(rows), np.concatenate(labels), np.concatenate(owner)


def fingerprint(
    features: NDArray[np.float32], gflops: NDArray[np.float64], settings: dict[str, Any]
) -> str:
    """Name under which a model trained on this data with these settings is kept."""
    digest = hashlib.sha256()
    for array in (features, gflops):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(json.dumps({"features": FEATURES_SCHEMA, **settings}, sort_keys=True).encode())
    return digest.hexdigest()[:16]


@dataclasses.dataclass
class DeepGaussianTransfer(Method):
    """`model=dgp`: the paper's method.

    Args:
        initial_set: random configurations of the target that are only predicted.
        tuning_set: how many of them are run for the transfer.
        tuning_set_by: ``model`` takes the top predictions, ``random`` any (the paper's ablation).
        final: top predictions of the search that are run, per round.
        rounds: how often to tune the model and search; 1 is the paper's.
        network: settings of the deep GP (`DGPConfig`).
        map: settings of the transfer (`MapConfig`).
        annealing: settings of the search (`AnnealingOptions`).
    """

    initial_set: int = 4096
    tuning_set: int = 64
    tuning_set_by: str = "model"
    final: int = 16
    rounds: int = 1
    network: dict[str, Any] = dataclasses.field(default_factory=dict)
    map: dict[str, Any] = dataclasses.field(default_factory=dict)
    annealing: dict[str, Any] = dataclasses.field(default_factory=dict)

    name = "dgp"

    def __post_init__(self) -> None:
        if self.tuning_set_by not in ("model", "random"):
            raise ValueError(f"tuning_set_by={self.tuning_set_by}: choose model or random")
        for field in ("initial_set", "tuning_set", "final"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}={getattr(self, field)}: at least 1")
        if self.rounds < 0:
            raise ValueError(f"rounds={self.rounds}: at least 0")
        if self.initial_set < self.tuning_set:
            raise ValueError(
                f"initial_set={self.initial_set} is smaller than tuning_set={self.tuning_set}"
            )
        self._source: DeepGP | None = None
        self._config = DGPConfig(**self.network)
        self._prior = MapConfig(**self.map)
        self._annealing = AnnealingOptions(**self.annealing)

    @property
    def planned_trials(self) -> int:
        return self.tuning_set + self.rounds * self.final

    def prepare(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """Stage 1: the deep GP learns from the sources (eq. 1), or is loaded if it has before."""
        if not any(source.ok_trials for source in sources):
            return
        features, gflops, _ = source_data(sources)
        settings = {"network": dataclasses.asdict(self._config), "seed": seed}
        folder = cache / f"dgp-{fingerprint(features, gflops, settings)}"
        if (folder / "config.json").exists():
            self._source = DeepGP.load(folder)
            return
        model = DeepGP(self._config)
        model.fit(features, gflops, seed=seed)
        model.save(folder)
        self._source = model

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> TransferTuner:
        return TransferTuner(self, problem, seed)

    def adapted(
        self, features: NDArray[np.float32], gflops: NDArray[np.float64], seed: int
    ) -> DeepGP | None:
        """Stage 2: the model tuned to trials of the target by maximum a posteriori (eq. 2).

        Without a source the same network is trained on the target alone; None if even for that
        there are too few trials.
        """
        if self._source is not None:
            return self._source.adapt(features, gflops, self._prior, seed=seed)
        if len(gflops) < MIN_ROWS:
            return None
        alone = dataclasses.replace(
            self._config, inducing=min(self._config.inducing, len(gflops)), steps=500
        )
        model = DeepGP(alone)
        model.fit(features, gflops, seed=seed)
        return model

    @property
    def source(self) -> DeepGP | None:
        """The pre-trained model; None if there was nothing to learn from."""
        return self._source


class TransferTuner:
    """Stages 2 and 3 for one task: tuning set, then rounds of search with the tuned model."""

    def __init__(
        self, method: DeepGaussianTransfer, problem: Problem, seed: np.random.SeedSequence
    ):
        self._method = method
        self._problem = problem
        streams = seed.spawn(3)
        self._rng = np.random.default_rng(streams[0])
        self._search_rng = np.random.default_rng(streams[1])
        self._model_seed = int(streams[2].generate_state(1)[0])
        self._trials: list[Trial] = []
        self._queue: Configurations | None = None
        self._round = 0
        self.stage = "tuning_set"

    def ask(self, n: int) -> Configurations:
        """The next ``n`` of what the stage has to run; a new search once that is empty."""
        if self._queue is None:
            self._queue = self._tuning_set()
        elif len(self._queue) == 0 and self._round < self._method.rounds:
            self._round += 1
            self.stage = f"search_{self._round}"
            self._queue = self._search()
        batch, self._queue = self._queue[:n], self._queue[n:]
        return batch

    def tell(self, trials: Sequence[Trial]) -> None:
        self._trials += trials

    def _tuning_set(self) -> Configurations:
        method, space = self._method, self._problem.space
        initial_set = space.sample_distinct(self._rng, method.initial_set)
        if method.source is None or method.tuning_set_by == "random":
            return initial_set[: method.tuning_set]
        scores = method.source.predict_mean(self._problem.features(initial_set))
        return initial_set[np.argsort(-scores, kind="stable")[: method.tuning_set]]

    def _search(self) -> Configurations:
        space, features = self._problem.space, self._problem.features
        ran = [trial for trial in self._trials if trial.ok]
        configs = space.parse_all([trial.config for trial in ran])
        gflops = np.array([self._problem.gflops(trial) for trial in ran])
        model = self._method.adapted(features(configs), gflops, self._model_seed)
        seen = {trial.config for trial in self._trials}
        if model is None:
            unseen = space.sample_distinct(self._search_rng, self._method.final + len(seen))
            return unseen[[key not in seen for key in space.keys(unseen)]][: self._method.final]
        found, _ = anneal(
            space,
            lambda batch: model.predict_mean(features(batch)),
            self._search_rng,
            top=self._method.final,
            options=self._method._annealing,
            start=configs[np.argsort(-gflops)],
            exclude=seen,
        )
        return found
