"""What else is drawn of a run: predicted against measured, and where the search time went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dgtl.core.titles import titles
from dgtl.report import style
from dgtl.report.curves import MAX_PANELS, TUNING_SET
from dgtl.results import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.core.records import Trial

PARTS = (
    ("build", style.BLUE, ""),
    ("run", style.ORANGE, "///"),
    ("other", style.GREY, "\\\\\\"),
    ("model", style.GREEN, "..."),
)
"""Parts of the search time, with the colour and the hatching of their bars."""


def predictions(results: Sequence[SourceTask]) -> Figure | None:
    """Throughput as the model predicted it against what was measured; None without predictions."""
    from matplotlib.ticker import LogLocator, NullFormatter

    points = {}
    for is_set in (True, False):
        chosen = [
            (result.task, [t for t in result.trials if (t.stage == TUNING_SET) == is_set])
            for result in results
        ]
        found = [metrics.predicted_and_measured(task, trials) for task, trials in chosen]
        points[is_set] = np.concatenate([np.empty((0, 2)), *found])
    pairs = np.concatenate(list(points.values()))
    if not len(pairs):
        return None
    figure, panel = style.panel(style.INCHES[0], style.INCHES[0] * 0.85)
    low, high = pairs.min() / 1.3, pairs.max() * 1.3
    panel.plot([low, high], [low, high], color=style.EDGE, linewidth=0.8, linestyle=(0, (3, 2)))
    looks = {True: ("tuning set", style.SKY, "o"), False: ("search", style.VERMILLION, "^")}
    for is_set, (label, colour, marker) in looks.items():
        if len(points[is_set]):
            panel.plot(*points[is_set].T, marker, color=colour, ms=3, alpha=0.7, mew=0, label=label)
    panel.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    panel.set_xlabel("predicted [GFLOPS]")
    panel.set_ylabel("measured [GFLOPS]")
    panel.legend(loc="upper left", fontsize=style.FONT - 1, frameon=False)
    style.tidy(panel, grid=True)
    return figure


def time_shares(trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Search time of trials [s] as [build, run, other, model], which add up to it.

    Where builds run side by side, their own seconds and those of runs exceed the wall clock, which
    is dealt to them in proportion. Where they fall short of it, the rest is other: transfers,
    waiting, and whatever a recorded log does not tell.
    """
    build_s, run_s = sum(t.build_s for t in trials), sum(t.run_s for t in trials)
    wall_s, own_s = sum(t.wall_s for t in trials), build_s + run_s
    scale = min(1.0, wall_s / own_s) if own_s > 0 else 0.0
    other_s = wall_s - scale * own_s
    model_s = sum(t.model_s for t in trials)
    return np.array([scale * build_s, scale * run_s, other_s, model_s])


def search_time(results: Sequence[SourceTask]) -> Figure:
    """Where the search time went: one bar per task, or one in all for more than `MAX_PANELS`."""
    if len(results) > MAX_PANELS:
        names = [f"all {len(results)} tasks"]
        seconds = np.array([time_shares([t for r in results for t in r.trials])])
    else:
        names = titles([result.task for result in results])
        seconds = np.array([time_shares(result.trials) for result in results])
    figure, panel = style.panel(style.INCHES[0], 0.9 + 0.2 * len(names))
    left = np.zeros(len(names))
    rows = np.arange(len(names))
    for (name, colour, hatch), part in zip(PARTS, seconds.T, strict=True):
        panel.barh(
            rows, part, 0.7, left, color=colour, hatch=hatch, label=name, edgecolor="white", lw=0
        )
        left += part
    panel.set_yticks(rows, names)
    panel.invert_yaxis()
    panel.set_xlabel("search time [s]")
    style.tidy(panel)
    panel.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=4, fontsize=style.FONT - 1, frameon=False)
    return figure
