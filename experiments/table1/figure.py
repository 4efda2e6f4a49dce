"""The figure of table 1: how the sum of a network's layers falls over search time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.report import style
from experiments.table1.rows import BASELINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from experiments.table1.outcomes import Outcome


def draw(outcomes: Sequence[Outcome]) -> Figure:
    """Sum of layers over search time, one panel per network, one line per method."""
    from matplotlib.figure import Figure

    networks = list(dict.fromkeys(outcome.network for outcome in outcomes))
    models = list(dict.fromkeys(outcome.model for outcome in outcomes))
    figure = Figure(figsize=(3.1 * max(len(networks), 2), 3.1), layout="constrained")
    panels = figure.subplots(1, len(networks), squeeze=False)[0]
    lines: dict[str, Any] = {}
    for panel, network in zip(panels, networks, strict=True):
        own = [outcome for outcome in outcomes if outcome.network == network]
        for i, model in enumerate(models):
            if same := [outcome for outcome in own if outcome.model == model]:
                seconds, layers = _mean_curve(same)
                look = style.line(i)
                (line,) = panel.plot(seconds / 60, layers * 1e3, drawstyle="steps-post", **look)
                lines.setdefault(model, line)
                if model == BASELINE:
                    panel.axhline(layers[-1] * 1e3, color=style.EDGE, linewidth=0.6)
        style.tidy(panel, grid=True)
        panel.set_xscale("log")
        # What was found at first is many times as slow and would hide where the methods differ.
        ends = [outcome.tasks_s * 1e3 for outcome in own]
        panel.set_ylim(0.95 * min(ends), 1.6 * max(ends))
        panel.set_title(network, fontsize=style.FONT)
        panel.set_xlabel("search time [min]")
    panels[0].set_ylabel("sum of layers [ms]")
    figure.legend(
        lines.values(),
        lines.keys(),
        loc="outside upper center",
        ncols=7,
        fontsize=style.FONT - 1,
        frameon=False,
    )
    return figure


def _mean_curve(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """Search time and sum of layers [2, n] after equal trials, means over seeds [s]."""
    curves = [np.array(outcome.curve()) for outcome in outcomes]
    n = max(curve.shape[1] for curve in curves)
    return np.mean([np.pad(c, ((0, 0), (0, n - c.shape[1])), "edge") for c in curves], axis=0)
