"""The tuning of all tasks of a live run, and the numerical check of what it found."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dgtl.core.history import SourceTask
from dgtl.core.records import CHECK, KNOWN, best_trial
from dgtl.core.titles import titles
from dgtl.measure.protocol import VisitNeededError
from dgtl.methods.loop import tune
from dgtl.report.progress import Planned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dgtl.core.history import TrialLog
    from dgtl.core.records import Task, Trial
    from dgtl.features.problem import Problem
    from dgtl.measure.protocol import Measurer
    from dgtl.report.progress import Progress
    from dgtl.run.start import RunContext


class Clock:
    """The seconds of a search, of which each task has a fair share.

    Args:
        seconds: of all tasks together; None: no limit.
        now: seconds from any origin.
    """

    def __init__(self, seconds: float | None, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._end = None if seconds is None else now() + seconds
        self._share_end = self._end

    @property
    def limited(self) -> bool:
        return self._end is not None

    def share(self, tasks: int) -> float | None:
        """Seconds of the next of ``tasks`` that are left, from now on; None without a limit.

        An equal part of the time that is left: what one task leaves, those after it have.
        """
        if self._end is None:
            return None
        seconds = max(self._end - self._now(), 0.0) / tasks
        self._share_end = self._now() + seconds
        return seconds

    def over(self) -> bool:
        """Whether the share of the task at hand is spent."""
        return self._share_end is not None and self._now() >= self._share_end


OPERATIONS_A_BYTE = 16.0
"""What a core does while a byte comes from memory, as an order of magnitude."""


@dataclasses.dataclass
class Tuning:
    """Tunes tasks one after another; every trial is kept, shown and tracked at once.

    With `Budget.seconds`, the costliest task comes first and each has a fair share of the time;
    an interruption ends the time, and what is found so far is the result.

    Args:
        context: method, budget, earlier trials and tracker of the run.
        log: where trials are kept.
        provenance: id of what they are measured under.
        progress: where they are shown.
        measurer: measures them.
        known: trials from before, by task key: results hold them, and they are not made again.
    """

    context: RunContext
    log: TrialLog
    provenance: str
    progress: Progress
    measurer: Measurer
    known: Mapping[str, Sequence[Trial]] = dataclasses.field(default_factory=dict)

    def all(self, targets: Sequence[tuple[int, Problem]], seed: int) -> list[SourceTask]:
        """Tunes each task with a seed of its own, whatever the others do.

        Args:
            targets: problems with their places in the network.
            seed: of the run.

        Raises:
            VisitNeededError: some tasks wait for what is timed elsewhere; all were asked.
            KeyboardInterrupt: without a limit of time, or before anything was found.
        """
        names = titles([problem.task for _, problem in targets])
        found = [self._recorded(problem.task) for _, problem in targets]
        known = [self._known(problem) for _, problem in targets]
        missing = [max(self.context.budget.trials - len(recorded), 0) for recorded in found]
        order = self._order([problem.task for _, problem in targets])
        self.progress.plan([Planned.of(targets[i][1].task, names[i], missing[i]) for i in order])
        spent_s = sum(trial.search_s for recorded in found for trial in recorded.values())
        seconds = self.context.budget.seconds
        clock = Clock(None if seconds is None else seconds - spent_s)
        trials = [list(recorded.values())[: self.context.budget.trials] for recorded in found]
        waiting: VisitNeededError | None = None
        try:
            for place, i in enumerate(order):
                number, problem = targets[i]
                for trial in self.context.earlier.trials(problem.task.key):
                    self.context.tracker.trial(problem.task, trial, names[i])
                share_s = clock.share(len(order) - place)
                self.progress.task(place + 1, share_s)
                if missing[i] == 0:
                    continue
                try:
                    trials[i] = tune(
                        problem,
                        self.context.method.tuner(problem, np.random.SeedSequence([seed, number])),
                        self.measurer,
                        self.context.budget,
                        recorded=found[i],
                        on_trial=self._keeper(problem, names[i], trials[i]),
                        known=known[i],
                        over=clock.over,
                    )
                except VisitNeededError as error:
                    waiting = error
        except KeyboardInterrupt:
            if not clock.limited or not any(t.ok for some in (*trials, *known) for t in some):
                raise
            self.progress.message("stopped: what is found so far is deployed; again: nothing is")
        if waiting is not None:
            raise waiting
        if clock.limited:
            self._say_untried(
                [n for n, t, k in zip(names, trials, known, strict=True) if not t + k]
            )
        return [
            SourceTask(problem.task, problem.space, tuple(before + own))
            for (_, problem), before, own in zip(targets, known, trials, strict=True)
        ]

    def _order(self, tasks: Sequence[Task]) -> list[int]:
        """Which task comes when: as in the network; where time is limited, the costliest first.

        The cost of a run is taken to grow with its operations and with the bytes that it moves.
        """
        if self.context.budget.seconds is None:
            return list(range(len(tasks)))
        costs = [task.weight * (task.flops + OPERATIONS_A_BYTE * task.bytes) for task in tasks]
        return sorted(range(len(tasks)), key=lambda i: -costs[i])

    def _say_untried(self, names: Sequence[str]) -> None:
        """Says which tasks no time was left for."""
        if names:
            seconds = self.context.budget.seconds
            self.progress.message(
                f"no time was left for a batch of {len(names)} of the layers, which run by the "
                f"default schedule: {'; '.join(names)} (budget.seconds={seconds:g})"
            )

    def _recorded(self, task: Task) -> dict[str, Trial]:
        """What an earlier run in this folder tried of a task, by configuration."""
        earlier = self.context.earlier.trials(task.key)
        return {trial.config: trial for trial in earlier if trial.stage != KNOWN}

    def _known(self, problem: Problem) -> list[Trial]:
        """What was tried of a task before the run began; kept in its log."""
        earlier = self.context.earlier.trials(problem.task.key)
        if earlier:
            return [trial for trial in earlier if trial.stage == KNOWN]
        self.log.task(problem.task, problem.space)
        known = [
            trial.replace(stage=KNOWN, build_s=0.0, run_s=0.0, wall_s=0.0, model_s=0.0)
            for trial in self.known.get(problem.task.key, ())
        ]
        for trial in known:
            self.log.trial(trial)
        return known

    def _keeper(self, problem: Problem, title: str, kept: list[Trial]) -> Callable[[Trial], None]:
        """What keeps, shows and tracks each trial of a task; ``kept`` grows by it."""

        def keep(trial: Trial) -> None:
            trial = trial.replace(provenance=self.provenance)
            kept.append(trial)
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
