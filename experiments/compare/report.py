"""What `experiments.compare` shows: the table of methods, its remark, the curves, the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dgtl.report import style
from dgtl.report.page import Page
from dgtl.results import metrics
from experiments.compare.searches import COUNTS
from experiments.shared.results import markdown_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from dgtl.results.metrics import Interval
    from experiments.compare.searches import Run, Search, Table


FRACTIONS = (
    "Best found as a fraction of the table's best: median and worst are over tables, of means over "
    "seeds; in brackets the 95 % interval of the paired difference."
)


def intervals(searches: Sequence[Search], model: str, reference: str) -> dict[str, Interval]:
    """Mean scores of a method, by trials and by seconds, and their paired differences."""
    rng = np.random.default_rng(0)
    own = {(s.table, s.seed): s for s in searches if s.model == model}
    other = {(s.table, s.seed): s for s in searches if s.model == reference}
    pairs = sorted(own.keys() & other.keys())
    found = {}
    for name in ("score", "score_timed"):
        values = [getattr(search, name) for search in own.values()]
        found[name] = metrics.bootstrap(values, [table for table, _ in own], rng)
        if pairs:
            gains = [getattr(own[p], name) - getattr(other[p], name) for p in pairs]
            found[f"{name}_gain"] = metrics.bootstrap(gains, [table for table, _ in pairs], rng)
    return found


def table_of_methods(
    methods: dict[str, list[Run]],
    tables: dict[str, Table],
    searches: Sequence[Search],
    reference: str,
) -> list[list[str]]:
    """The comparison, a header and one row per method, best score first."""
    n = len(next(iter(tables.values())).baseline)
    counts = [count for count in COUNTS if count <= n]
    found = {model: intervals(searches, model, reference) for model in methods}
    header = [
        "method",
        "seeds",
        *(f"best at {count}" for count in counts),
        "score",
        f"minus {reference}",
        "score in time",
        f"minus {reference}",
        "trials",
        "search [s]",
        "pre-training [s]",
    ]
    lines = [header]
    for model in sorted(methods, key=lambda model: -found[model]["score"].mean):
        own = [search for search in searches if search.model == model]
        summaries = [run.summary for run in methods[model]]
        at = [f"{np.mean([search.curve[count - 1] for search in own]):.3f}" for count in counts]
        scores = [_text(found[model].get(name)) for name in ("score", "score_gain")]
        scores += [_text(found[model].get(name)) for name in ("score_timed", "score_timed_gain")]
        lines.append(
            [
                model,
                str(len(summaries)),
                *at,
                *scores,
                f"{np.mean([search.trials for search in own]):.0f}",
                f"{np.mean([search.search_s for search in own]):.0f}",
                f"{np.mean([summary.pretrain_s for summary in summaries]):.0f}",
            ]
        )
    expected = [np.mean([t.baseline[count - 1] for t in tables.values()]) for count in counts]
    random = ["expected of random search", "", *(f"{value:.3f}" for value in expected), "0", ""]
    lines.append([*random, "0", "", *[""] * 3])
    return lines


def table_of_fractions(searches: Sequence[Search], reference: str) -> list[list[str]]:
    """Best found as a fraction of the table's best, at equal trials: a header, one row per count
    and method. Median and worst are over tables, of means over seeds."""
    lines = [["trials", "method", "mean", "median", "worst table", f"minus {reference}"]]
    models = list(dict.fromkeys(search.model for search in searches))
    for count in (count for count in COUNTS if count <= len(searches[0].curve)):
        at = {(s.model, s.table, s.seed): float(s.curve[count - 1]) for s in searches}
        rows = []
        for model in models:
            own = {key[1:]: value for key, value in at.items() if key[0] == model}
            tables = sorted({table for table, _ in own})
            means = [np.mean([v for (t, _), v in own.items() if t == table]) for table in tables]
            pairs = sorted(pair for pair in own if (reference, *pair) in at)
            gain = (
                ""
                if not pairs
                else _text(
                    metrics.bootstrap(
                        [own[pair] - at[(reference, *pair)] for pair in pairs],
                        [table for table, _ in pairs],
                        np.random.default_rng(0),
                    ),
                    4,
                )
            )
            numbers = (np.mean(means), np.median(means), np.min(means))
            rows.append((numbers[0], [model, *(f"{n:.4f}" for n in numbers), gain]))
        rows.sort(key=lambda row: -row[0])
        lines += [[str(count), *cells] for _, cells in rows]
    return lines


def remark(methods: dict[str, list[Run]], tables: dict[str, Table]) -> str:
    """What the comparison rests on, and how it is read."""
    report = next(iter(methods.values()))[0].report
    outside = sum(run.report["asked_outside"] for same in methods.values() for run in same)
    trials = sum(run.summary.trials for same in methods.values() for run in same)
    answer = {
        "pool": "every search was confined to the recorded configurations",
        "nearest": f"{outside} of {trials} trials were of configurations never recorded, answered "
        "by the nearest recorded one",
        "refuse": f"{outside} of {trials} trials were of configurations never recorded: refused, "
        "at no cost",
    }[report["outside"]]
    return (
        f"{len(tables)} tables of {report['hardware']}, left out by {report['leave_out']}; "
        f"{answer}. Means over tables and seeds; best: throughput as a fraction of the table's "
        "best after so many trials. Score: 0 is random search, 1 an oracle; in brackets the 95 % "
        "interval of a bootstrap over tables. Pre-training is not in the search time."
    )


def markdown(lines: Sequence[Sequence[str]], note: str) -> str:
    """A table and a remark below it."""
    return f"{markdown_table(lines)}\n\n{note}\n"


def _text(interval: Interval | None, digits: int = 3) -> str:
    if interval is None:
        return ""
    mean, low, high = (f"{n:.{digits}f}" for n in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"


def draw(tables: dict[str, Table], searches: Sequence[Search]) -> Figure:
    """Best so far over trials and over search time, means over tables and seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    by_trials, by_seconds = figure.subplots(1, 2, sharey=True)
    counts = np.arange(1, len(next(iter(tables.values())).baseline) + 1)
    mean_trial_s = float(np.mean([table.trial_s for table in tables.values()]))
    models = list(dict.fromkeys(search.model for search in searches))
    rng = np.random.default_rng(0)
    for panel, name, random, x in (
        (by_trials, "curve", "baseline", counts),
        (by_seconds, "timed", "timed", counts * mean_trial_s),
    ):
        for i, model in enumerate(models):
            own = [search for search in searches if search.model == model]
            curves = np.array([getattr(search, name) for search in own])
            band = metrics.bootstrap(curves, [search.table for search in own], rng, draws=1000)
            look = style.line(i)
            panel.plot(x, band.mean, label=model, **look)
            panel.fill_between(x, band.low, band.high, color=look["color"], alpha=0.12, linewidth=0)
        expected = np.mean([getattr(table, random) for table in tables.values()], axis=0)
        panel.plot(x, expected, ":", color=style.EDGE, label="expected of random search")
        style.tidy(panel, grid=True)
        # Half of the story is in the first tenth of the trials.
        panel.set_xscale("log")
        panel.set_xlim(x[0], x[-1])
    ticks = [1, 2, 4, 8, *COUNTS]
    by_trials.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    by_trials.set_xlim(1, counts[-1])
    by_trials.set_xlabel("trials")
    by_trials.set_ylabel("best so far / best of the table")
    by_seconds.set_xlabel("search time [s], tables scaled to the same mean trial")
    figure.legend(
        *by_trials.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    return figure


def write_page(
    path: Path,
    methods: dict[str, list[Run]],
    lines: Sequence[Sequence[str]],
    note: str,
    fractions: Sequence[Sequence[str]],
    figure: Figure,
    facts: Mapping[str, str],
) -> None:
    """The comparison as one HTML file, with what it rests on."""
    hardware = next(iter(methods.values()))[0].report["hardware"]
    page = Page(f"Methods on recorded tables of {hardware}", facts)
    page.heading("Methods", note)
    page.table(lines[0], lines[1:], texts=("method",))
    page.heading("At equal trials", FRACTIONS)
    page.table(fractions[0], fractions[1:], texts=("method",))
    page.heading("Best so far", "Means over tables and seeds, with their 95 % intervals.")
    page.figures({"over trials and over search time": figure}, wide=True)
    page.write(path)
