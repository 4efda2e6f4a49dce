"""Measurement as a protocol: configurations in, trials out.

Implementations: this machine (`dgtl.tvm.measure.local.LocalMeasurer`), a device elsewhere
(`dgtl.tvm.measure.visits.VisitMeasurer`), a recorded table (`ReplayMeasurer`), and a machine that
remembers (`SharedMeasurer`). Search time is what the trials
say they cost (`Trial.search_s`), so that a replayed or resumed search reports the seconds that were
really spent.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dgtl.core.records import Task, Trial


@dataclasses.dataclass(frozen=True)
class MeasureOptions:
    """How candidates are built and timed.

    Args:
        repeats: timings per candidate; its throughput comes from their median.
        min_repeat_ms: least duration of one timing; the kernel runs as often as that takes.
        build_timeout_s, run_timeout_s: limits for one candidate, queueing not counted.
        quick_factor: a candidate whose first timing is this many times the best of the task and of
            its batch is not repeated; its trial says `quick`. A first run of `min_repeat_ms` or
            more is such a timing.
        cache_flush_mb: so many MB of other weights are read between two runs of a kernel, as in a
            network of that size (cold-cache timing); 0: its own stay in the caches.
        throttle_wait_s: longest wait, before and after each timing, for a machine that others slow
        down
            to run at full speed; 0: none.
    """

    repeats: int = 3
    min_repeat_ms: float = 10.0
    build_timeout_s: float = 10.0
    run_timeout_s: float = 10.0
    quick_factor: float = 3.0
    cache_flush_mb: float = 64.0
    throttle_wait_s: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"measure.{name}={value}: must be a number")
        if self.repeats < 1:
            raise ValueError(f"measure.repeats={self.repeats}: at least 1")
        for name in ("cache_flush_mb", "throttle_wait_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"measure.{name}={getattr(self, name)}: must not be negative")
        for name in ("min_repeat_ms", "build_timeout_s", "run_timeout_s", "quick_factor"):
            if getattr(self, name) <= 0:
                raise ValueError(f"measure.{name}={getattr(self, name)}: must be positive")


class VisitNeededError(Exception):
    """What was asked for has to be timed elsewhere first; the message says how."""


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
            on_trial: called with each trial as soon as it is complete, which need not be in order.

        Raises:
            VisitNeededError: the device is elsewhere, and has not timed all of them.
        """
        ...

    def close(self) -> None: ...
