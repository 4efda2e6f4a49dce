"""Writes docs/results.md: every table of ``results/``, with its command and revision.

    python -m experiments.results_page

A test compares the page with the results. The tables are shortened: the files that a section names
hold all columns.
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from experiments.readme import ROOT, comparison
from experiments.shared.results import markdown_table

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "results.md"

HEAD = """# Results

This page is made by `python -m experiments.results_page` from the files in `results/`; do not edit
it. Each section names the revision that its numbers were measured at;
`python -m experiments.status` says which model made each, where it was kept, and if it is today's.
[reproduce.md](reproduce.md) has the commands, [measurement.md](measurement.md) what the numbers can
and cannot tell, and [negative-results.md](negative-results.md) what did not help.
"""

COMPARISONS = {
    "compare": "Recorded tables, Intel Xeon, one seed",
    "five_seeds/compare": "Recorded tables, Intel Xeon, five seeds",
    "epyc/compare": "Recorded tables, AMD EPYC",
    "gtx1650/compare": "Recorded tables, GTX 1650",
}

COMPARE_NOTE = (
    "Best found as a fraction of the table's best: mean / median over tables, of means over seeds. "
    "Searches are confined to the recorded configurations; no method learns from the layer (GTX "
    "1650: the network) that it searches."
)

NETWORKS = {
    "network": "Recorded networks, Intel Xeon",
    "epyc/network": "Recorded networks, AMD EPYC",
    "gtx1650/network": "Recorded networks, GTX 1650",
}
"""Results of `experiments.network`; a section for each that is there."""

CALIBRATIONS = {
    "calibration": "Layers of the Intel Xeon",
    "epyc/calibration": "Layers of the AMD EPYC",
}
"""Results of `experiments.calibration`; a section for each that is there."""

LATENCY = "Tuned for a minute each"
"""Result of `experiments.latency`."""

CAMPAIGNS = {
    "table1": "Table 1, AMD EPYC, four cores",
    "xeon/table1": "Table 1, Intel Xeon, four cores",
    "table1_paper": "Table 1 at AutoTVM's own budget, AMD EPYC",
    "table1_gpu": "Table 1 on recorded trials, GTX 1650",
}

CAMPAIGN_NOTE = (
    "Reductions are against AutoTVM of the same campaign; a negative one is slower. HV is the "
    "product of both reductions, times 100. Where AutoTVM ends near the arithmetic limit, or near "
    "the best recorded row, there is little latency left to reduce: then the time to AutoTVM's "
    "best counts (empty: never reached). `search −% at paper` is what the curves let expect at "
    "1,000 trials a task. `xgb_transfer` is the control, `gga` a reconstruction."
)

CAMPAIGN_COLUMNS = {
    "network": ("network", None),
    "model": ("method", None),
    "seeds": ("seeds", None),
    "trials": ("trials", 1),
    "search_h": ("search [min]", 60),
    "latency_ms": ("latency [ms]", 1),
    "search_reduction": ("search −%", 100),
    "latency_reduction": ("latency −%", 100),
    "hv": ("HV", 1),
    "reach_reduction": ("to AutoTVM's best −%", 100),
    "paper_search_reduction": ("search −% at paper", 100),
}
"""Columns of a campaign: their header, and what a number is multiplied by."""


def campaign(path: Path) -> str:
    """The table of one result of `experiments.table1`, shortened."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [[header for header, _ in CAMPAIGN_COLUMNS.values()]]
    for row in rows:
        lines.append([_cell(row[name], scale) for name, (_, scale) in CAMPAIGN_COLUMNS.items()])
    return markdown_table(lines)


def _cell(text: str, scale: float | None) -> str:
    if scale is None or not text:
        return text
    value = float(text) * scale
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def made_by(text: str) -> str:
    """Command, revision, hardware and date, from the end of a result's markdown, as a list."""
    end = re.sub(r"^- ", "", text.strip().rpartition("\n\n")[2].strip().rstrip("."))
    parts = re.split(r"\n- |; (?=revision|model|hardware|data|date)", end)
    lines = []
    for part in parts:
        name, _, value = part.partition(": ") if ": " in part[:12] else part.partition(" ")
        lines.append(f"- {name}: `{value}`" if name == "command" else f"- {name}: {value}")
    return "\n".join(lines)


def verbatim(text: str) -> str:
    """What a result's markdown says before the lines about what made it."""
    return text.strip().rpartition("\n\n")[0]


def page(results: Path) -> str:
    """The whole of docs/results.md."""
    parts = [HEAD.strip(), f"## Methods on recorded tables\n\n{COMPARE_NOTE}"]
    for name, title in COMPARISONS.items():
        parts.append(_section(results, name, title, comparison(results / f"{name}.csv")))
    for heading, titles in (
        ("Recorded networks searched as one", NETWORKS),
        ("How sure the deep GP is", CALIBRATIONS),
    ):
        if there := [name for name in titles if (results / f"{name}.md").exists()]:
            parts.append(f"## {heading}")
            parts += [_said(results, name, titles[name]) for name in there]
    if (results / "latency.md").exists():
        parts += ["## Networks against ONNX Runtime", _said(results, "latency", LATENCY)]
    parts.append(f"## The paper's table\n\n{CAMPAIGN_NOTE}")
    for name, title in CAMPAIGNS.items():
        parts.append(_section(results, name, title, campaign(results / f"{name}.csv")))
    parts.append("## Ablations")
    for name, title in {
        "tuning_set": "The model's tuning set against a random one, GTX 1650",
        "rmse": "Prediction of new layers without a trial",
    }.items():
        parts.append(_said(results, name, title))
    return "\n\n".join(parts) + "\n"


def _said(results: Path, name: str, title: str) -> str:
    return _section(results, name, title, verbatim((results / f"{name}.md").read_text()))


def _section(results: Path, name: str, title: str, table: str) -> str:
    about = made_by((results / f"{name}.md").read_text())
    suffixes = [s for s in (".csv", ".html") if (results / f"{name}{s}").exists()]
    files = ", ".join([f"`results/{name}.md`", *(f"`{suffix}`" for suffix in suffixes)])
    return f"### {title}\n\n{table}\n\n{about}\n- all columns: {files}"


def main() -> None:
    PAGE.write_text(page(ROOT / "results"))


if __name__ == "__main__":
    main()
