"""The tuning of all tasks of a live run, and the numerical check of what it found."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dgtl.core.history import SourceTask
from dgtl.core.records import AGAIN, CHECK, KNOWN, best_trial
from dgtl.core.titles import titles
from dgtl.methods.base import ChoosingMethod
from dgtl.methods.loop import TaskSearch
from dgtl.run.finalists import finalists, timed_again
from dgtl.run.searched import search_shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dgtl.core.history import TrialLog
    from dgtl.core.records import Task, Trial
    from dgtl.features.problem import Problem
    from dgtl.measure.protocol import Measurer
    from dgtl.report.progress import Progress
    from dgtl.run.start import RunContext


CHOICES = 16
"""Of a task without trials the model's best, of which the first that computes right is taken."""


@dataclasses.dataclass
class Tuning:
    """Tunes the tasks of a network; every trial is kept, shown and tracked at once.

    With `Budget.seconds` an interruption ends the time, and what is found so far is the result.

    Args:
        context: method, budget, scheduler, earlier trials and tracker of the run.
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
        """Tunes all tasks, each with a seed of its own, whatever the others do.

        Args:
            targets: problems with their places in the network.
            seed: of the run.

        Raises:
            VisitNeededError: some tasks wait for what is timed elsewhere; all were asked.
            KeyboardInterrupt: without a limit of time, or before anything was found.
        """
        budget = self.context.budget
        problems = [problem for _, problem in targets]
        names = titles([problem.task for problem in problems])
        known = [self._known(problem) for problem in problems]
        found = [
            self._recorded(problem, name) for problem, name in zip(problems, names, strict=True)
        ]
        tasks = [
            TaskSearch(
                problem,
                self.context.method.tuner(problem, np.random.SeedSequence([seed, number])),
                self.measurer,
                recorded=recorded,
                on_trial=self._keeper(problem, name),
                known=before,
            )
            for (number, problem), name, recorded, before in zip(
                targets, names, found, known, strict=True
            )
        ]
        try:
            search_shown(tasks, names, self.context, self.progress)
        except KeyboardInterrupt:
            for task in tasks:
                task.take_rest()
            if budget.seconds is None or all(math.isinf(task.best_s) for task in tasks):
                raise
            self.progress.message("stopped: what is found so far is deployed; again: nothing is")
        return [
            SourceTask(task.problem.task, task.problem.space, (*task.known, *task.trials))
            for task in tasks
        ]

    def finals(
        self, results: Sequence[SourceTask], measurer: Measurer, most: int
    ) -> list[SourceTask]:
        """The results with ``most`` finalists of each task timed again, see `timed_again`.

        By ``measurer``, for one that remembers has nothing new to say.
        """
        names = titles([result.task for result in results])
        title = {result.task.key: name for result, name in zip(results, names, strict=True)}

        def keep(task: Task, trial: Trial) -> Trial:
            return self._kept(task, trial, title[task.key])

        if any(finalists(result.trials, most) for result in results):
            self.progress.stage("time the fastest again")
        found, said = timed_again(results, measurer, keep, most, self.context.earlier)
        if said:
            self.progress.message(said)
        return found

    def choices(
        self,
        targets: Sequence[tuple[int, Problem]],
        results: Sequence[SourceTask],
        machine: Checker,
        seed: int,
    ) -> list[str | None]:
        """What the model chooses, unmeasured, where nothing was tried; which tasks is said.

        Args:
            targets, seed: as in `all`.
            results: of `all`.
            machine: builds, runs and checks what is chosen, and times nothing.

        Returns:
            For each task a key; None where something was tried, where there is no model that could
            choose, and where none of its choices computes what it should.

        Raises:
            ValueError: nothing is to be tried, and there was nothing to learn from.
        """
        untried = {p: target for p, target in enumerate(targets) if not results[p].trials}
        if untried:
            self.progress.stage("choose what was not tried")
        keys = {
            place: self._choices(problem, np.random.SeedSequence([seed, number]))
            for place, (number, problem) in untried.items()
        }
        tasks = [result.task for result in results]
        chosen = choose(keys, tasks, machine, self.log)
        names = titles(tasks)
        for how, left in (
            ("by what the model chose, unmeasured", [p for p in untried if p in chosen]),
            ("by the default schedule", [p for p in untried if p not in chosen]),
        ):
            self._say_untried([names[place] for place in left], how)
        return [chosen.get(place) for place in range(len(results))]

    def _choices(self, problem: Problem, seed: np.random.SeedSequence) -> list[str]:
        """The model's for one task; none where it learnt nothing, and something was to be tried."""
        method = self.context.method
        if not isinstance(method, ChoosingMethod):
            return []
        try:
            return method.choices(problem, seed, CHOICES)
        except ValueError:
            if self.context.budget.trials == 0:
                raise
            return []

    def _say_untried(self, names: Sequence[str], how: str) -> None:
        """Says which tasks nothing was left for and how they run, unless no trial was wanted."""
        budget = self.context.budget
        if not names or budget.trials == 0:
            return
        left = "trial" if budget.seconds is None else "time"
        limit = "" if budget.seconds is None else f" (budget.seconds={budget.seconds:g})"
        self.progress.message(
            f"no {left} was left for {len(names)} of the layers, which run {how}: "
            f"{'; '.join(names)}{limit}"
        )

    def _recorded(self, problem: Problem, title: str) -> dict[str, Trial]:
        """What an earlier run in this folder tried of a task, by configuration."""
        earlier = self.context.earlier.trials(problem.task.key)
        for trial in earlier:
            self.context.tracker.trial(problem.task, trial, title)
        return {trial.config: trial for trial in earlier if trial.stage not in (KNOWN, AGAIN)}

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

    def _keeper(self, problem: Problem, title: str) -> Callable[[Trial], None]:
        """What keeps, shows and tracks each trial of a task."""

        def keep(trial: Trial) -> None:
            trial = self._kept(problem.task, trial, title)
            self.progress.trial(trial, problem.gflops(trial) if trial.ok else None)

        return keep

    def _kept(self, task: Task, trial: Trial, title: str) -> Trial:
        """The trial as it is kept in the log and tracked."""
        trial = trial.replace(provenance=self.provenance)
        self.log.trial(trial)
        self.context.tracker.trial(task, trial, title)
        return trial


class Checker(Protocol):
    """Whoever can tell whether configurations compute what they should."""

    def check(self, configs: Sequence[tuple[Task, str]]) -> list[Trial | None]:
        """For each None if it does, else a trial that says what is wrong."""
        ...


def choose(
    choices: Mapping[int, Sequence[str]], tasks: Sequence[Task], machine: Checker, log: TrialLog
) -> dict[int, str]:
    """Of each task's choices the first that computes what it should, by the task's place.

    Args:
        choices: of a model, best first, by the task's place.
        tasks: of the network; those of whose choices none is right are not in the result.
        machine: builds and runs what is checked, the choices of all tasks side by side.
        log: where verdicts are kept.
    """
    chosen: dict[int, str] = {}
    left = {place: list(keys) for place, keys in choices.items()}
    while left := {p: keys for p, keys in left.items() if keys and p not in chosen}:
        firsts = [(place, keys.pop(0)) for place, keys in left.items()]
        verdicts = machine.check([(tasks[place], key) for place, key in firsts])
        for (place, key), wrong in zip(firsts, verdicts, strict=True):
            if wrong is None:
                chosen[place] = key
            else:
                log.trial(wrong.replace(stage=CHECK))
    return chosen


def verified(results: Sequence[SourceTask], machine: Checker, log: TrialLog) -> list[SourceTask]:
    """The results without wrong trials: the best is checked, then the next until one is right.

    Args:
        results: tuned tasks, whose bests are checked side by side.
        machine: builds and runs what is checked.
        log: where verdicts are kept.
    """
    right = list(results)
    unchecked = {place: best_trial(result.trials) for place, result in enumerate(right)}
    while bests := {place: best for place, best in unchecked.items() if best is not None}:
        verdicts = machine.check([(right[place].task, b.config) for place, b in bests.items()])
        unchecked = {}
        for (place, best), wrong in zip(bests.items(), verdicts, strict=True):
            if wrong is not None:
                log.trial(wrong.replace(stage=CHECK))
                trials = list(right[place].trials)
                trials[trials.index(best)] = best.replace(status=wrong.status, error=wrong.error)
                right[place] = dataclasses.replace(right[place], trials=tuple(trials))
                unchecked[place] = best_trial(trials)
    return right
