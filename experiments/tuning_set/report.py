"""What `experiments.tuning_set` shows: geometric means and gains, the curves, the page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.report import style
from dgtl.report.curves import shortened
from dgtl.report.page import Page
from dgtl.results import metrics
from experiments.compare.report import markdown
from experiments.compare.searches import COUNTS
from experiments.shared.results import made, sentence, write_origin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.shared.models import Model
    from experiments.tuning_set.curve import Curve

Gains = dict[tuple[str, str, str], metrics.Interval]
"""Ratio of best so far, by method, other method, and ``by_trials`` or ``by_seconds``."""

OVER = {"by_trials": "trials", "by_seconds": "time"}

COLUMNS = 6
"""Panels of layers side by side."""

FIT = 120
"""Characters of a legend that fit side by side."""


def counts(curves: Sequence[Curve]) -> list[int]:
    """Trials at which numbers are given."""
    n = len(curves[0].by_trials)
    return [count for count in COUNTS if count < n] + [n]


def mean_table(curves: Sequence[Curve]) -> list[list[str]]:
    """Geometric mean over layers of the best so far, in GFLOPS; a line per method."""
    at = counts(curves)
    header = [
        "method",
        "layers",
        "seeds",
        *(f"at {n}" for n in at),
        *(f"in time of {n}" for n in at),
    ]
    lines = [header]
    for method in _methods(curves):
        own = [curve for curve in curves if curve.method == method]
        size = [str(len({c.layer for c in own})), str(len({c.seed for c in own}))]
        means = [
            f"{np.exp(np.mean([np.log(getattr(c, over)[n - 1]) for c in own])):.1f}"
            for over in OVER
            for n in at
        ]
        lines.append([method, *size, *means])
    return lines


def gain_table(gains: Gains, at: Sequence[int]) -> list[list[str]]:
    """By how many per cent a method's geometric mean is above another's, with intervals."""
    lines = [["method", "against", "at equal", *(f"at {n}" for n in at)]]
    for (own, other, over), interval in gains.items():
        cells = []
        for n in at:
            bounds = (interval.mean[n - 1], interval.low[n - 1], interval.high[n - 1])
            mean, low, high = (f"{100 * (value - 1):+.1f}" for value in bounds)
            cells.append(f"{mean} [{low}, {high}]")
        lines.append([own, other, OVER[over], *cells])
    return lines


def draw_means(curves: Sequence[Curve]) -> Figure:
    """Geometric mean over layers over trials and over time, with intervals over layers."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    trials = np.arange(1, len(curves[0].by_trials) + 1)
    # Layers differ in what a trial takes: time is in units of each layer's own mean trial.
    mean_trial_s = float(np.mean([curve.trial_s for curve in curves]))
    for panel, over, x in zip(panels, OVER, (trials, trials * mean_trial_s), strict=True):
        for i, method in enumerate(_methods(curves)):
            own = [curve for curve in curves if curve.method == method]
            logs = [np.log(getattr(curve, over)) for curve in own]
            rng = np.random.default_rng(0)
            band = metrics.bootstrap(logs, [curve.layer for curve in own], rng, draws=1000)
            look = style.line(i)
            panel.plot(x, np.exp(band.mean), label=method, **look)
            low, high = np.exp(band.low), np.exp(band.high)
            panel.fill_between(x, low, high, color=look["color"], alpha=0.1, linewidth=0)
        style.tidy(panel, grid=True)
        panel.set_xscale("log")
        panel.set_xlim(x[0], x[-1])
        panel.xaxis.set_minor_formatter(NullFormatter())
    ticks = [1, 2, 4, 8, *counts(curves)]
    panels[0].set_xticks(ticks, [str(tick) for tick in ticks])
    panels[0].minorticks_off()
    panels[0].set_xlabel("trials")
    panels[0].set_ylabel("best so far [GFLOPS], geometric mean of layers")
    panels[1].set_xlabel("search time of a layer [s], layers scaled to the same mean trial")
    _legend(figure, panels[0], FIT)
    return figure


def _legend(figure: Figure, panel: Axes, characters: int) -> None:
    """Names above all panels, as many side by side as fit into a line of so many characters."""
    handles, labels = panel.get_legend_handles_labels()
    fit = characters // (max(map(len, labels)) + 6)
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=max(1, min(fit, len(labels))),
        fontsize=style.FONT,
        frameon=False,
    )


def draw_layers(curves: Sequence[Curve]) -> Figure:
    """Best so far of every layer over trials, means over seeds, a panel each."""
    from matplotlib.figure import Figure

    layers = sorted({curve.layer for curve in curves})
    columns = min(COLUMNS, len(layers))
    rows = math.ceil(len(layers) / columns)
    figure = Figure(figsize=(2.1 * columns + 0.4, 1.5 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(layers) :]:
        panel.set_axis_off()
    for panel, layer in zip(panels, layers, strict=False):
        for i, method in enumerate(_methods(curves)):
            own = [c.by_trials for c in curves if (c.layer, c.method) == (layer, method)]
            mean = np.mean(own, axis=0)
            panel.plot(np.arange(1, len(mean) + 1), mean, label=method, **style.line(i))
        panel.set_xscale("log")
        panel.set_title(shortened(layer.split("/")[0], 32), fontsize=style.FONT - 2, loc="left")
        style.tidy(panel)
    figure.supxlabel("trials", fontsize=style.FONT)
    figure.supylabel("best so far [GFLOPS]", fontsize=style.FONT)
    _legend(figure, panels[0], FIT * columns // COLUMNS)
    return figure


def write(
    curves: Sequence[Curve],
    gains: Gains,
    models: Mapping[str, Sequence[Model]],
    report: Mapping[str, Any],
    out: Path,
) -> str:
    """Writes ``tuning_set.md``, ``.html``, ``.json`` and the figures, and returns the first."""
    means, gained = mean_table(curves), gain_table(gains, counts(curves))
    layers = len({curve.layer for curve in curves})
    note = (
        f"{layers} recorded layers of {report['hardware']}, left out by {report['leave_out']}. "
        "Geometric mean over layers and seeds of the best so far in GFLOPS, after so many trials "
        "and after the seconds that so many mean trials of a layer take; what has found nothing "
        "yet counts as the slowest recorded configuration. Pre-training is not in the time."
    )
    above = (
        "How many per cent a method's geometric mean lies above another's at equal trials and at "
        "equal time, paired by layer and seed; in brackets the 95 % interval of a bootstrap over "
        "layers. An interval above zero: better than by chance."
    )
    facts = made(models, hardware=f"{report['hardware']}, recorded")
    figures = {"": draw_means(curves), "_layers": draw_layers(curves)}
    for suffix, figure in figures.items():
        style.save(figure, out / f"tuning_set{suffix}.png")
    page = Page(f"Tuning sets on recorded layers of {report['hardware']}", facts)
    page.heading("Best so far", note)
    page.table(means[0], means[1:], texts=("method",))
    page.figures({"over trials and over search time": figures[""]}, wide=True)
    page.heading("Gains in per cent", above)
    page.table(gained[0], gained[1:], texts=("method", "against", "at equal"))
    page.heading("Layers")
    caption = "best so far of every layer over trials, means over seeds"
    page.figures({caption: figures["_layers"]}, wide=True)
    page.write(out / "tuning_set.html")
    text = f"{markdown(means, note)}\n{markdown(gained, above)}\n{sentence(facts)}\n"
    (out / "tuning_set.md").write_text(text)
    write_origin(out / "tuning_set.md", models, (curve.seed for curve in curves), facts)
    return text


def _methods(curves: Sequence[Curve]) -> list[str]:
    return list(dict.fromkeys(curve.method for curve in curves))
