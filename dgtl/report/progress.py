"""Where a run stands: a live display on a terminal, plain lines anywhere else.

The display is drawn in this process, twice a second, so that it costs the measurements nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dgtl.report.plan import Interleaved, InTurn, Planned, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from dgtl.core.records import Trial
    from dgtl.report.plan import Plan

__all__ = ["Planned", "Progress", "duration"]


class Progress:
    """Shows stage, task, trials, best throughput and time left.

    Use as a context manager.

    Args:
        console: where to print; standard output if not given.
        clock: seconds from any origin.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console(highlight=False)
        self._clock = clock
        self._live: Live | None = None
        self._begin = clock()
        self._stage, self._stage_begin = "", self._begin
        self._plan: Plan | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            # Transient: what stays on the screen are the lines, not a dead display.
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_plan()
        if exception[0] is None:
            self._end_stage()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def stage(self, name: str) -> None:
        """A new part of the run begins, e.g. ``tune``; the one before it has ended."""
        self._end_plan()
        self._end_stage()
        self._stage, self._stage_begin = name, self._clock()
        self._tell(f"{name} ...")
        self._refresh()

    def plan(
        self,
        tasks: Sequence[Planned],
        *,
        interleaved: bool = False,
        trials: int | None = None,
        seconds: float | None = None,
        ends_early: bool = False,
    ) -> None:
        """The search of the stage begins.

        Args:
            tasks: in the order of the network.
            interleaved: whether steps of all tasks come in turns; else one task after another.
            trials: most of all tasks, those of an earlier run included; None: what is planned.
            seconds: that the search still has, as `Trial.search_s` counts them; None: no limit.
            ends_early: whether it may end before both.
        """
        self._end_plan()
        about = (tasks, self.message, self._tell, self._clock)
        if interleaved:
            most = sum(p.trials + p.tried for p in tasks) if trials is None else trials
            self._plan = Interleaved(*about, trials=most, seconds=seconds, ends_early=ends_early)
        else:
            self._plan = InTurn(*about, seconds=seconds, ends_early=ends_early)

    def task(self, index: int) -> None:
        """A step of a task begins.

        Args:
            index: its place in the plan, from 1.
        """
        assert self._plan is not None, "a task is one of a plan"
        self._plan.begin(index - 1)
        self._refresh()

    def trial(self, trial: Trial, gflops: float | None) -> None:
        """A trial has ended, with this throughput [GFLOPS] or, if it failed, None."""
        if self._plan is not None:
            self._plan.trial(trial, gflops)

    def message(self, text: str) -> None:
        """Prints a line; on a terminal it stays above the display."""
        self._console.print(text, markup=False, soft_wrap=True)
        self._refresh()

    @property
    def left_s(self) -> float | None:
        """Time left for the search [s]; None without ground for it, see `dgtl.report.plan`."""
        return None if self._plan is None else self._plan.left_s

    def _tell(self, text: str) -> None:
        """Prints a line that a live display makes needless."""
        if self._live is None:
            self.message(text)

    def _refresh(self) -> None:
        """Draws the display anew at once, not only at its next turn."""
        if self._live is not None:
            self._live.refresh()

    def _end_plan(self) -> None:
        if self._plan is not None:
            self._plan.end()
        self._plan = None

    def _end_stage(self) -> None:
        if self._stage:
            self.message(f"{self._stage}: done in {duration(self._clock() - self._stage_begin)}")
        self._stage = ""

    def _render(self) -> RenderableType:
        """The live display, at most 80 columns: the stage, and how far its search is."""
        elapsed = f"{duration(self._clock() - self._begin)} elapsed"
        head = Text.assemble((self._stage, "bold"), no_wrap=True, overflow="ellipsis")
        if self._plan is None:
            return head.append(f"  {elapsed}")
        return self._plan.render(head, elapsed)
