"""Methods and tuners: what `model=` names, and what proposes configurations.

A `Method` is what `model=` names: it prepares itself once from the sources (a deep GP is trained, a
history is read) and makes one `Tuner` per task. A tuner proposes configurations and is told how
they did. Budget, measurement, logging, resuming and search time are the loop's: no method has a
private way to measure, and a tuner keeps no state that asking and telling again would not rebuild.
"""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.core.records import Trial
    from dgtl.core.space import Configurations
    from dgtl.features.problem import Problem


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


@runtime_checkable
class ForeseeingTuner(Tuner, Protocol):
    """A tuner whose model says what more trials are worth."""

    def expected_gain(self, n: int) -> float | None:
        """Fraction of the best latency that the next ``n`` proposals are expected to save.

        None where nothing is known yet.
        """
        ...


@runtime_checkable
class KnowingTuner(Tuner, Protocol):
    """A tuner that takes up what was tried of its task before."""

    def know(self, trials: Sequence[Trial]) -> None:
        """Trials of the task from before, ahead of the first `ask`; none is proposed again."""
        ...


@runtime_checkable
class HearingTuner(Tuner, Protocol):
    """A tuner that takes up what was tried of a twin of its task."""

    def hear(self, trials: Sequence[Trial]) -> None:
        """Trials of a task with the same loops and space, to which other operators are fused.

        They teach the model; each configuration may still be proposed.
        """
        ...


@runtime_checkable
class ChoosingMethod(Protocol):
    """A method that can say what is fastest of a task of which nothing is measured."""

    def choices(self, problem: Problem, seed: np.random.SeedSequence, n: int) -> list[str]:
        """Keys of at most ``n`` configurations that it expects to be fastest, best first.

        Raises:
            ValueError: there was nothing to learn from.
        """
        ...


class Method(abc.ABC):
    """A way to tune, as named by ``model=``.

    Attributes:
        name: as reports call it.
        scheduler: name of the one that it goes best with, see `dgtl.methods.schedulers`.
        cached_training_s: seconds that learning took the earlier run whose model `prepare` loaded.
    """

    name: str
    scheduler: str = "gradient"
    cached_training_s: float = 0.0

    @property
    def planned_trials(self) -> int | None:
        """Trials per task that the method plans itself; None: it goes on as long as it may."""
        return None

    def remarks(self, trials: int) -> list[str]:
        """What a user who gives each task a budget of ``trials`` may not expect."""
        return []

    def prepare(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> None:  # noqa: B027
        """Once per workload, before any tuning: learn from earlier tasks.

        Args:
            sources: tasks to learn from; may be empty.
            cache: folder for models that further runs may load.
            seed: of this preparation.
        """

    def learn_further(self, sources: Sequence[SourceTask]) -> None:
        """After `prepare`: takes up more tasks at once, without pre-training anew.

        Raises:
            ValueError: the method cannot.
        """
        raise ValueError(f"history.local is not for the method {self.name}: choose model=dgp")

    def prepare_timed(self, sources: Sequence[SourceTask], cache: Path, seed: int) -> float:
        """Prepares; the seconds of pre-training, whether it was done here or loaded."""
        begin = time.perf_counter()
        self.prepare(sources, cache, seed)
        return time.perf_counter() - begin + self.cached_training_s

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
