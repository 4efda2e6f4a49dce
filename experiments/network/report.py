"""What `experiments.network` shows: over all networks, for each, the curves, the page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dgtl.report import style
from dgtl.report.page import Page
from dgtl.results import metrics
from experiments.network.searches import CAP, SECONDS, WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from dgtl.results.metrics import Interval
    from experiments.compare.searches import Run
    from experiments.network.searches import Network, Search

TICKS = (0, 1, 2, 5, 10, 20, 50, 100)
"""Of the latency above the best recorded [%]."""

TICKS_S = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Of search time [s]."""

Table = tuple[str, list[list[str]], str]
"""A title, a header with rows, and a remark."""


def gains(
    searches: Sequence[Search],
    method: str,
    reference: str,
    measure: Callable[[Search], float],
) -> Interval | None:
    """Mean of a measure minus the reference's, paired by network and seed; None without a pair.

    Its interval is a bootstrap over networks; of a single network, over seeds.
    """
    of = [
        {(s.network, s.seed): measure(s) for s in searches if s.method == name}
        for name in (method, reference)
    ]
    pairs = sorted(of[0].keys() & of[1].keys())
    if not pairs:
        return None
    values = [of[0][pair] - of[1][pair] for pair in pairs]
    return metrics.bootstrap(values, [network for network, _ in pairs], np.random.default_rng(0))


def restricted_s(search: Search, within: float, horizon_s: float) -> float:
    """Seconds until so near to the best recorded, at most the horizon: always known."""
    return min(search.reached_s(within), horizon_s)


def time_ratio(
    searches: Sequence[Search],
    method: str,
    reference: str,
    within: float,
    horizons_s: Mapping[str, float],
) -> Interval | None:
    """Geometric mean of `restricted_s` over the reference's, see `gains`."""
    found = gains(
        searches,
        method,
        reference,
        lambda s: math.log(restricted_s(s, within, horizons_s[s.network])),
    )
    if found is None:
        return None
    return metrics.Interval(*(math.exp(x) for x in (found.mean, found.low, found.high)))


def table_of_methods(
    methods: Mapping[str, Sequence[Run]],
    searches: Sequence[Search],
    horizons_s: Mapping[str, float],
    reference: str,
) -> list[list[str]]:
    """Methods over all networks, a header and one row each, least area first."""
    header = ["method", "searches"]
    for within in WITHIN:
        header += [f"within {100 * within:g} %", f"time / {reference}"]
    header += ["area [%]", f"minus {reference}", "search [s]", "of it model [s]"]
    header += ["pre-training [s]"]
    rows = []
    for method, runs in methods.items():
        own = [search for search in searches if search.method == method]
        cells = [method, str(len(own))]
        for within in WITHIN:
            cells.append(_reached(own, within, horizons_s))
            cells.append(_text(time_ratio(searches, method, reference, within, horizons_s), 2))
        area = float(np.mean([100 * s.area(horizons_s[s.network]) for s in own]))
        gain = gains(searches, method, reference, lambda s: 100 * s.area(horizons_s[s.network]))
        seconds = (
            np.mean([s.search_s for s in own]),
            np.mean([s.model_s for s in own]),
            np.mean([run.summary.pretrain_s for run in runs]),
        )
        cells += [f"{area:.2f}", _text(gain, 2), *(f"{mean:.0f}" for mean in seconds)]
        rows.append((area, cells))
    rows.sort(key=lambda row: row[0])
    return [header, *(cells for _, cells in rows)]


def table_of_networks(
    searches: Sequence[Search], horizons_s: Mapping[str, float]
) -> list[list[str]]:
    """Every method on every network, a header and one row each, least area first."""
    seconds = [second for second in SECONDS if second <= max(horizons_s.values())]
    header = ["network", "method", *(f"within {100 * within:g} % [s]" for within in WITHIN)]
    header += [*(f"after {second} s" for second in seconds), "at the horizon", "area [%]"]
    rows = []
    for network in dict.fromkeys(search.network for search in searches):
        horizon_s = horizons_s[network]
        for method in dict.fromkeys(search.method for search in searches):
            own = [s for s in searches if (s.network, s.method) == (network, method)]
            if not own:
                continue
            cells = [network, method]
            for within in WITHIN:
                mean_s = np.mean([restricted_s(s, within, horizon_s) for s in own])
                cells.append(f"{mean_s:.1f} ({_reached(own, within, horizons_s)})")
            for second in (*seconds, horizon_s):
                ratio = 1.0 + float(np.median([s.after(second) for s in own]))
                known = second <= horizon_s
                cells.append("" if not known else f"{ratio:.3f}" if ratio < math.inf else "none")
            area = float(np.mean([100 * s.area(horizon_s) for s in own]))
            rows.append((network, area, [*cells, f"{area:.2f}"]))
    rows.sort(key=lambda row: row[:2])
    return [header, *(cells for _, _, cells in rows)]


def remark(reference: str) -> str:
    """How the comparison over all networks is read."""
    return (
        "Within x %: in how many searches, up to their network's horizon, the sum of layers came "
        f"so near to the best recorded. Time / {reference}: ratio of the seconds until then, "
        "paired by network and seed, as a geometric mean with the 95 % interval of a bootstrap "
        "over networks (of one network: over seeds). What was not reached counts as the horizon, "
        "for both alike: no time is guessed, and a ratio is the nearer to 1 the more searches fell "
        "short. Area: mean over the seconds up to the horizon of latency / best recorded - 1, "
        f"which counts up to {100 * CAP:g} %, as do the seconds until every layer has a trial that "
        "ran. Search time is of the whole search. The model's seconds are of the machine that "
        "replayed, pre-training is not in the search time."
    )


def per_network(
    networks: Mapping[str, Network], horizons_s: Mapping[str, float], hardware: str
) -> str:
    """Which networks there are, and how their table is read."""
    said = "; ".join(
        f"{n.name}: {len(n.weights)} recorded layers, best {1e3 * n.best_s:.3f} ms, horizon "
        f"{horizons_s[n.name]:.1f} s"
        for n in networks.values()
    )
    return (
        f"Recorded on {hardware}. {said}. Within x %: mean seconds up to the horizon, and in "
        "brackets how many searches came so near. After so many seconds: median over seeds of "
        "latency / best recorded; none: half of the searches had a layer without a trial that ran."
    )


def _reached(searches: Sequence[Search], within: float, horizons_s: Mapping[str, float]) -> str:
    reached = sum(s.reached_s(within) <= horizons_s[s.network] for s in searches)
    return f"{reached}/{len(searches)}"


def _text(interval: Interval | None, digits: int) -> str:
    if interval is None:
        return ""
    mean, low, high = (f"{n:.{digits}f}" for n in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"


def draw(
    networks: Mapping[str, Network],
    searches: Sequence[Search],
    horizons_s: Mapping[str, float],
) -> Figure:
    """Median latency over the best recorded, over seconds of search: one panel per network.

    A method has its colour, a scheduler its dashes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.0 + 3.6 * len(networks), 4.4), layout="constrained")
    panels = np.ravel(figure.subplots(1, len(networks), sharey=True))
    methods = list(dict.fromkeys(search.method for search in searches))
    for panel, name in zip(panels, networks, strict=True):
        first_s = min(s.reached_s(CAP) for s in searches if s.network == name)
        x = np.geomspace(min(first_s, horizons_s[name] / 2), horizons_s[name], 400)
        for method in methods:
            own = [s.after(x) for s in searches if (s.network, s.method) == (name, method)]
            if own:
                median = 100 * np.median(own, axis=0)
                panel.plot(x, median, label=method, **_look(method, methods))
        for within in WITHIN:
            panel.axhline(100 * within, color=style.GREY, linewidth=0.6, zorder=0)
        style.tidy(panel, grid=True)
        # Linear below the last mark, for a search may end at the best recorded.
        panel.set_yscale("symlog", linthresh=100 * WITHIN[-1], linscale=0.4)
        panel.set_ylim(0, 100 * CAP)
        panel.set_yticks(TICKS, list(map(str, TICKS)))
        panel.set_xscale("log")
        panel.set_xlim(x[0], x[-1])
        ticks = [tick for tick in TICKS_S if x[0] <= tick <= x[-1]]
        panel.set_xticks(ticks, list(map(str, ticks)))
        panel.minorticks_off()
        panel.set_xlabel("search time [s]")
        panel.set_title(name, fontsize=style.FONT)
    panels[0].set_ylabel("latency above the best recorded [%]")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
        fontsize=7,
        frameon=False,
    )
    return figure


def _look(method: str, methods: Sequence[str]) -> dict[str, object]:
    model, _, scheduler = method.partition("/")
    models = list(dict.fromkeys(name.partition("/")[0] for name in methods))
    schedulers = sorted({name.partition("/")[2] for name in methods})
    return {
        "color": style.COLOURS[models.index(model) % len(style.COLOURS)],
        "linestyle": style.DASHES[schedulers.index(scheduler) % len(style.DASHES)],
        "linewidth": 1.3,
    }


def write_page(
    path: Path,
    hardware: str,
    tables: Sequence[Table],
    figure: Figure,
    facts: Mapping[str, str],
) -> None:
    """The comparison as one HTML file, with what it rests on."""
    page = Page(f"Recorded networks of {hardware}, searched as one", facts)
    for title, lines, note in tables:
        page.heading(title, note)
        page.table(lines[0], lines[1:], texts=("network", "method"))
    page.heading("Latency over search time", "Medians over seeds.")
    page.figures({"latency above the best recorded over search time": figure}, wide=True)
    page.write(path)
