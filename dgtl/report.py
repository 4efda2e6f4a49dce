"""What a person sees of a finished run: tables on the console, best-so-far curves as PNG.

matplotlib is imported only when a picture is drawn, and without pyplot: no global state, no window.
Colours are those of Okabe and Ito, which tell apart in print and with any colour vision; marks
differ in shape too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from dgtl.progress import duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dgtl.history import SourceTask
    from dgtl.records import Trial
    from dgtl.summary import Summary, TaskSummary

BLUE, SKY, VERMILLION = "#0072B2", "#56B4E9", "#D55E00"
BAND, EDGE = "#EEEEEE", "#555555"
PANEL_INCHES = (2.6, 1.85)
MAX_COLUMNS = 4
TITLE_CHARACTERS = 34
DPI = 200

FAILED: dict[str, Any] = {
    "color": VERMILLION,
    "marker": "x",
    "markersize": 3.5,
    "markeredgewidth": 0.8,
    "linestyle": "",
}
WINNER: dict[str, Any] = {
    "color": BLUE,
    "marker": "o",
    "markersize": 4.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.6,
    "linestyle": "",
}

TUNING_SET = "tuning_set"
"""`Trial.stage` of the trials that the transfer rests on; those after them are the search's."""

OUTPUTS = {
    "summary.json": "this summary",
    "trials.jsonl": "every trial",
    "best": "best schedules, a MetaSchedule database",
    "model.so": "the network, built",
    "curves_trials.png": "best so far over trials",
    "curves_search.png": "best so far over search time",
    "wandb": "the W&B run",
}
"""What a run may leave in its folder, in the order in which it is listed."""

LOADING = """\
import tvm
vm = tvm.relax.VirtualMachine(tvm.runtime.load_module("{library}"), tvm.cpu())
output = vm["main"](tvm.runtime.tensor(image))  # image: a numpy array"""


def draw_curves(folder: Path, results: Sequence[SourceTask]) -> list[Path]:
    """Draws best-so-far throughput, one panel per task.

    Args:
        folder: where ``curves_trials.png`` and ``curves_search.png`` are written.
        results: tasks with their trials, in the order of the network.

    Returns:
        The files written; none without tasks.
    """
    if not results:
        return []
    pictures = (
        ("curves_trials.png", "trial", lambda trials: np.arange(1.0, len(trials) + 1)),
        ("curves_search.png", "search time of the task [s]", search_seconds),
    )
    paths = []
    for name, label, position in pictures:
        figure = _small_multiples(results, [position(r.trials) for r in results], label)
        paths.append(folder / name)
        figure.savefig(paths[-1], dpi=DPI)
    return paths


def search_seconds(trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Search time [N] at the end of each trial [s]."""
    return np.cumsum([trial.search_s for trial in trials], dtype=np.float64)


def tuning_set_size(trials: Sequence[Trial]) -> int:
    """How many of the first trials are the tuning set; 0 for tuners that have none."""
    stages = [trial.stage for trial in trials]
    return next((i for i, stage in enumerate(stages) if stage != TUNING_SET), len(stages))


def print_summary(summary: Summary, folder: Path, console: Console | None = None) -> None:
    """Prints one row per task, the totals of the network, and where the results lie.

    Args:
        summary: of the run.
        folder: the run's folder; only what lies there is listed.
        console: where to print; standard output if not given.
    """
    console = console or Console(highlight=False)
    console.print(_task_table(summary))
    console.print(_network_table(summary))
    console.print(f"Results in {folder}", markup=False, soft_wrap=True)
    found = {name: what for name, what in OUTPUTS.items() if (folder / name).exists()}
    width = max((len(name) for name in found), default=0)
    for name, what in found.items():
        console.print(f"  {name:{width}}  {what}", markup=False, soft_wrap=True)
    if "model.so" in found:
        console.print("To load it:", markup=False)
        for line in LOADING.format(library=folder / "model.so").splitlines():
            console.print(f"  {line}", markup=False, soft_wrap=True)


def _task_table(summary: Summary) -> Table:
    title = f"{summary.workload} on {summary.hardware}, tuned by {summary.model}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("task", overflow="ellipsis")
    rows = [_task_cells(task) for task in summary.tasks]
    headers = ("weight", "space", "trials", "GFLOPS", "latency", "weighted", "search")
    for header, *cells in zip(headers, *rows, strict=True):
        # Where a terminal is narrow, names are cut and figures are not.
        width = max(len(text) for text in (header, *cells))
        table.add_column(header, justify="right", no_wrap=True, min_width=width)
    for task, row in zip(summary.tasks, rows, strict=True):
        table.add_row(task.name.removeprefix("fused_"), *row)
    return table


def _task_cells(task: TaskSummary) -> tuple[str, ...]:
    best = ("-", "all failed" if task.trials else "-", "-")
    if task.best_gflops is not None and task.best_latency_us is not None:
        best = (
            f"{task.best_gflops:.1f}",
            f"{task.best_latency_us:.1f} us",
            f"{task.weight * task.best_latency_us / 1e3:.3f} ms",
        )
    size = f"{task.space_size}" if task.space_size < 10_000 else f"{task.space_size:.1e}"
    return (str(task.weight), size, str(task.trials), *best, duration(task.search_s))


def _network_table(summary: Summary) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column("what", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("note", style="dim")
    faster = "" if summary.speedup is None else f"{summary.speedup:.1f} times as fast as untuned"
    ratio = summary.network_over_tasks
    above = "" if ratio is None else f"the network takes {ratio:.2f} times as long"
    table.add_row("untuned latency", _ms(summary.untuned_latency_ms), "")
    table.add_row("latency", _ms(summary.latency_ms), faster, style="bold")
    table.add_row("sum of tasks", _ms(summary.sum_of_tasks_ms), above)
    table.add_section()
    table.add_row("search time", duration(summary.search_s), "wall clock", style="bold")
    table.add_row("  build", duration(summary.build_s), "all builds; they run side by side")
    table.add_row("  run", duration(summary.run_s), "all runs on the hardware")
    table.add_row("  model", duration(summary.model_s), "cost model and search")
    learnt = f"on {summary.source_trials} trials of {summary.source_tasks} source tasks"
    table.add_row("pre-training", duration(summary.pretrain_s), f"{learnt}; not in search time")
    table.add_row("trials", str(summary.trials), f"{summary.failed_trials} failed")
    return table


def _ms(latency_ms: float | None) -> str:
    return "not timed" if latency_ms is None else f"{latency_ms:.3f} ms"


def _small_multiples(
    results: Sequence[SourceTask], positions: Sequence[NDArray[np.float64]], xlabel: str
) -> Figure:
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
    for panel, result, x in zip(panels, results, positions, strict=False):
        _draw_panel(panel, result, x)
    figure.supylabel("throughput [GFLOPS]", fontsize=9)
    figure.supxlabel(xlabel, fontsize=9)
    _draw_legend(figure)
    return figure


def _draw_panel(panel: Axes, result: SourceTask, x: NDArray[np.float64]) -> None:
    from matplotlib.ticker import MaxNLocator

    trials = result.trials
    ok = np.array([trial.ok for trial in trials], dtype=bool)
    y = np.array([result.task.gflops(t.latency_s) if t.ok else 0.0 for t in trials])
    end = x[-1] if len(x) and x[-1] > 0 else 1.0
    panel.set_xlim(0, end * 1.02)
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=bool(end > 5)))
    panel.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    n_set = tuning_set_size(trials)
    if n_set:
        panel.axvspan(0, x[n_set - 1], color=BAND, linewidth=0, zorder=0)
    if 0 < n_set < len(trials):
        panel.axvline(x[n_set - 1], color=EDGE, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
    panel.plot(x[ok], y[ok], ".", color=SKY, markersize=4.5, markeredgewidth=0, zorder=2)
    if not ok.all():
        # Never an empty unclipped line: its bounding box would upset the layout.
        panel.plot(x[~ok], y[~ok], clip_on=False, zorder=3, **FAILED)
    title = f"{result.task.kind}, weight {result.task.weight}"
    if ok.any():
        first, top = int(np.argmax(ok)), int(np.argmax(y))
        best = np.maximum.accumulate(y)
        panel.step(x[first:], best[first:], where="post", color=BLUE, linewidth=1.5, zorder=4)
        panel.plot(x[top], y[top], zorder=5, clip_on=False, **WINNER)
        title += f": best {best[-1]:.1f} GFLOPS"
        panel.set_ylim(0, y[top] * 1.08)
    else:
        panel.text(0.5, 0.5, "no valid trial", transform=panel.transAxes, ha="center", fontsize=8)
        panel.set_ylim(0, 1)
        panel.set_yticks([])
    panel.tick_params(labelsize=7, length=2.5, width=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_linewidth(0.6)
    panel.set_title(f"{_shortened(result.task.name)}\n{title}", fontsize=7, loc="left", pad=4)


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=BLUE, linewidth=1.5, label="best so far"),
        Line2D([], [], label="best", **WINNER),
        Line2D([], [], color=SKY, marker=".", linestyle="", label="trial"),
        Line2D([], [], label="failed", **FAILED),
        Patch(facecolor=BAND, edgecolor=EDGE, linestyle="--", label="tuning set, then search"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=8, frameon=False)


def _shortened(name: str) -> str:
    """``name`` with its middle left out where it would run into the next panel."""
    if len(name) <= TITLE_CHARACTERS:
        return name
    head = TITLE_CHARACTERS // 2
    return f"{name[:head]}…{name[head + 1 - TITLE_CHARACTERS :]}"
