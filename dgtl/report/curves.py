"""Best-so-far curves: of each task, of all tasks of a network on one sheet, and their mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core.records import throughput
from dgtl.core.titles import titles
from dgtl.report import style
from dgtl.results import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.core.records import Trial

PANEL_INCHES = (2.6, 1.85)
MAX_COLUMNS = 4
MAX_PANELS = 24
"""More tasks than this are drawn as a mean, not one by one."""

TITLE_CHARACTERS = 34
TIME_POINTS = 200
"""Points of a mean curve over search time."""

FAILED: dict[str, Any] = {
    "color": style.VERMILLION,
    "marker": "x",
    "markersize": 3.5,
    "markeredgewidth": 0.8,
    "linestyle": "",
}
WINNER: dict[str, Any] = {
    "color": style.BLUE,
    "marker": "o",
    "markersize": 4.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.6,
    "linestyle": "",
}

TUNING_SET = "tuning_set"
"""`Trial.stage` of the trials that the transfer rests on; those after them are the search's."""

AXES = {"trials": "trial", "search": "search time of the task [s]"}
"""What curves are drawn over, and how the axis is called."""


def draw_curves(folder: Path, results: Sequence[SourceTask]) -> list[Path]:
    """Draws best-so-far throughput: one panel per task, or the mean over more than `MAX_PANELS`.

    Args:
        folder: where ``curves_trials.png`` and ``curves_search.png`` are written.
        results: tasks with their trials, in the order of the network.

    Returns:
        The files written; none without trials.
    """
    if not any(result.trials for result in results):
        return []
    paths = []
    for over in AXES:
        if len(results) > MAX_PANELS:
            figure = mean_curve(results, over)
        else:
            figure = _small_multiples(results, over)
        paths.append(folder / f"curves_{over}.png")
        style.save(figure, paths[-1])
    return paths


def task_curve(result: SourceTask, over: str) -> Figure:
    """Best-so-far throughput of one task, unnamed, over ``trials`` or ``search`` time."""
    figure, panel = style.panel(3.4, 2.3)
    _draw_panel(panel, result, _positions(result.trials, over))
    panel.set_ylabel("GFLOPS")
    panel.set_xlabel(AXES[over])
    return figure


def mean_curve(
    results: Sequence[SourceTask], over: str, best: Mapping[str, float] | None = None
) -> Figure:
    """Best so far as a share of the task's best: mean over tasks, and where half of them lie.

    Args:
        results: tasks with their trials.
        over: ``trials`` or ``search`` time.
        best: throughput [GFLOPS] by task key that counts as 1, e.g. the best recorded one; without
            it, the best that the run found.
    """
    figure, panel = style.panel(*style.INCHES)
    x, shares = shares_of_best(results, over, best)
    low, high = np.quantile(shares, [0.25, 0.75], axis=0)
    panel.fill_between(x, low, high, color=style.BAND, linewidth=0, label="middle half of tasks")
    panel.plot(x, shares.mean(axis=0), label=f"mean of {len(shares)} tasks", **style.line(0))
    panel.set_xlim(0, x[-1])
    panel.set_ylim(0, 1.02)
    panel.set_xlabel(AXES[over])
    panel.set_ylabel("best so far / best " + ("of this run" if best is None else "recorded"))
    panel.legend(loc="lower right", fontsize=style.FONT - 1, frameon=False)
    return figure


def shares_of_best(
    results: Sequence[SourceTask], over: str, best: Mapping[str, float] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Best so far over the task's best.

    Returns:
        Positions [M]: trials 1, 2, ... or seconds; shares [tasks, M]. A task that ended keeps what
        it found. Tasks of which nothing ran, and that have no ``best``, are left out.
    """
    tried = [result for result in results if result.trials]
    if over == "trials":
        x = np.arange(1.0, max(len(r.trials) for r in tried) + 1)
    else:
        x = np.linspace(0, max(search_seconds(r.trials)[-1] for r in tried), TIME_POINTS)
    shares = []
    for result in tried:
        curve = metrics.best_so_far(throughput(result.task, result.trials))
        top = curve[-1] if best is None else best.get(result.task.key, curve[-1])
        if top == 0:
            continue
        if over == "trials":
            found = metrics.after_trials(curve, x.astype(np.int64))
        else:
            found = metrics.after_seconds(curve, search_seconds(result.trials), x)
        shares.append(found / top)
    return x, np.array(shares) if shares else np.zeros((1, len(x)))


def search_seconds(trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Search time [N] at the end of each trial [s]."""
    return np.cumsum([trial.search_s for trial in trials], dtype=np.float64)


def tuning_set_size(trials: Sequence[Trial]) -> int:
    """How many of the first trials are the tuning set; 0 for tuners that have none."""
    stages = [trial.stage for trial in trials]
    return next((i for i, stage in enumerate(stages) if stage != TUNING_SET), len(stages))


def _positions(trials: Sequence[Trial], over: str) -> NDArray[np.float64]:
    return np.arange(1.0, len(trials) + 1) if over == "trials" else search_seconds(trials)


def _small_multiples(results: Sequence[SourceTask], over: str) -> Figure:
    from matplotlib.figure import Figure

    n_rows = math.ceil(len(results) / MAX_COLUMNS)
    n_columns = math.ceil(len(results) / n_rows)
    # A lone panel is made wider, so that the legend below it fits.
    width = max(PANEL_INCHES[0] * n_columns, 5.2)
    height = PANEL_INCHES[1] * n_rows + 0.75
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for panel in panels[len(results) :]:
        panel.set_axis_off()
    names = titles([result.task for result in results])
    for panel, result, name in zip(panels, results, names, strict=False):
        _draw_panel(panel, result, _positions(result.trials, over), name)
    figure.supylabel("throughput [GFLOPS]", fontsize=9)
    figure.supxlabel(AXES[over], fontsize=9)
    _draw_legend(figure)
    return figure


def _draw_panel(
    panel: Axes, result: SourceTask, x: NDArray[np.float64], name: str | None = None
) -> None:
    from matplotlib.ticker import MaxNLocator

    trials = result.trials
    ok = np.array([trial.ok for trial in trials], dtype=bool)
    y = throughput(result.task, trials)
    end = x[-1] if len(x) and x[-1] > 0 else 1.0
    panel.set_xlim(0, end * 1.02)
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=bool(end > 5)))
    panel.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    n_set = tuning_set_size(trials)
    if n_set:
        panel.axvspan(0, x[n_set - 1], color=style.BAND, linewidth=0, zorder=0)
    if 0 < n_set < len(trials):
        panel.axvline(
            x[n_set - 1], color=style.EDGE, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1
        )
    panel.plot(x[ok], y[ok], ".", color=style.SKY, markersize=4.5, markeredgewidth=0, zorder=2)
    if not ok.all():
        # Never an empty unclipped line: its bounding box would upset the layout.
        panel.plot(x[~ok], y[~ok], clip_on=False, zorder=3, **FAILED)
    title = f"weight {result.task.weight}"
    if ok.any():
        first, top = int(np.argmax(ok)), int(np.argmax(y))
        best = metrics.best_so_far(y)
        panel.step(x[first:], best[first:], where="post", color=style.BLUE, linewidth=1.5, zorder=4)
        panel.plot(x[top], y[top], zorder=5, clip_on=False, **WINNER)
        title += f": best {best[-1]:.1f} GFLOPS"
        panel.set_ylim(0, y[top] * 1.08)
    else:
        panel.text(0.5, 0.5, "no valid trial", transform=panel.transAxes, ha="center", fontsize=8)
        panel.set_ylim(0, 1)
        panel.set_yticks([])
    style.tidy(panel)
    if name is not None:
        title = f"{shortened(name, TITLE_CHARACTERS)}\n{title}"
    panel.set_title(title, fontsize=style.FONT - 1, loc="left", pad=4)


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=style.BLUE, linewidth=1.5, label="best so far"),
        Line2D([], [], label="best", **WINNER),
        Line2D([], [], color=style.SKY, marker=".", linestyle="", label="trial"),
        Line2D([], [], label="failed", **FAILED),
        Patch(
            facecolor=style.BAND,
            edgecolor=style.EDGE,
            linestyle="--",
            label="tuning set, then search",
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=8, frameon=False)


def shortened(name: str, characters: int) -> str:
    """``name`` with its middle left out where it would run into the next panel."""
    if len(name) <= characters:
        return name
    head = characters // 2
    return f"{name[:head]}…{name[head + 1 - characters :]}"
