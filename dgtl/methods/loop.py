"""The search of one task, step by step: proposals, measurement, resuming, search time.

Every tuner runs in it. Whose turn it is among the tasks of a network is `dgtl.methods.schedule`'s.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING

from dgtl.methods.base import (
    ForeseeingTuner,
    HearingTuner,
    KnowingTuner,
    PredictingTuner,
    Tuner,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dgtl.core.records import Trial
    from dgtl.features.problem import Problem
    from dgtl.measure.protocol import Measurer


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much a search may try.

    Args:
        trials: of each task; where tasks get unequal parts, in the mean over them.
        batch: configurations of a step, built at once.
        seconds: of the search of all tasks; None: as long as the trials take.
        stop_gain: the search of a network ends when less than this fraction of the network's time
            is expected to be saved by a tenth of the seconds spent so far; None: never.
    """

    trials: int
    batch: int = 64
    seconds: float | None = None
    stop_gain: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("trials", 0), ("batch", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"budget.{name}={value}: must be a whole number, at least {least}")
        for name in ("seconds", "stop_gain"):
            value = getattr(self, name)
            if value is not None and not (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and 0 < value < math.inf
            ):
                raise ValueError(f"budget.{name}={value}: must be a positive number")


class TaskSearch:
    """One tuner on one task, a step at a time.

    Args:
        problem: the task.
        tuner: who proposes.
        measurer: who measures.
        recorded: trials of an earlier, interrupted run by configuration key: they are taken instead
            of measuring again, so that the same tuner with the same seed goes on where it stopped.
        on_trial: called with every newly measured trial at once: the place to keep it.
        known: trials of the task from before, which the tuner learns from and does not propose.

    Attributes:
        recorded, known: as given.
        trials: in the order of proposal, without those known before.
        best_history_s: best latency [s] after each step, infinite before any trial ran.
        done: the tuner has nothing more to propose.

    Raises:
        ValueError: trials are known to a tuner that cannot learn from them.
    """

    def __init__(
        self,
        problem: Problem,
        tuner: Tuner,
        measurer: Measurer,
        *,
        recorded: Mapping[str, Trial] | None = None,
        on_trial: Callable[[Trial], None] | None = None,
        known: Sequence[Trial] = (),
    ):
        self.problem, self.known = problem, known
        self.recorded = recorded or {}
        self.trials: list[Trial] = []
        self.best_history_s: list[float] = []
        self.done = False
        self._tuner, self._measurer = tuner, measurer
        self._on_trial = on_trial
        self._gain: float | None = None
        self._gain_known = False
        self._heard: dict[int, int] = {}  # trials of each twin, by its place
        if known:
            if not isinstance(tuner, KnowingTuner):
                raise ValueError("history.local: this method cannot take up trials from before")
            tuner.know(known)

    @property
    def best_s(self) -> float:
        """Least latency so far [s]; infinite before any trial ran."""
        return min(
            (t.latency_s for some in (self.known, self.trials) for t in some), default=math.inf
        )

    @property
    def spent_s(self) -> float:
        """Seconds of search so far."""
        return sum(trial.search_s for trial in self.trials)

    @property
    def measured_s(self) -> float:
        """Seconds of building and running so far: without the model's, which differ by machine."""
        return sum(trial.wall_s for trial in self.trials)

    def take_recorded(self, n: int) -> None:
        """Takes the first ``n`` recorded trials for the whole search, where there are so many."""
        if not self.trials and len(self.recorded) >= n:
            self.trials, self.done = list(self.recorded.values())[:n], True

    def take_rest(self) -> None:
        """Takes the recorded trials that no step took: a search that is cut short found them."""
        taken = {trial.config for trial in self.trials}
        self.trials += [t for config, t in self.recorded.items() if config not in taken]
        self.done = True

    def expected_gain(self, n: int) -> float | None:
        """Fraction of the best latency that a next step of ``n`` is expected to save.

        None where the tuner does not say. Asking costs time of the model, once per step.
        """
        if not self._gain_known:
            tuner = self._tuner
            self._gain = tuner.expected_gain(n) if isinstance(tuner, ForeseeingTuner) else None
            self._gain_known = True
        return self._gain

    def is_twin(self, other: TaskSearch) -> bool:
        """Whether two tasks differ only in what is fused to the same loops."""
        return _loops(self.problem) == _loops(other.problem)

    def hear(self, twins: Mapping[int, TaskSearch]) -> None:
        """Takes up what twins tried since the last time; by their places in the network."""
        if isinstance(self._tuner, HearingTuner):
            for place, twin in twins.items():
                self._tuner.hear(twin.trials[self._heard.get(place, 0) :])
                self._heard[place] = len(twin.trials)

    def step(self, n: int, since: float | None = None) -> None:
        """Proposes and measures up to ``n`` configurations; none where the tuner is done.

        Args:
            n: how many.
            since: when deciding began (`time.perf_counter`), which counts as search; None: now.
        """
        begin = time.perf_counter() if since is None else since
        configs = self._tuner.ask(n)
        if len(configs) == 0:
            self.done = True
            return
        model_s = (time.perf_counter() - begin) / len(configs)
        keys = self.problem.space.keys(configs)
        expected = _expected(self._tuner, keys)
        stage = self._tuner.stage

        def keep(trial: Trial) -> Trial:
            predicted = expected.get(trial.config)
            return trial.replace(stage=stage, model_s=model_s, predicted_gflops=predicted)

        found: dict[str, Trial] = {}

        def on_measured(trial: Trial) -> None:
            found[trial.config] = keep(trial)
            if self._on_trial is not None:
                self._on_trial(found[trial.config])

        missing = [key for key in keys if key not in self.recorded]
        of_batch = [self.recorded[key].latency_s for key in keys if key in self.recorded]
        best_s = min([self.best_s, *of_batch])
        try:
            measured = self._measurer.measure(
                self.problem.task, missing, best_s=best_s, on_trial=on_measured
            )
        except KeyboardInterrupt:
            self.trials += found.values()  # they are found, whatever else was to come
            raise
        found = {key: keep(trial) for key, trial in zip(missing, measured, strict=True)}
        batch = [self.recorded[key] if key in self.recorded else found[key] for key in keys]
        self._tuner.tell(batch)
        self._gain_known = False
        self.trials += batch
        self.best_history_s.append(self.best_s)


def tune(
    problem: Problem,
    tuner: Tuner,
    measurer: Measurer,
    budget: Budget,
    *,
    recorded: Mapping[str, Trial] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    known: Sequence[Trial] = (),
) -> list[Trial]:
    """Searches one task alone until the budget's trials are made or the tuner is done.

    See `TaskSearch`.

    Returns:
        All trials in the order of proposal, without those known before.
    """
    search = TaskSearch(problem, tuner, measurer, recorded=recorded, on_trial=on_trial, known=known)
    while not search.done and len(search.trials) < budget.trials:
        search.step(min(budget.batch, budget.trials - len(search.trials)))
    return search.trials


def _loops(problem: Problem) -> tuple:
    accesses = [(a.shape, a.strides, a.item_bytes) for a in problem.task.accesses]
    return problem.task.shape_key, accesses, problem.space.to_json()


def _expected(tuner: Tuner, keys: Sequence[str]) -> dict[str, float]:
    """What the tuner expects of configurations [GFLOPS], to five digits, where it has a model."""
    if not isinstance(tuner, PredictingTuner):
        return {}
    pairs = zip(keys, tuner.predicted_gflops.tolist(), strict=True)
    return {key: float(f"{gflops:.5g}") for key, gflops in pairs if not math.isnan(gflops)}
