"""Measurement as a protocol: configurations in, trials out.

Implementations: this machine (`dgtl.tvm.measure.local.LocalMeasurer`), a recorded table
(`ReplayMeasurer`), and a machine that remembers (`SharedMeasurer`). Search time is what the trials
say they cost (`Trial.search_s`), so that a replayed or resumed search reports the seconds that were
really spent.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

from dgtl.core.records import Status, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dgtl.core.records import Task


@dataclasses.dataclass(frozen=True)
class MeasureOptions:
    """How candidates are built and timed.

    Args:
        repeats: timings per candidate; its throughput comes from their median.
        min_repeat_ms: least duration of one timing; the kernel runs as often as that takes.
        build_timeout_s, run_timeout_s: limits for one candidate, queueing not counted.
        quick_factor: a candidate whose first run takes this many times the task's best latency, and
            at least `min_repeat_ms`, is not repeated; its trial says `quick`.
        weights_mb: between two runs of a kernel so many MB of weights pass by, as in a network of
            that size; 0: its own stay in the caches.
        patience_s: longest wait, before and after each timing, for a machine that others slow down
            to run at full speed; 0: none.
    """

    repeats: int = 3
    min_repeat_ms: float = 10.0
    build_timeout_s: float = 10.0
    run_timeout_s: float = 10.0
    quick_factor: float = 3.0
    weights_mb: float = 64.0
    patience_s: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"measure.{name}={value}: must be a number")
        if self.repeats < 1:
            raise ValueError(f"measure.repeats={self.repeats}: at least 1")
        for name in ("weights_mb", "patience_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"measure.{name}={getattr(self, name)}: must not be negative")
        for name in ("min_repeat_ms", "build_timeout_s", "run_timeout_s", "quick_factor"):
            if getattr(self, name) <= 0:
                raise ValueError(f"measure.{name}={getattr(self, name)}: must be positive")


class Measurer(Protocol):
    """Measures configurations of a task, all of a call as one batch."""

    def measure(
        self,
        task: Task,
        configs: Sequence[str],
        *,
        best_s: float,
        on_trial: Callable[[Trial], None] | None = None,
    ) -> list[Trial]:
        """One trial per configuration key, in order.

        Args:
            task: what they belong to.
            configs: text keys.
            best_s: the task's best latency so far [s], infinite if none: decides which are `quick`.
            on_trial: called with each trial once it is complete: live, when all of the call are.
        """
        ...

    def close(self) -> None: ...


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
