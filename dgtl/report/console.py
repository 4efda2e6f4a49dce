"""What a person sees of a finished run on the console: a row per task, totals, where things lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from dgtl.report.progress import duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dgtl.results.summary import Summary, TaskSummary

OUTPUTS = {
    "report.html": "the report: curves, costs, best schedules; one file",
    "summary.json": "this summary",
    "trials.jsonl": "every trial",
    "best": "best schedules, a MetaSchedule database",
    "model.so": "the network, built",
    "tail.onnx": "what comes after it, for ONNX Runtime",
    "card.json": "what it takes, gives and needs; dgtl.load(FOLDER) runs it",
    "curves_trials.png": "best so far over trials",
    "curves_search.png": "best so far over search time",
    "wandb": "the W&B run",
}
"""What a run may leave in its folder, in the order in which it is listed."""

LOADING = """\
import tvm
vm = tvm.relax.VirtualMachine(tvm.runtime.load_module("{library}"), tvm.cpu())
output = vm["main"](tvm.runtime.tensor(image))  # image: a numpy array"""


COLUMN_GAP = 2
"""Characters between two columns of a table."""


def print_summary(summary: Summary, folder: Path, console: Console | None = None) -> None:
    """Prints one row per task, the totals of the network, and where the results lie.

    Args:
        summary: of the run.
        folder: the run's folder; only what lies there is listed.
        console: where to print; standard output if not given.
    """
    console = console or Console(highlight=False)
    console.print(_task_table(summary, console.width))
    console.print(_network_table(summary))
    if summary.chosen:
        n = f"{len(summary.chosen)} of {len(summary.tasks)} layers"
        console.print(f"  unmeasured: chosen by the model ({n})\n", markup=False, soft_wrap=True)
    for task in summary.untuned:
        why = "no trial was made" if task.trials == 0 else f"none of its {task.trials} trials ran"
        console.print(
            f"  {task.title} runs by the default schedule: {why}", markup=False, soft_wrap=True
        )
    if summary.untuned:
        console.print()
    console.print(f"Results in {folder}", markup=False, soft_wrap=True)
    found = {name: what for name, what in OUTPUTS.items() if (folder / name).exists()}
    width = max((len(name) for name in found), default=0)
    for name, what in found.items():
        console.print(f"  {name:{width}}  {what}", markup=False, soft_wrap=True)
    if "model.so" in found:
        console.print("To load it:", markup=False)
        for line in LOADING.format(library=folder / "model.so").splitlines():
            console.print(f"  {line}", markup=False, soft_wrap=True)


def _task_table(summary: Summary, width: int) -> Table:
    """A row per task; where a terminal is narrow, columns are left out, and figures never cut."""
    rows = [_task_cells(task) for task in summary.tasks]
    title = f"{summary.workload} on {summary.hardware}, tuned by {summary.model}"
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, COLUMN_GAP - 1, 0, 0),  # beside it stands the line, which is blank
    )
    table.add_column("task", no_wrap=True, overflow="ellipsis")
    for header in _columns(rows, width)[1:]:
        figures = max(len(header), *(len(row[header]) for row in rows))
        table.add_column(header, justify="right", no_wrap=True, min_width=figures)
    for row in rows:
        table.add_row(*(row[str(column.header)] for column in table.columns))
    return table


def _columns(rows: Sequence[dict[str, str]], width: int) -> list[str]:
    """Headers of the columns that fit; the least telling ones are left out first."""
    kept = list(rows[0])
    for dropped in ("space", "weighted", "trials", "search"):
        widths = [max(len(name), *(len(row[name]) for row in rows)) for name in kept]
        if sum(widths) + COLUMN_GAP * (len(kept) - 1) <= width:
            break
        kept.remove(dropped)
    return kept


def _task_cells(task: TaskSummary) -> dict[str, str]:
    best = ("-", "all failed" if task.trials else "-", "-")
    if task.best_gflops is not None and task.best_latency_us is not None:
        best = (
            f"{task.best_gflops:.1f}",
            f"{task.best_latency_us:.1f} us",
            f"{task.weight * task.best_latency_us / 1e3:.3f} ms",
        )
    return {
        "task": task.title,
        "weight": str(task.weight),
        "space": f"{task.space_size}" if task.space_size < 10_000 else f"{task.space_size:.1e}",
        "trials": str(task.trials),
        "GFLOPS": best[0],
        "latency": best[1],
        "weighted": best[2],
        "search": duration(task.search_s),
    }


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
    learnt = f"{summary.source_trials} trials of {summary.source_tasks} tasks"
    table.add_row("pre-training", duration(summary.pretrain_s), f"{learnt}, once, beforehand")
    table.add_row("trials", str(summary.trials), f"{summary.failed_trials} failed")
    return table


def _ms(latency_ms: float | None) -> str:
    return "not timed" if latency_ms is None else f"{latency_ms:.3f} ms"
