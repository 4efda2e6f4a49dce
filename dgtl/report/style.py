"""How every figure looks: colours, lines, sizes, and how a figure becomes a file or part of a page.

Colours are those of Okabe and Ito, which tell apart with any colour vision; lines differ in their
dashes and marks in their shapes too, so that a figure reads in grey print. matplotlib is imported
only when something is drawn, and without pyplot: no global state, no window.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1)), (0, (1, 1)))
BAND, GREY, EDGE = "#EEEEEE", "#B0B0B0", "#555555"
"""Of an area behind the data, of what is left over, and of lines that only guide the eye."""

INCHES = (4.4, 2.9)
"""Of a figure: at this size its letters can be read on a telephone."""

DPI = 200
FONT = 8.0
"""Of labels [pt]; ticks and titles are one smaller."""


def line(index: int) -> dict[str, Any]:
    """Colour and dashes of the curve with this index."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "linewidth": 1.5,
    }


def panel(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel, of this size [inches]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    return figure, axes


def tidy(panel: Axes, *, grid: bool = False) -> None:
    """Takes away what is no data: the upper and right spine, long ticks, heavy lines."""
    panel.tick_params(labelsize=FONT - 1, length=2.5, width=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_linewidth(0.6)
    panel.xaxis.label.set_fontsize(FONT)
    panel.yaxis.label.set_fontsize(FONT)
    if grid:
        panel.grid(alpha=0.3, linewidth=0.5)
        panel.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; the format is that of the name."""
    figure.savefig(path, dpi=DPI)


def inlined(figure: Figure) -> str:
    """A figure as the ``src`` of an image: SVG with its letters as paths, the same every time."""
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "dgtl"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(out.getvalue()).decode()}"
