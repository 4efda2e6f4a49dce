"""The paper's method: learn from source tasks, carry over to the target, search with the model.

Sun et al., ICCV 2021, section 3. Stage 1 is `DeepGaussianTransfer.prepare`, stage 2 and 3 are
`TransferTuner`: the tuning set, the model tuned to it, simulated annealing.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dgtl.features import FEATURES_SCHEMA, FeatureMap
from dgtl.models.base import MIN_ROWS
from dgtl.models.dgp import DeepGP, DGPConfig, MapConfig
from dgtl.search import AnnealingOptions, anneal
from dgtl.tuner import Method, stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

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


class Estimator(Protocol):
    """What stands in for the hardware: any model with a mean."""

    def predict_mean(self, features: ArrayLike) -> NDArray[np.float64]:
        """Mean [N] of log2 throughput (GFLOPS) at features [N, D]."""
        ...


@dataclasses.dataclass
class Transfer(Method):
    """The paper's three stages with any model; subclasses say which.

    Args:
        initial_set: random configurations of the target that are only predicted.
        tuning_set: how many of them are run for the transfer.
        tuning_set_by: ``model`` takes the top predictions, ``random`` any (the paper's ablation).
        final: top predictions of a search that are run.
        rounds: how often to tune the model and search; 1 is the paper's.
        annealing: the search.
    """

    initial_set: int = 4096
    tuning_set: int = 64
    tuning_set_by: str = "model"
    final: int = 16
    rounds: int = 1
    annealing: AnnealingOptions = dataclasses.field(default_factory=AnnealingOptions)

    def __post_init__(self) -> None:
        if self.tuning_set_by not in ("model", "random"):
            raise ValueError(
                f"{self.name}: tuning_set_by={self.tuning_set_by}: choose model or random"
            )
        for field in ("initial_set", "tuning_set", "final"):
            if getattr(self, field) < 1:
                raise ValueError(f"{self.name}: {field}={getattr(self, field)}: at least 1")
        if self.rounds < 0:
            raise ValueError(f"{self.name}: rounds={self.rounds}: at least 0")
        if self.initial_set < self.tuning_set:
            raise ValueError(
                f"{self.name}: initial_set={self.initial_set} is smaller than "
                f"tuning_set={self.tuning_set}"
            )

    @property
    def planned_trials(self) -> int:
        return self.tuning_set + self.rounds * self.final

    @property
    @abc.abstractmethod
    def source(self) -> Estimator | None:
        """The model of the source tasks; None if there was nothing to learn from."""

    @abc.abstractmethod
    def adapted(
        self, features: NDArray[np.float32], gflops: NDArray[np.float64], seed: int
    ) -> Estimator | None:
        """The model tuned to all trials of the target so far; None if they are too few."""

    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> TransferTuner:
        return TransferTuner(self, problem, seed)


@dataclasses.dataclass
class DeepGaussianTransfer(Transfer):
    """`model=dgp`: the paper's method.

    Args:
        network: settings of the deep GP.
        map: settings of its tuning to a target.
    """

    network: DGPConfig = dataclasses.field(default_factory=DGPConfig)
    map: MapConfig = dataclasses.field(default_factory=MapConfig)

    name = "dgp"
    _source: DeepGP | None = dataclasses.field(default=None, init=False, repr=False)

    @property
    def source(self) -> DeepGP | None:
        return self._source

    def prepare(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:
        """Stage 1: the deep GP learns from the sources (eq. 1), or is loaded if it has before."""
        self._source = None
        if sum(len(source.ok_trials) for source in sources) < MIN_ROWS:
            return
        features, gflops, _ = source_data(sources)
        settings = {"network": dataclasses.asdict(self.network), "seed": seed}
        folder = cache / f"dgp-{fingerprint(features, gflops, settings)}"
        if (folder / "config.json").exists():
            self._source = DeepGP.load(folder)
            return
        model = DeepGP(self.network)
        model.fit(features, gflops, seed=seed)
        model.save(folder)
        self._source = model

    def adapted(
        self, features: NDArray[np.float32], gflops: NDArray[np.float64], seed: int
    ) -> DeepGP | None:
        """Stage 2: the source model tuned to the target by maximum a posteriori (eq. 2).

        Without a source the same network is trained on the target alone.
        """
        if self._source is not None:
            return self._source.adapt(features, gflops, self.map, seed=seed)
        if len(gflops) < MIN_ROWS:
            return None
        alone = dataclasses.replace(
            self.network, inducing=min(self.network.inducing, len(gflops)), steps=500
        )
        model = DeepGP(alone)
        model.fit(features, gflops, seed=seed)
        return model


class TransferTuner:
    """Stages 2 and 3 for one task: tuning set, then rounds of search with the tuned model.

    Args:
        method: the schedule and the model.
        problem: the task.
        seed: of every random choice; methods that differ in their model only draw the same
            initial set from the same seed.
    """

    def __init__(self, method: Transfer, problem: Problem, seed: np.random.SeedSequence):
        self._method = method
        self._problem = problem
        self._rng = np.random.default_rng(stream(seed, 0))
        self._search_rng = np.random.default_rng(stream(seed, 1))
        self._model_seed = int(stream(seed, 2).generate_state(1)[0])
        self._trials: list[Trial] = []
        self._queue: Configurations | None = None
        self._predicted_gflops = np.empty(0)
        self._round = 0
        self.stage = "tuning_set"
        self.predicted_gflops = np.empty(0)

    def ask(self, n: int) -> Configurations:
        """The next ``n`` of what the stage has to run; a new search once that is empty."""
        if self._queue is None:
            self._plan(*self._tuning_set())
        elif len(self._queue) == 0 and self._round < self._method.rounds:
            self._round += 1
            self.stage = f"search_{self._round}"
            self._plan(*self._search())
        assert self._queue is not None
        batch, self._queue = self._queue[:n], self._queue[n:]
        self.predicted_gflops, self._predicted_gflops = np.split(
            self._predicted_gflops, [len(batch)]
        )
        return batch

    def tell(self, trials: Sequence[Trial]) -> None:
        self._trials += trials

    def _plan(self, configs: Configurations, log2_gflops: NDArray[np.float64] | None) -> None:
        """What to run next, with what the model expects of it; None without a model."""
        self._queue = configs
        scores = np.full(len(configs), np.nan) if log2_gflops is None else log2_gflops
        self._predicted_gflops = np.exp2(scores)

    def _tuning_set(self) -> tuple[Configurations, NDArray[np.float64] | None]:
        method = self._method
        initial_set = self._problem.space.sample_distinct(self._rng, method.initial_set)
        if method.source is None or method.tuning_set_by == "random":
            return initial_set[: method.tuning_set], None
        scores = method.source.predict_mean(self._problem.features(initial_set))
        top = np.argsort(-scores, kind="stable")[: method.tuning_set]
        return initial_set[top], scores[top]

    def _search(self) -> tuple[Configurations, NDArray[np.float64] | None]:
        space, features, final = self._problem.space, self._problem.features, self._method.final
        ran = [trial for trial in self._trials if trial.ok]
        configs = space.parse_all([trial.config for trial in ran])
        gflops = np.array([self._problem.gflops(trial) for trial in ran])
        model = self._method.adapted(features(configs), gflops, self._model_seed)
        seen = {trial.config for trial in self._trials}
        if model is None:
            drawn = space.sample_distinct(self._search_rng, final + len(seen))
            return drawn[[key not in seen for key in space.keys(drawn)]][:final], None
        return anneal(
            space,
            lambda batch: model.predict_mean(features(batch)),
            self._search_rng,
            top=final,
            options=self._method.annealing,
            start=configs[np.argsort(-gflops, kind="stable")],
            exclude=seen,
        )
