"""The one loop that runs every tuner: budget, measurement, resuming, search time."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING

from dgtl.methods.base import KnowingTuner, PredictingTuner, Tuner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dgtl.core.records import Trial
    from dgtl.features.problem import Problem
    from dgtl.measure.protocol import Measurer


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much a tuning may try.

    Args:
        trials: per task.
        batch: configurations measured at once.
        seconds: wall clock of the search of all tasks; None: as long as the trials take.
    """

    trials: int
    batch: int = 64
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"budget.{name}={value}: must be a whole number, at least 1")
        if self.seconds is not None and not (
            isinstance(self.seconds, int | float) and 0 < self.seconds < math.inf
        ):
            raise ValueError(f"budget.seconds={self.seconds}: must be a positive number")


def tune(
    problem: Problem,
    tuner: Tuner,
    measurer: Measurer,
    budget: Budget,
    *,
    recorded: Mapping[str, Trial] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    known: Sequence[Trial] = (),
    over: Callable[[], bool] = lambda: False,
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
        known: trials of the task from before, which the tuner learns from and does not propose.
        over: asked before each batch whether the time is over.

    Returns:
        All trials in the order of proposal, without those known before.

    Raises:
        ValueError: trials are known to a tuner that cannot learn from them.
    """
    recorded = recorded or {}
    trials: list[Trial] = []
    best_known_s = min((trial.latency_s for trial in known), default=math.inf)
    if known:
        if not isinstance(tuner, KnowingTuner):
            raise ValueError("history.local: this method cannot take up trials from before")
        tuner.know(known)
    while len(trials) < budget.trials and not over():
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
        of_batch = [recorded[key] for key in keys if key in recorded]
        best_s = min([best_known_s, *(trial.latency_s for trial in (*trials, *of_batch))])
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
