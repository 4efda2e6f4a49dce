"""The tasks of a search as a display tells of them: one after another, or steps of all in turns."""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from dgtl.core.records import Task, Trial

    Say = Callable[[str], None]

LINE_S = 10.0
"""Least time between two plain lines about trials [s]."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """A task that is to be tuned.

    Args:
        title: of the task, unlike that of any other.
        trials: most trials that are still to be made for it; with 0 of them it is over.
        loops: of its main block. What a trial costs is mostly its build, and that grows with the
            loops: counting them, the first of twelve recorded layers tells the time of the others
            within a factor of two in 99 of 100 draws, and without in 96.
        weight: how often the network runs it.
        flops: of one run.
        tried: trials that an earlier run made of it.
        best_s: best latency before the search [s]; infinite if there is none.
    """

    title: str
    trials: int
    loops: int = 1
    weight: int = 1
    flops: float = 1.0
    tried: int = 0
    best_s: float = math.inf

    @classmethod
    def of(
        cls,
        task: Task,
        title: str,
        trials: int,
        recorded: Sequence[Trial] = (),
        known: Sequence[Trial] = (),
    ) -> Planned:
        """A task; loops that run only once are none.

        Args:
            task: that is to be tuned.
            title: see `Planned`.
            trials: most of it in all.
            recorded: those of them that an earlier run made.
            known: others from before.
        """
        return cls(
            title,
            max(trials - len(recorded), 0),
            max(sum(axis.extent > 1 for axis in task.axes), 1),
            task.weight,
            task.flops,
            len(recorded),
            min((t.latency_s for some in (recorded, known) for t in some), default=math.inf),
        )


class Plan(abc.ABC):
    """How far a search is.

    Args:
        tasks: in the order of the network.
        say: prints a line that stays.
        tell: prints a line where no display shows the same.
        clock: seconds from any origin.
        seconds: that the search still has, as trials count them; None: no limit.
        ends_early: whether the search may end before trials and seconds do.
    """

    def __init__(
        self,
        tasks: Sequence[Planned],
        say: Say,
        tell: Say,
        clock: Callable[[], float],
        *,
        seconds: float | None = None,
        ends_early: bool = False,
    ):
        self._tasks, self._clock = tasks, clock
        self._say, self._tell = say, tell
        self._seconds, self._ends_early = seconds, ends_early
        self._place: int | None = None
        self._spent_s = 0.0
        self._last_trial = self._last_line = self._begin = clock()

    def begin(self, place: int) -> None:
        """The task at a place has the next step."""
        self._place = place

    def trial(self, trial: Trial, gflops: float | None) -> None:
        """A trial of it has ended, with this throughput [GFLOPS], or None."""
        self._spent_s += trial.search_s
        self._last_trial = self._clock()

    @abc.abstractmethod
    def end(self) -> None:
        """The search is over."""

    @abc.abstractmethod
    def by_trials_s(self) -> float | None:
        """Time that the trials still planned will take [s]; None without ground for it."""

    @abc.abstractmethod
    def render(self, head: Text, elapsed: str) -> RenderableType:
        """The live display, at most 80 columns: ``head`` and what stands below."""

    @property
    def left_s(self) -> float | None:
        """Time left [s]: of limited seconds what trials left of them, else what trials will take.

        None before anything began, and where there is no ground for it.
        """
        if self._place is None:
            return None
        if self._seconds is None:
            return self.by_trials_s()
        return max(self._seconds - self._spent_s - (self._clock() - self._last_trial), 0.0)

    def _left(self) -> str:
        if (left_s := self.left_s) is None:
            return ""
        return f", {'at most ' if self._ends_early else ''}{duration(left_s)} left"

    @property
    def _share_of_seconds(self) -> float | None:
        """Fraction of limited seconds that is over."""
        if self._seconds is None or self.left_s is None:
            return None
        return 1.0 - self.left_s / self._seconds if self._seconds > 0 else 1.0

    def _due(self) -> bool:
        """Whether a plain line is due, which is then taken as printed."""
        due = self._clock() - self._last_line >= LINE_S
        if due:
            self._last_line = self._clock()
        return due


class InTurn(Plan):
    """Tasks one after another: a line when one begins, and one when it ends.

    Time left is the clock of the tasks that have ended, by the trials that were planned for them
    (`Planned.loops` times as dear), times the trials still planned. Before the first task has ended
    there is no ground for it: trials end a batch at a time, the first batch waits for what is
    loaded and compiled once, and the tuning set costs other than what follows.
    """

    def __init__(self, *args: Any, **limits: Any):
        super().__init__(*args, **limits)
        self._trials, self._failed = 0, 0
        self._best: float | None = None
        self._task_begin = self._begin
        self._ended: list[tuple[Planned, float]] = []  # with the seconds that each took

    def begin(self, place: int) -> None:
        if place == self._place:
            return
        self.end()
        super().begin(place)
        self._trials, self._failed, self._best = 0, 0, None
        self._task_begin = self._last_line = self._clock()
        task = self._tasks[place]
        if task.trials == 0:
            self._say(f"{self._where}: nothing left to try")
            return
        most = "begins" if self._seconds is not None else f"at most {task.trials} trials"
        self._tell(f"{self._where}: {most}{self._left()}")

    def trial(self, trial: Trial, gflops: float | None) -> None:
        super().trial(trial, gflops)
        self._trials += 1
        self._failed += not trial.ok
        if gflops is not None and (self._best is None or gflops > self._best):
            self._best = gflops
        if self._place is not None and self._due():
            self._tell(f"{self._standing}{self._left()}")

    def end(self) -> None:
        # A task without a trial is one that an earlier run ended: nothing is known of it here.
        if self._place is not None and self._trials:
            self._ended.append((self._tasks[self._place], self._clock() - self._task_begin))
            self._say(self._standing)
        self._place = None

    def by_trials_s(self) -> float | None:
        if self._place is None or (task := self._tasks[self._place]).trials == 0:
            return None
        # What an earlier run left of a task is no measure of a whole one.
        ended = [(p.trials * p.loops, s) for p, s in self._ended if 2 * p.trials >= task.trials]
        if not ended:
            return None
        work, seconds = map(sum, zip(*ended, strict=True))
        to_come = max(task.trials - self._trials, 0) * task.loops
        to_come += sum(p.trials * p.loops for p in self._tasks[self._place + 1 :])
        return seconds / work * to_come

    @property
    def _where(self) -> str:
        assert self._place is not None, "no task began"
        return f"task {self._place + 1}/{len(self._tasks)} {self._tasks[self._place].title}"

    @property
    def _standing(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._where}: {self._count}, {_best(self._best)}{failed}"

    @property
    def _count(self) -> str:
        """Of limited seconds, how many trials there may be tells nothing."""
        assert self._place is not None, "no task began"
        most = "" if self._seconds is not None else f"/{self._tasks[self._place].trials}"
        return f"{self._trials}{most} trials"

    def render(self, head: Text, elapsed: str) -> RenderableType:
        if self._place is None or (task := self._tasks[self._place]).trials == 0:
            return head.append(f"  {elapsed}")
        share = self._trials / task.trials
        grid = _grid()
        bar = _bar(share) if self._seconds is None else ""
        grid.add_row("this task", bar, self._count, _styled_best(self._best, self._failed))
        done = self._share_of_seconds
        if done is None:
            done = (self._place + share) / len(self._tasks)
        place = f"{self._place + 1}/{len(self._tasks)} tasks"
        grid.add_row("all tasks", _bar(done), place, elapsed + self._left())
        return Group(head.append(f"  {self._where}"), grid)


@dataclasses.dataclass
class _Standing:
    """How far a task is.

    Args:
        tried: trials so far.
        best_s: best latency [s]; infinite before any ran.
    """

    tried: int
    best_s: float


class Interleaved(Plan):
    """Steps of all tasks in turns: a line about all of them now and then, and one at the end.

    Time left is the time that a trial took so far in the mean, times the trials still planned, once
    each task has had a step: the tasks of a network cost differently.

    Args:
        trials: most of all tasks together, those of an earlier run included.
    """

    def __init__(self, *args: Any, trials: int, **limits: Any):
        super().__init__(*args, **limits)
        self._most = trials
        self._standings = [_Standing(task.tried, task.best_s) for task in self._tasks]
        self._new, self._failed = 0, 0
        self._last_line = -math.inf  # that it began is told at once

    def begin(self, place: int) -> None:
        super().begin(place)
        if self._due():
            now = self._tasks[place].title
            self._tell(f"{self._all()}, now {now} ({self._of_task(place)}){self._left()}")

    def trial(self, trial: Trial, gflops: float | None) -> None:
        super().trial(trial, gflops)
        assert self._place is not None, "no task began"
        standing = self._standings[self._place]
        standing.tried += 1
        standing.best_s = min(standing.best_s, trial.latency_s)
        self._new += 1
        self._failed += not trial.ok

    def end(self) -> None:
        if self._place is not None:
            self._say(self._all())
        self._place = None

    def by_trials_s(self) -> float | None:
        if self._new == 0 or any(standing.tried == 0 for standing in self._standings):
            return None
        trial_s = (self._last_trial - self._begin) / self._new
        since = self._clock() - self._last_trial
        return max(trial_s * (self._most - self._tried) - since, 0.0)

    @property
    def _tried(self) -> int:
        return sum(standing.tried for standing in self._standings)

    def _all(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        # Where seconds are limited, they end it, and the most that trials may be says little.
        most = f" of at most {self._most}" if self._seconds is None else ""
        return f"{self._tried} trials{most}{failed}, {self._layers()}"

    def _layers(self) -> str:
        """What all layers take together; before it is known, how many were tried, or ran."""
        pairs = list(zip(self._tasks, self._standings, strict=True))
        layers_s = sum(task.weight * standing.best_s for task, standing in pairs)
        if math.isfinite(layers_s):
            return f"layers {layers_s * 1e3:.{1 if layers_s >= 0.01 else 3}f} ms"
        tried = sum(standing.tried > 0 for standing in self._standings)
        if tried < len(pairs):
            return f"{tried} of {len(pairs)} layers tried"
        ran = sum(math.isfinite(standing.best_s) for standing in self._standings)
        return f"{ran} of {len(pairs)} layers ran"

    def _of_task(self, place: int) -> str:
        tried = self._standings[place].tried
        return f"{tried} trials, {_best(self._gflops(place))}" if tried else "first trials"

    def _gflops(self, place: int) -> float | None:
        best_s = self._standings[place].best_s
        return self._tasks[place].flops / best_s / 1e9 if math.isfinite(best_s) else None

    def render(self, head: Text, elapsed: str) -> RenderableType:
        head.append(f"  {elapsed}{self._left()}")
        if self._place is None:
            return head
        now = Text(f"now {self._tasks[self._place].title}", no_wrap=True, overflow="ellipsis")
        grid = _grid()
        best = _styled_best(self._gflops(self._place), 0)
        grid.add_row("this task", "", f"{self._standings[self._place].tried} trials", best)
        done = self._share_of_seconds
        done = self._tried / max(self._most, 1) if done is None else done
        layers = Text(self._layers())
        if self._failed:
            layers.append(f"  {self._failed} failed", style="yellow")
        grid.add_row("all tasks", _bar(done), f"{self._tried}/{self._most} trials", layers)
        return Group(head, now, grid)


def duration(seconds: float) -> str:
    """Text of a time span: ``4.2 s``, ``3:07 min`` or ``1:02:03 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d} h"


def _best(gflops: float | None) -> str:
    return "no valid trial yet" if gflops is None else f"best {gflops:.1f} GFLOPS"


def _styled_best(gflops: float | None, failed: int) -> Text:
    text = Text(_best(gflops), style="dim" if gflops is None else "bold green")
    if failed:
        text.append(f"  {failed} failed", style="yellow")
    return text


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(share, 1.0), width=14)


def _grid() -> Table:
    """What, how far it is drawn, in figures, what came of it."""
    grid = Table.grid(padding=(0, 2))
    for justify in ("left", "left", "right", "left"):
        grid.add_column(no_wrap=True, justify=justify)  # type: ignore[arg-type]
    return grid
