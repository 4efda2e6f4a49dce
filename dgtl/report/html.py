"""``report.html`` of a run: what was found, how, and at what cost, for a person without W&B.

Everything is read back from the run's folder, so that a report can be made again at any time
(``scripts/report.py``).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from dgtl.core.records import best_trial
from dgtl.core.titles import titles
from dgtl.report import curves, figures
from dgtl.report.page import Page
from dgtl.report.progress import duration
from dgtl.results import metrics
from dgtl.results.run_folder import REPORT

if TYPE_CHECKING:
    from pathlib import Path

    from dgtl.core.history import SourceTask
    from dgtl.results.run_folder import Run

KNOBS_WITHOUT_A_CHOICE = 1
"""A knob with so many options says nothing about a schedule."""


def write_report(run: Run) -> Path:
    """Draws the curves of a run, finished or not, into its folder and writes ``report.html``.

    Returns:
        The report.
    """
    curves.draw_curves(run.folder, run.results)
    path = run.folder / REPORT
    _page(run).write(path)
    return path


def _page(run: Run) -> Page:
    summary = run.summary
    title = f"{summary.workload} on {summary.hardware}, tuned by {summary.model}"
    page = Page(title, _facts(run))
    page.numbers(_numbers(run))
    _curves(page, run)
    _predictions(page, run)
    _search_time(page, run)
    _schedules(page, run)
    return page


def _facts(run: Run) -> dict[str, str]:
    origin, hardware = run.origin, run.hardware
    measured = [t.timestamp for result in run.results for t in result.trials if t.timestamp]
    facts = {}
    if origin is not None:
        facts["command"] = origin.command
    revisions = run.revisions or ((origin.revision,) if origin is not None else ())
    facts["revision"] = ", ".join(r or "not from a checkout" for r in revisions) or "not kept"
    facts["hardware"] = f"{hardware.name}, {hardware.num_cores} cores"
    facts["target"] = hardware.target
    if origin is not None:
        facts["date"] = _date(datetime.fromisoformat(origin.date).timestamp())
    if measured and not run.replayed:
        facts["measured"] = f"{_date(min(measured))} to {_date(max(measured))}"
    if run.replayed:
        facts["measured"] = "earlier: a replay of recorded tables, in simulated time"
    facts["seed"] = str(run.summary.seed)
    learnt = f"{run.summary.source_trials} trials of {run.summary.source_tasks} tasks"
    facts["learnt from"] = learnt if run.summary.source_trials else "nothing"
    return facts


def _numbers(run: Run) -> dict[str, str]:
    summary = run.summary
    numbers = {}
    if summary.latency_ms is not None:
        numbers["latency of the network"] = f"{summary.latency_ms:.3f} ms"
    if summary.untuned_latency_ms is not None:
        numbers["latency without tuning"] = f"{summary.untuned_latency_ms:.1f} ms"
    if summary.speedup is not None:
        numbers["times as fast"] = f"{summary.speedup:.1f}"
    if summary.sum_of_tasks_ms is not None and not run.replayed:
        numbers["sum of tasks (weight x latency)"] = f"{summary.sum_of_tasks_ms:.3f} ms"
    numbers["search time"] = duration(summary.search_s)
    numbers["tasks"] = str(len(summary.tasks))
    numbers[f"trials, {summary.failed_trials} of them failed"] = str(summary.trials)
    return numbers


def _curves(page: Page, run: Run) -> None:
    page.heading(
        "Best so far",
        "Throughput of each trial and the best up to it; the grey part is the tuning set, which "
        "the model's transfer rests on. Crosses are failures."
        if len(run.results) <= curves.MAX_PANELS
        else "",
    )
    if len(run.results) > curves.MAX_PANELS:
        best = run.recorded_best or None
        means = {over: curves.mean_curve(run.results, over, best) for over in curves.AXES}
        page.figures(
            {"over trials": means["trials"], "over the search time of a task": means["search"]}
        )
        _standing(page, run)
        return
    names = titles([result.task for result in run.results])
    for over, folded in (("trials", ""), ("search", "The same over search time")):
        drawn = {
            f"{name}, {_axis_words(over)}": curves.task_curve(result, over)
            for name, result in zip(names, run.results, strict=True)
        }
        page.figures(drawn, folded=folded)


def _axis_words(over: str) -> str:
    return "over trials" if over == "trials" else "over search time"


def _standing(page: Page, run: Run) -> None:
    """How far the mean over tasks has come at a few numbers of trials."""
    _, shares = curves.shares_of_best(run.results, "trials", run.recorded_best or None)
    counts = [n for n in (16, 32, 64, 128, 256, 512, 1024) if n <= shares.shape[1]]
    at = shares[:, np.array(counts, dtype=int) - 1]
    rows = [
        ["mean", *(f"{value:.3f}" for value in at.mean(axis=0))],
        ["worst task", *(f"{value:.3f}" for value in at.min(axis=0))],
    ]
    first = "best so far / best, after trials"
    page.table([first, *map(str, counts)], rows, texts=(first,))


def _predictions(page: Page, run: Run) -> None:
    drawn = figures.predictions(run.results)
    if drawn is None:
        return
    pairs = [metrics.predicted_and_measured(r.task, r.trials) for r in run.results]
    errors = metrics.prediction_errors(np.concatenate(pairs))
    page.heading(
        "Predicted against measured",
        "What the model expected of each trial before it was run. The tuning set is predicted by "
        "the model of earlier tasks, the search by the model tuned to this task. Trials are those "
        "that the model thought best, not a random sample of the space.",
    )
    count = sum(map(len, pairs))
    caption = (
        f"{count} trials: RMSE {errors['rmse_gflops']:.1f} GFLOPS, {errors['rmse_log2']:.2f} in "
        "log2"
    )
    page.figures({caption: drawn})


def _search_time(page: Page, run: Run) -> None:
    summary = run.summary
    page.heading(
        "Where the search time went",
        "Builds run side by side, so that their own seconds add up to more than the clock's, which "
        "is dealt to builds and runs in proportion; other is waiting, and what a recorded log does "
        "not tell. Pre-training is not in the search time.",
    )
    total = np.sum([figures.time_shares(r.trials) for r in run.results], axis=0)
    own = (summary.build_s, summary.run_s, None, summary.model_s)
    whats = ("building", "running on the hardware", "other", "cost model and search")
    whole = summary.search_s if summary.search_s > 0 else 1.0
    rows = [
        [what, duration(clock), f"{clock / whole:.0%}", _own(seconds)]
        for what, clock, seconds in zip(whats, total, own, strict=True)
    ]
    rows.append(["search time", duration(summary.search_s), "100%", ""])
    rows.append(["pre-training, before it", duration(summary.pretrain_s), "", ""])
    page.table(["part", "clock", "share", "own seconds"], rows, texts=("part",))
    page.figures({"search time": figures.search_time(run.results)})


def _own(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _schedules(page: Page, run: Run) -> None:
    limit = _limit_gflops(run)
    note = "The fastest configuration of each task, as its key and as what it stands for: the "
    note += "factors of each tile from the outermost loop to the innermost. A task's name is that "
    note += "of its function."
    if limit is not None:
        note += f" The arithmetic limit of the hardware is taken as {limit:g} GFLOPS."
    page.heading("Best schedules", note)
    headers = ["task", "name", "weight", "trials", "found at", "GFLOPS", "latency [us]"]
    headers += ["of the limit"] if limit is not None else []
    headers += ["of the recorded best"] if run.recorded_best else []
    rows = []
    names = titles([result.task for result in run.results])
    for name, result in zip(names, run.results, strict=True):
        cells = [name, result.task.name, str(result.task.weight), str(len(result.trials))]
        best = best_trial(result.trials)
        if best is None:
            rows.append([*cells, *["-"] * (len(headers) - 4), "all failed"])
            continue
        gflops = result.task.gflops(best.latency_s)
        place = result.trials.index(best) + 1
        cells += [str(place), f"{gflops:.1f}", f"{best.latency_s * 1e6:.1f}"]
        if limit is not None:
            cells.append(f"{gflops / limit:.0%}")
        if run.recorded_best:
            top = run.recorded_best.get(result.task.key)
            cells.append("-" if top is None else f"{gflops / top:.1%}")
        rows.append([*cells, f"{best.config}\n{_described(result, best.config)}"])
    page.table([*headers, "configuration"], rows, texts=("task", "name"), long="configuration")


def _described(result: SourceTask, config: str) -> str:
    """A configuration in words: each knob with the value it takes."""
    values = result.space.values(result.space.parse(config))
    sizes = dict(zip((knob.name for knob in result.space.knobs), result.space.sizes, strict=True))
    return ", ".join(
        f"{name} {'×'.join(map(str, value))}"
        for name, value in values.items()
        if sizes[name] > KNOBS_WITHOUT_A_CHOICE
    )


def _limit_gflops(run: Run) -> float | None:
    """Arithmetic limit of the hardware, where the configuration says it."""
    if run.origin is None:
        return None
    return run.origin.config.get("hardware", {}).get("limit_gflops")


def _date(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M} UTC"
