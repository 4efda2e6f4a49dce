"""A report as one HTML file: no network, no script, figures inside; read on a desk or a telephone.

For runs (`dgtl.report.html`) and for campaigns alike.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from dgtl.core.files import write_whole
from dgtl.report import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1360px; padding: 1rem; color: #222; background: #fff;
  font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", Arial, sans-serif; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: .3rem 0 .8rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; padding-top: .6rem; border-top: 1px solid #ccc; }
p { max-width: 52rem; margin: .4rem 0 .8rem; }
code { font: 12.5px/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
small, figcaption, .note { color: #555; font-size: 13px; }
figcaption { overflow-wrap: anywhere; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
dl.facts dt { color: #555; }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
.numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr));
  gap: .6rem; margin: 1.2rem 0 0; }
.numbers div { border: 1px solid #ccc; border-radius: 4px; padding: .45rem .7rem; }
.numbers b { display: block; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.numbers span { color: #555; font-size: 13px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18.5rem), 1fr));
  gap: 1.2rem 1.6rem; align-items: start; }
figure { margin: 0; }
.figures > figure { max-width: 34rem; }
.wide { overflow-x: auto; }
.wide > figure { max-width: 62rem; min-width: 36rem; }
.figures, .scroll { margin: .6rem 0 1rem; }
figure img { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .5rem; text-align: right; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid #e4e4e4; }
th { border-bottom: 1px solid #555; font-weight: 600; white-space: normal; vertical-align: bottom; }
th.text, td.text { text-align: left; }
td.text:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 8rem; }
td.long { white-space: normal; min-width: 22rem; text-align: left; }
details { margin: .8rem 0; }
summary { cursor: pointer; }
@media print { body { max-width: none; font-size: 11px; } figure, tr { break-inside: avoid; } }
"""


class Page:
    """Builds a report from top to bottom. Every text given is escaped.

    Args:
        title: of the report.
        facts: what it rests on: command, revision, hardware, date.
    """

    def __init__(self, title: str, facts: Mapping[str, str]):
        self._title = html.escape(title)
        rows = "".join(f"<dt>{html.escape(k)}</dt><dd>{_code(k, v)}</dd>" for k, v in facts.items())
        self._parts = [f"<h1>{self._title}</h1>", f'<dl class="facts">{rows}</dl>']

    def numbers(self, numbers: Mapping[str, str]) -> None:
        """The few numbers that count, each with what it is."""
        boxes = [
            f"<div><b>{html.escape(value)}</b><span>{html.escape(what)}</span></div>"
            for what, value in numbers.items()
        ]
        self._parts.append(f'<div class="numbers">{"".join(boxes)}</div>')

    def heading(self, text: str, note: str = "") -> None:
        """A section begins, with a line that says how to read it."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")
        if note:
            self.text(note)

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f'<p class="note">{html.escape(text)}</p>')

    def figures(
        self, figures: Mapping[str, Figure], *, folded: str = "", wide: bool = False
    ) -> None:
        """Figures with their captions, side by side as far as they fit.

        Args:
            figures: by caption, which is also what is read where it cannot be seen.
            folded: heading of a part that is closed at first; open if empty.
            wide: each takes the whole width; a narrow screen scrolls it sideways.
        """
        shown = []
        for caption, figure in figures.items():
            words = html.escape(caption)
            image = f'<img src="{style.inlined(figure)}" alt="{words}">'
            shown.append(f"<figure>{image}<figcaption>{words}</figcaption></figure>")
        block = f'<div class="{"wide" if wide else "figures"}">{"".join(shown)}</div>'
        if folded:
            summary = f"<summary>{html.escape(folded)}</summary>"
            block = f"<details>{summary}{block}</details>"
        self._parts.append(block)

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        texts: Sequence[str] = (),
        long: str = "",
    ) -> None:
        """A table of numbers, which scrolls sideways where it does not fit.

        Args:
            headers: one per column.
            rows: one text per column.
            texts: headers of columns of words, which start at the left.
            long: header of the column whose words may take several lines; each line of a cell is
                one of its lines, the first in type of equal width.
        """
        classes = ["long" if h == long else "text" if h in texts else "" for h in headers]
        head = _row("th", headers, ["text" if c else "" for c in classes])
        body = "".join(_row("td", row, classes) for row in rows)
        self._parts.append(
            f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'
        )

    def write(self, path: Path) -> None:
        """Writes the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(
            path,
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{self._title}</title><style>{CSS}</style></head><body>\n"
            + "\n".join(self._parts)
            + "\n</body></html>\n",
        )


def _code(name: str, value: str) -> str:
    text = html.escape(value)
    return f"<code>{text}</code>" if name in ("command", "target") else text


def _row(tag: str, cells: Sequence[str], classes: Sequence[str]) -> str:
    shown = []
    for cell, kind in zip(cells, classes, strict=True):
        text = html.escape(cell)
        if kind == "long":
            first, *rest = text.split("\n")
            text = f"<code>{first}</code>" + "".join(f"<br><small>{line}</small>" for line in rest)
        shown.append(f'<{tag} class="{kind}">{text}</{tag}>' if kind else f"<{tag}>{text}</{tag}>")
    return f"<tr>{''.join(shown)}</tr>"
