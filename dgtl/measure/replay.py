"""Measurers that answer from recorded trials: a table alone, or beside a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgtl.core.records import Status, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dgtl.core.records import Task
    from dgtl.measure.protocol import Measurer


class ReplayMeasurer:
    """Answers from recorded trials, in simulated time.

    Args:
        table: recorded trials by (task key, configuration key).
        nearest: recorded keys of a task that answer for keys that were never recorded; without it
            such a configuration is refused.
    """

    def __init__(
        self,
        table: Mapping[tuple[str, str], Trial],
        nearest: Callable[[str, Sequence[str]], list[str]] | None = None,
    ):
        self._table = table
        self._nearest = nearest

    @classmethod
    def of(
        cls,
        trials: Iterable[Trial],
        nearest: Callable[[str, Sequence[str]], list[str]] | None = None,
    ) -> ReplayMeasurer:
        """Replays ``trials``; of several of one configuration, the first."""
        table: dict[tuple[str, str], Trial] = {}
        for trial in trials:
            table.setdefault((trial.task, trial.config), trial)
        return cls(table, nearest)

    def measure(
        self,
        task: Task,
        configs: Sequence[str],
        *,
        best_s: float,
        on_trial: Callable[[Trial], None] | None = None,
    ) -> list[Trial]:
        """As `Measurer.measure`; a configuration that is refused is `invalid` and costs no time."""
        found = {config: self._table.get((task.key, config)) for config in configs}
        outside = [config for config, trial in found.items() if trial is None]
        if self._nearest is not None and outside:
            for config, recorded in zip(outside, self._nearest(task.key, outside), strict=True):
                found[config] = self._table[task.key, recorded].replace(config=config)
        trials = []
        for config in configs:
            trial = found[config]
            if trial is None:
                error = "not in the recorded table"
                trial = Trial(task.key, config, Status.INVALID, error=error)
            trials.append(trial)
            if on_trial is not None:
                on_trial(trial)
        return trials

    def close(self) -> None:
        """Nothing is held."""


class SharedMeasurer:
    """Answers from earlier trials of the same machine, at what they cost then; measures the rest.

    Args:
        measurer: of what is not known.
        known: trials by (task key, configuration key).
    """

    def __init__(self, measurer: Measurer, known: Mapping[tuple[str, str], Trial]):
        self._measurer = measurer
        self._known = known

    def measure(
        self,
        task: Task,
        configs: Sequence[str],
        *,
        best_s: float,
        on_trial: Callable[[Trial], None] | None = None,
    ) -> list[Trial]:
        """As `Measurer.measure`."""
        found = {c: self._known[task.key, c] for c in configs if (task.key, c) in self._known}
        if on_trial is not None:
            for trial in found.values():
                on_trial(trial)
        missing = [config for config in configs if config not in found]
        best_s = min([best_s, *(trial.latency_s for trial in found.values())])
        measured = self._measurer.measure(task, missing, best_s=best_s, on_trial=on_trial)
        found |= dict(zip(missing, measured, strict=True))
        return [found[config] for config in configs]

    def close(self) -> None:
        """The measurer is closed by whoever opened it."""
