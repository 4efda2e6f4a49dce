"""The tuning of all tasks of a live run: trials, finals, and the check of what is deployed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dgtl.history import SourceTask
from dgtl.records import CHECK
from dgtl.tuner import tune

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgtl.experiment_start import Start
    from dgtl.history import TrialLog
    from dgtl.measure import Measurer
    from dgtl.progress import Progress
    from dgtl.records import Trial
    from dgtl.tuner import Problem, Tuner
    from dgtl.tvm.measure import LocalMeasurer


@dataclasses.dataclass
class Tuning:
    """Tunes tasks one after another; every trial is kept, shown and tracked at once.

    Args:
        begun: method, budget, earlier trials and tracker of the run.
        log: where trials are kept.
        provenance: id of what they are measured under.
        progress: where they are shown.
        machine: builds and runs finalists, and checks what is deployed.
        measurer: measures trials; the machine, or what remembers earlier measurements of it.
        network_bytes: size of all weights of the network [bytes].
    """

    begun: Start
    log: TrialLog
    provenance: str
    progress: Progress
    machine: LocalMeasurer
    measurer: Measurer
    network_bytes: int

    def all(self, targets: Sequence[tuple[int, Problem]], seed: int) -> list[SourceTask]:
        """Tunes each task with a seed of its own, whatever the others do.

        Args:
            targets: problems with their places in the network.
            seed: of the run.
        """
        results = []
        for place, (number, problem) in enumerate(targets, start=1):
            task, space = problem.task, problem.space
            earlier = [t for t in self.begun.earlier.trials(task.key) if t.stage != CHECK]
            recorded = {trial.config: trial for trial in earlier}
            if not recorded:
                self.log.task(task, space)
            for trial in earlier:
                self.begun.tracker.trial(task, trial)
            missing = max(self.begun.budget.trials - len(recorded), 0)
            self.progress.task(task.name, place, len(targets), missing)
            trials = list(recorded.values())[: self.begun.budget.trials]
            if missing:
                tuner = self.begun.method.tuner(problem, np.random.SeedSequence([seed, number]))
                trials = self._tuned(problem, tuner, recorded)
            results.append(self._with_finals(SourceTask(task, space, tuple(trials))))
        return results

    def _tuned(self, problem: Problem, tuner: Tuner, recorded: dict[str, Trial]) -> list[Trial]:
        def on_trial(trial: Trial) -> None:
            trial = trial.replace(provenance=self.provenance)
            self.log.trial(trial)
            self.progress.trial(trial, problem.gflops(trial) if trial.ok else None)
            self.begun.tracker.trial(problem.task, trial)

        budget = self.begun.budget
        return tune(problem, tuner, self.measurer, budget, recorded=recorded, on_trial=on_trial)

    def _with_finals(self, result: SourceTask) -> SourceTask:
        """The result with its best trials timed as the network runs them; with those of before."""
        found = {trial.config: trial for trial in self.begun.earlier.finals(result.task.key)}
        ranked = sorted(result.ok_trials, key=lambda trial: trial.latency_s)
        configs = [trial.config for trial in ranked[: self.machine.options.finalists]]
        if len(configs) > 1 and not found.keys() >= set(configs):
            for trial in self.machine.final(result.task, configs, self.network_bytes):
                found[trial.config] = trial.replace(provenance=self.provenance)
                self.log.trial(found[trial.config])
        return dataclasses.replace(result, finals=tuple(found.values()))

    def checked(self, result: SourceTask) -> SourceTask:
        """The result without wrong trials: what would be deployed is checked, until that is right.

        Verdicts are kept with the trials.
        """
        while (deployed := result.deployed) is not None:
            wrong = self.machine.check(result.task, deployed.config)
            if wrong is None:
                break
            self.log.trial(wrong.replace(stage=CHECK))
            result = result.judged([wrong])
        return result
