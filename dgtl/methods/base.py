"""Methods and tuners, and the one loop that runs them all.

A `Method` is what `model=` names: it prepares itself once from the sources (a deep GP is trained, a
history is read) and makes one `Tuner` per task. A tuner proposes configurations and is told how
they did. Budget, measurement, logging, resuming and search time are the loop's: no method has a
private way to measure, and a tuner keeps no state that asking and telling again would not rebuild.
"""

from __future__ import annotations

import abc
import dataclasses
import math
import time
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from dgtl.features.loop_nest import FeatureMap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.core.records import Task, Trial
    from dgtl.core.space import Configurations, DesignSpace
    from dgtl.measure.protocol import Measurer


class Problem:
    """What a tuner is given: a task, its design space, its features.

    Args:
        task: the task to tune.
        space: its configurations.
    """

    def __init__(self, task: Task, space: DesignSpace):
        self.task = task
        self.space = space
        self.features = FeatureMap(task, space)

    def gflops(self, trial: Trial) -> float:
        """Throughput of a trial that ran [GFLOPS]."""
        return self.task.gflops(trial.latency_s)


class Tuner(Protocol):
    """Chooses what to try next for one task.

    Attributes:
        stage: what the last proposals are for, e.g. ``tuning_set``; kept with the trials.
    """

    stage: str

    def ask(self, n: int) -> Configurations:
        """At most ``n`` new configurations [<=n, K] to try; none when the tuner is done."""
        ...

    def tell(self, trials: Sequence[Trial]) -> None:
        """How the configurations asked for last did, in their order; failures included."""
        ...


@runtime_checkable
class PredictingTuner(Tuner, Protocol):
    """A tuner whose model says what it expects; the loop keeps that with the trials.

    Attributes:
        predicted_gflops: throughput [n] expected of the last proposals; NaN without a model.
    """

    predicted_gflops: NDArray[np.float64]


class Method(abc.ABC):
    """A way to tune, as named by ``model=``.

    Attributes:
        name: as reports call it.
        spared_s: seconds that learning took the earlier run whose model `prepare` loaded.
    """

    name: str
    spared_s: float = 0.0

    @property
    def planned_trials(self) -> int:
        """Trials per task where the budget does not say: the deep GP's plan, so that methods
        compare at equal trials."""
        return 80

    def prepare(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:  # noqa: B027
        """Once per workload, before any tuning: learn from earlier tasks.

        Args:
            sources: tasks to learn from; may be empty.
            cache: folder for models that further runs may load.
            seed: of this preparation.
        """

    def prepare_timed(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> float:
        """Prepares; the seconds of pre-training, whether it was done here or loaded."""
        begin = time.perf_counter()
        self.prepare(sources, cache, seed)
        return time.perf_counter() - begin + self.spared_s

    @abc.abstractmethod
    def tuner(self, problem: Problem, seed: np.random.SeedSequence) -> Tuner:
        """A tuner for one task."""


def stream(seed: np.random.SeedSequence, index: int) -> np.random.SeedSequence:
    """What ``seed.spawn`` gives as its child ``index``, without counting it as spawned in ``seed``.

    So two tuners made from the same sequence are the same tuner.
    """
    return np.random.SeedSequence(
        seed.entropy, spawn_key=(*seed.spawn_key, index), pool_size=seed.pool_size
    )


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much a tuning may try.

    Args:
        trials: per task.
        batch: configurations measured at once.
    """

    trials: int
    batch: int = 64

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"budget.{name}={value}: must be a whole number, at least 1")


def tune(
    problem: Problem,
    tuner: Tuner,
    measurer: Measurer,
    budget: Budget,
    *,
    recorded: Mapping[str, Trial] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> list[Trial]:
    """Runs one tuner on one task until the budget is spent or the tuner is done.

    Args:
        problem: the task.
        tuner: who proposes.
        measurer: who measures.
        budget: trials in all and per batch.
        recorded: trials of an earlier, interrupted run by configuration key: the loop takes them
            instead of measuring again, so that the same tuner with the same seed goes on where it
            stopped.
        on_trial: called with every newly measured trial at once: the place to keep it.

    Returns:
        All trials in the order of proposal.
    """
    recorded = recorded or {}
    trials: list[Trial] = []
    while len(trials) < budget.trials:
        begin = time.perf_counter()
        configs = tuner.ask(min(budget.batch, budget.trials - len(trials)))
        if len(configs) == 0:
            break
        model_s = (time.perf_counter() - begin) / len(configs)
        keys = problem.space.keys(configs)
        expected = _expected(tuner, keys)

        def keep(
            trial: Trial, model_s: float = model_s, expected: dict[str, float] = expected
        ) -> Trial:
            predicted = expected.get(trial.config)
            return trial.replace(stage=tuner.stage, model_s=model_s, predicted_gflops=predicted)

        def on_measured(trial: Trial, keep: Callable[[Trial], Trial] = keep) -> None:
            if on_trial is not None:
                on_trial(keep(trial))

        missing = [key for key in keys if key not in recorded]
        best_s = min((trial.latency_s for trial in trials), default=math.inf)
        measured = measurer.measure(problem.task, missing, best_s=best_s, on_trial=on_measured)
        found = {key: keep(trial) for key, trial in zip(missing, measured, strict=True)}
        batch = [recorded[key] if key in recorded else found[key] for key in keys]
        tuner.tell(batch)
        trials += batch
    return trials


def _expected(tuner: Tuner, keys: Sequence[str]) -> dict[str, float]:
    """What the tuner expects of configurations [GFLOPS], to five digits, where it has a model."""
    if not isinstance(tuner, PredictingTuner):
        return {}
    pairs = zip(keys, tuner.predicted_gflops.tolist(), strict=True)
    return {key: float(f"{gflops:.5g}") for key, gflops in pairs if not math.isnan(gflops)}
