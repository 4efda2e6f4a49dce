"""The tuning of all tasks of a live run, and the numerical check of what it found."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dgtl.core.history import SourceTask
from dgtl.core.records import CHECK, best_trial
from dgtl.core.titles import titles
from dgtl.measure.protocol import VisitNeededError
from dgtl.methods.loop import tune
from dgtl.report.progress import Planned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dgtl.core.history import TrialLog
    from dgtl.core.records import Task, Trial
    from dgtl.features.problem import Problem
    from dgtl.measure.protocol import Measurer
    from dgtl.report.progress import Progress
    from dgtl.run.start import RunContext


@dataclasses.dataclass
class Tuning:
    """Tunes tasks one after another; every trial is kept, shown and tracked at once.

    Args:
        context: method, budget, earlier trials and tracker of the run.
        log: where trials are kept.
        provenance: id of what they are measured under.
        progress: where they are shown.
        measurer: measures them.
    """

    context: RunContext
    log: TrialLog
    provenance: str
    progress: Progress
    measurer: Measurer

    def all(self, targets: Sequence[tuple[int, Problem]], seed: int) -> list[SourceTask]:
        """Tunes each task with a seed of its own, whatever the others do.

        Args:
            targets: problems with their places in the network.
            seed: of the run.

        Raises:
            VisitNeededError: some tasks wait for what is timed elsewhere; all were asked.
        """
        names = titles([problem.task for _, problem in targets])
        found = [self._recorded(problem.task) for _, problem in targets]
        missing = [max(self.context.budget.trials - len(recorded), 0) for recorded in found]
        plan = zip((problem.task for _, problem in targets), names, missing, strict=True)
        self.progress.plan([Planned.of(*each) for each in plan])
        results = []
        waiting: VisitNeededError | None = None
        for i, (number, problem) in enumerate(targets):
            task, space, recorded = problem.task, problem.space, found[i]
            if not recorded:
                self.log.task(task, space)
            for trial in self.context.earlier.trials(task.key):
                self.context.tracker.trial(task, trial, names[i])
            self.progress.task(i + 1)
            trials = list(recorded.values())[: self.context.budget.trials]
            if missing[i]:
                try:
                    trials = self._tuned(number, problem, names[i], recorded, seed)
                except VisitNeededError as error:
                    waiting = error
            results.append(SourceTask(task, space, tuple(trials)))
        if waiting is not None:
            raise waiting
        return results

    def _tuned(
        self, number: int, problem: Problem, title: str, recorded: dict[str, Trial], seed: int
    ) -> list[Trial]:
        """The trials of one task, those of an earlier run first."""
        return tune(
            problem,
            self.context.method.tuner(problem, np.random.SeedSequence([seed, number])),
            self.measurer,
            self.context.budget,
            recorded=recorded,
            on_trial=self._keeper(problem, title),
        )

    def _recorded(self, task: Task) -> dict[str, Trial]:
        """What an earlier run tried of a task, by configuration."""
        return {trial.config: trial for trial in self.context.earlier.trials(task.key)}

    def _keeper(self, problem: Problem, title: str) -> Callable[[Trial], None]:
        """What keeps, shows and tracks each trial of a task."""

        def keep(trial: Trial) -> None:
            trial = trial.replace(provenance=self.provenance)
            self.log.trial(trial)
            self.progress.trial(trial, problem.gflops(trial) if trial.ok else None)
            self.context.tracker.trial(problem.task, trial, title)

        return keep


class Checker(Protocol):
    """Whoever can tell whether a configuration computes what it should."""

    def check(self, task: Task, config: str) -> Trial | None:
        """None if it does, else a trial that says what is wrong."""
        ...


def verify_best(result: SourceTask, machine: Checker, log: TrialLog) -> SourceTask:
    """The result without wrong trials: the best is checked, then the next until one is right.

    Args:
        result: a tuned task.
        machine: builds and runs what is checked.
        log: where verdicts are kept.
    """
    trials = list(result.trials)
    while (best := best_trial(trials)) is not None:
        wrong = machine.check(result.task, best.config)
        if wrong is None:
            break
        log.trial(wrong.replace(stage=CHECK))
        trials[trials.index(best)] = best.replace(status=wrong.status, error=wrong.error)
    return dataclasses.replace(result, trials=tuple(trials))
