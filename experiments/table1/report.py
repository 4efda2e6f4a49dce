"""What `experiments.table1` shows: the table as CSV, markdown, LaTeX and HTML, and the curves."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, Any

from dgtl.report import style
from dgtl.report.page import Page
from experiments.shared.results import markdown_table, write_csv
from experiments.table1 import published
from experiments.table1.figure import draw
from experiments.table1.published import Published
from experiments.table1.rows import BASELINE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from experiments.table1.outcomes import Outcome
    from experiments.table1.rows import Row

FIGURES = ("search_h", "latency_ms", "search_reduction", "latency_reduction", "hv")
FURTHER = ("reach_h", "reach_reduction", "paper_search_reduction", "pretrain_h", "limit_share")
PUBLISHED = tuple(field.name for field in dataclasses.fields(Published))

HEADERS = (
    "network",
    "method",
    "seeds",
    "trials",
    "search [h]",
    "latency [ms]",
    "of the limit",
    "search −%",
    "latency −%",
    "HV",
    "HV at most",
    "to AutoTVM's best [h]",
    "to AutoTVM's best −%",
    "search −% at paper",
    "pre-training [h]",
    "published* search [h]",
    "published* latency [ms]",
    "published* search −%",
    "published* latency −%",
    "published* HV",
)


def write_all(
    out: Path,
    name: str,
    rows: Sequence[Row],
    outcomes: Sequence[Outcome],
    facts: Mapping[str, str],
    remarks: Sequence[str],
) -> str:
    """Writes ``NAME.csv``, ``.md``, ``.tex``, ``.html`` and the curves, and returns the markdown.

    Args:
        out: folder, made if absent.
        name: of the files.
        rows: of the table.
        outcomes: whose curves are drawn.
        facts: command, revision, model hashes, hardware, date.
        remarks: what else a reader has to know.
    """
    out.mkdir(parents=True, exist_ok=True)
    notes = [*explained(rows), *remarks]
    _write_csv(out / f"{name}.csv", rows, facts)
    table = _without_empty_columns([list(HEADERS), *map(_cells, rows)])
    made = [f"{what}: {text}" for what, text in facts.items()]
    text = markdown(table, notes, made)
    (out / f"{name}.md").write_text(text)
    (out / f"{name}.tex").write_text(latex(table, [*notes, *made]))
    figure = draw(outcomes)
    for kind in ("png", "pdf"):
        style.save(figure, out / f"{name}_curves.{kind}")
    _write_page(out / f"{name}.html", rows, table, notes, facts, figure)
    return text


def explained(rows: Sequence[Row]) -> list[str]:
    """How the table is read, as paragraphs."""
    notes = [
        "Means over seeds, in brackets Student's 95 % interval of that mean; one seed has "
        "none. Reductions and HV are against AutoTVM of the same campaign and seed; HV is the "
        "product of both reductions, as fractions, times 100. Pre-training is not in the search "
        "time.",
        "To AutoTVM's best: search time until the layers, tuned side by side with equal trials, "
        "sum to no more than AutoTVM's at its end; its reduction is against AutoTVM's whole search "
        "time, and where not all seeds came there, how many did. Search −% at paper: expected "
        "against AutoTVM at 1,000 trials a task, stopped after 600 in vain, which it needs at "
        "least after its best found here, at the mean cost of its trials.",
        f"* Published: {published.SOURCE}. Not comparable in hours or milliseconds.",
    ]
    shares = {
        row.network: row.figures["limit_share"].mean
        for row in rows
        if row.model == BASELINE and "limit_share" in row.figures
    }
    if shares:
        stand = ", ".join(f"{network} at {share:.0%}" for network, share in shares.items())
        notes.append(
            f"AutoTVM stands at this share of the machine's arithmetic limit: {stand}. No latency "
            "can fall below the limit; HV at most is that of this search time with a latency at "
            "it. Where there is little room, time to AutoTVM's best is the figure that counts."
        )
    return notes


def record(row: Row) -> dict[str, Any]:
    """A row of ``table1.csv``: fractions, hours, milliseconds; what there is none of is empty."""
    line: dict[str, Any] = {
        "network": row.network,
        "model": row.model,
        "seeds": len(row.seeds),
        "trials": round(row.trials, 1),
    }
    for name in (*FIGURES, *FURTHER):
        found = row.figures.get(name)
        line[name] = "" if found is None else _number(found.mean)
    for name in (*FIGURES, *FURTHER):
        found = row.figures.get(name)
        for bound in ("low", "high"):
            line[f"{name}_{bound}"] = "" if found is None else _number(getattr(found, bound))
    line["reached"] = f"{row.reached}/{row.compared}" if row.compared else ""
    line["hv_at_most"] = _number(row.figures["hv_room"].mean) if "hv_room" in row.figures else ""
    other = published.TABLE_1.get((row.network, row.model), Published())
    for name in PUBLISHED:
        value = getattr(other, name)
        line[f"published_other_hardware_{name}"] = "" if value is None else value
    return line


def _write_csv(path: Path, rows: Sequence[Row], facts: Mapping[str, str]) -> None:
    lines = [{**record(row), **facts} for row in rows]
    write_csv(path, lines)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _cells(row: Row) -> list[str]:
    other = published.TABLE_1.get((row.network, row.model), Published())
    reach = _text(row, "reach_h")
    if row.reached < row.compared:
        reach = f"with {row.reached} of {row.compared} seeds" if row.reached else "never"
    seeds = str(len(row.seeds))
    if row.compared < len(row.seeds):
        seeds += f" ({row.compared} beside AutoTVM)"
    return [
        row.network,
        row.model,
        seeds,
        f"{row.trials:.0f}",
        _text(row, "search_h"),
        _text(row, "latency_ms"),
        _text(row, "limit_share", 100, "%", bounds=False),
        _text(row, "search_reduction", 100),
        _text(row, "latency_reduction", 100),
        _text(row, "hv"),
        _text(row, "hv_room", bounds=False),
        reach,
        _text(row, "reach_reduction", 100),
        _text(row, "paper_search_reduction", 100),
        _text(row, "pretrain_h", bounds=False),
        _plain(other.search_h),
        _plain(other.latency_ms),
        _plain(other.search_reduction, 100),
        _plain(other.latency_reduction, 100),
        _plain(other.hv),
    ]


def _without_empty_columns(table: Sequence[Sequence[str]]) -> list[list[str]]:
    """A table, its header first, without the columns that say nothing of any row."""
    columns = [column for column in zip(*table, strict=True) if any(column[1:])]
    return [list(line) for line in zip(*columns, strict=True)]


def _text(row: Row, name: str, scale: float = 1, unit: str = "", *, bounds: bool = True) -> str:
    found = row.figures.get(name)
    if found is None:
        return ""
    mean = f"{_short(scale * found.mean)}{unit}"
    if not bounds or math.isnan(found.low):
        return mean
    return f"{mean} [{_short(scale * found.low)}, {_short(scale * found.high)}]"


def _plain(value: float | None, scale: float = 1) -> str:
    return "" if value is None else _short(scale * value)


def _short(value: float) -> str:
    """Three digits, all that stand before the point, and at most four behind it."""
    if abs(value) < 0.5e-4:
        return "0"
    rounded = abs(float(f"{value:.3g}"))
    places = min(max(2 - math.floor(math.log10(rounded)), 0), 4)
    return f"{value:.{places}f}"


def markdown(table: Sequence[Sequence[str]], notes: Sequence[str], made: Sequence[str]) -> str:
    """The table, what it means, and what made it."""
    return (
        "\n\n".join([markdown_table(table), *notes, "\n".join(f"- {line}" for line in made)]) + "\n"
    )


def latex(table: Sequence[Sequence[str]], comments: Sequence[str]) -> str:
    """The table as a ``tabular`` that needs no package; what it means as comments."""
    body = []
    for before, line in itertools.pairwise(table):
        if before[0] != line[0]:
            body.append(r"\hline")
        body.append(" & ".join(map(_escaped, line)) + r" \\")
    head = " & ".join(map(_escaped, table[0])) + r" \\"
    return "\n".join(
        [
            *(f"% {comment}" for comment in comments),
            rf"\begin{{tabular}}{{ll{'r' * (len(table[0]) - 2)}}}",
            r"\hline",
            head,
            *body,
            r"\hline",
            r"\end{tabular}",
            "",
        ]
    )


def _escaped(text: str) -> str:
    for sign in ("%", "_", "&", "#"):
        text = text.replace(sign, rf"\{sign}")
    return text.replace("−", "$-$")


def _write_page(
    path: Path,
    rows: Sequence[Row],
    table: Sequence[Sequence[str]],
    notes: Sequence[str],
    facts: Mapping[str, str],
    figure: Figure,
) -> None:
    page = Page(f"Search time and latency on {facts['hardware']}", facts)
    page.numbers(
        {
            f"HV of dgp, {row.network}": _text(row, "hv", bounds=False)
            for row in rows
            if row.model == "dgp" and "hv" in row.figures
        }
    )
    page.heading("Table 1")
    page.table(table[0], table[1:], texts=("network", "method"))
    for note in notes:
        page.text(note)
    page.heading(
        "Sum of layers over search time",
        "With equal trials on every layer, means over seeds; the thin line is where AutoTVM ends.",
    )
    page.figures({"weight x best latency, summed, over search time": figure}, wide=True)
    page.write(path)
