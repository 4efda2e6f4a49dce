"""Where a run stands: a live display on a terminal, plain lines anywhere else.

The display is drawn in this process, twice a second, so that it costs the measurements nothing.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from dgtl.core.records import Task, Trial

LINE_S = 10.0
"""Least time between two plain lines about the trials of one task [s]."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """A task that is to be tuned.

    Args:
        title: of the task, unlike that of any other.
        trials: most trials that are still to be made for it; with 0 of them it is over.
        loops: of its main block. What a trial costs is mostly its build, and that grows with the
            loops: counting them, the first of twelve recorded layers tells the time of the others
            within a factor of two in 99 of 100 draws, and without in 96.
    """

    title: str
    trials: int
    loops: int = 1

    @classmethod
    def of(cls, task: Task, title: str, trials: int) -> Planned:
        """A task; loops that run only once are none."""
        return cls(title, trials, max(sum(axis.extent > 1 for axis in task.axes), 1))


class Progress:
    """Shows stage, task, trials, best throughput and time left.

    Use as a context manager. Time left is the clock of the tasks that have ended, by the trials
    that were planned for them (`Planned.loops` times as dear), times the trials still planned.
    Before the first task has ended there is no ground for it: trials end a batch at a time, the
    first batch waits for what is loaded and compiled once, and the tuning set costs other than
    what follows.

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
        self._plan: Sequence[Planned] = ()
        self._index = 0
        self._task: Planned | None = None
        self._trials, self._failed = 0, 0
        self._best: float | None = None
        self._task_begin = self._begin
        self._share_s: float | None = None
        self._ended: list[tuple[Planned, float]] = []  # with the seconds that each took
        self._last_line = self._begin

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
        self._end_task()
        if exception[0] is None:
            self._end_stage()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def stage(self, name: str) -> None:
        """A new part of the run begins, e.g. ``tune``; the one before it has ended."""
        self._end_task()
        self._end_stage()
        self._stage, self._stage_begin = name, self._clock()
        if self._live is None:
            self.message(f"{name} ...")
        self._refresh()

    def plan(self, tasks: Sequence[Planned]) -> None:
        """The tasks of the stage that has begun, in their order."""
        self._end_task()
        self._plan, self._index = tasks, 0

    def task(self, index: int, seconds: float | None = None) -> None:
        """The tuning of a task begins.

        Args:
            index: its place in the plan, from 1.
            seconds: that it has, of which those after it have as many each; None: no limit.
        """
        self._end_task()
        task = self._plan[index - 1]
        self._task, self._index = task if task.trials else None, index
        self._trials, self._failed = 0, 0
        self._best = None
        self._task_begin = self._last_line = self._clock()
        self._share_s = seconds
        if task.trials == 0:
            self.message(f"task {index}/{len(self._plan)} {task.title}: nothing left to try")
        elif self._live is None:
            most = f"at most {task.trials} trials" if seconds is None else duration(seconds)
            self.message(f"{self._where(task)}: {most}{self._left()}")
        self._refresh()

    def trial(self, trial: Trial, gflops: float | None) -> None:
        """A trial has ended, with this throughput [GFLOPS] or, if it failed, None."""
        now = self._clock()
        self._trials += 1
        self._failed += not trial.ok
        if gflops is not None and (self._best is None or gflops > self._best):
            self._best = gflops
        if self._task and self._live is None and now - self._last_line >= LINE_S:
            self._last_line = now
            self.message(f"{self._standing(self._task)}{self._left()}")

    def message(self, text: str) -> None:
        """Prints a line; on a terminal it stays above the display."""
        self._console.print(text, markup=False, soft_wrap=True)
        self._refresh()

    @property
    def left_s(self) -> float | None:
        """Time left for the trials still planned [s]; None before the first task has ended."""
        task = self._task
        if task is None:
            return None
        if self._share_s is not None:
            later_s = self._share_s * (len(self._plan) - self._index)
            return later_s + max(self._share_s - self._spent_s, 0.0)
        # What an earlier run left of a task is no measure of a whole one.
        ended = [(p.trials * p.loops, s) for p, s in self._ended if 2 * p.trials >= task.trials]
        if not ended:
            return None
        work, seconds = map(sum, zip(*ended, strict=True))
        to_come = max(task.trials - self._trials, 0) * task.loops
        to_come += sum(p.trials * p.loops for p in self._plan[self._index :])
        return seconds / work * to_come

    @property
    def _spent_s(self) -> float:
        """Since the task at hand began [s]."""
        return self._clock() - self._task_begin

    def _left(self) -> str:
        return "" if self.left_s is None else f", {duration(self.left_s)} left"

    def _refresh(self) -> None:
        """Draws the display anew at once, not only at its next turn."""
        if self._live is not None:
            self._live.refresh()

    def _end_task(self) -> None:
        # A task without a trial is one that an earlier run ended: nothing is known of it here.
        if self._task and self._trials:
            self._ended.append((self._task, self._clock() - self._task_begin))
            self.message(self._standing(self._task))
        self._task = None

    def _end_stage(self) -> None:
        if self._stage:
            self.message(f"{self._stage}: done in {duration(self._clock() - self._stage_begin)}")
        self._stage = ""

    def _where(self, task: Planned) -> str:
        return f"task {self._index}/{len(self._plan)} {task.title}"

    def _standing(self, task: Planned) -> str:
        best = "no valid trial yet" if self._best is None else f"best {self._best:.1f} GFLOPS"
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._where(task)}: {self._count(task)}, {best}{failed}"

    def _count(self, task: Planned) -> str:
        most = "" if self._share_s is not None else f"/{task.trials}"
        return f"{self._trials}{most} trials"

    def _render(self) -> RenderableType:
        """The live display, at most 80 columns: stage and task, then a bar for each and for all."""
        elapsed = f"{duration(self._clock() - self._begin)} elapsed"
        head = Text.assemble((self._stage, "bold"), no_wrap=True, overflow="ellipsis")
        task = self._task
        if task is None:
            return head.append(f"  {elapsed}")
        best = Text("no valid trial yet", style="dim")
        if self._best is not None:
            best = Text(f"best {self._best:.1f} GFLOPS", style="bold green")
        if self._failed:
            best.append(f"  {self._failed} failed", style="yellow")
        share = self._trials / task.trials
        if self._share_s is not None:
            share = min(self._spent_s / self._share_s, 1.0) if self._share_s > 0 else 1.0
        done = self._index - 1 + share
        grid = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "left"):
            grid.add_column(no_wrap=True, justify=justify)
        grid.add_row(
            "this task",
            ProgressBar(total=1.0, completed=share, width=14),
            self._count(task),
            best,
        )
        grid.add_row(
            "all tasks",
            ProgressBar(total=len(self._plan), completed=done, width=14),
            f"{self._index}/{len(self._plan)} tasks",
            elapsed + self._left(),
        )
        return Group(head.append(f"  {self._where(task)}"), grid)


def duration(seconds: float) -> str:
    """Text of a time span: ``4.2 s``, ``3:07 min`` or ``1:02:03 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d} h"
