"""What `experiments.rmse` shows: the table of models, the figure, the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dgtl.report import style
from dgtl.report.page import Page
from dgtl.results import metrics
from experiments.compare.report import markdown
from experiments.shared.models import Model, Models
from experiments.shared.results import made, sentence, write_origin
from experiments.shared.zero_shot import EXACT_ROWS, MODELS, Learned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from experiments.rmse.result import Result

REFERENCE = "xgb"
"""Whom differences are taken to."""

HEADER = (
    *("data", "left out", "model", "layers", "seeds", "source trials", "RMSE [GFLOPS]"),
    f"minus {REFERENCE} [GFLOPS]",
    "RMSE [log2]",
    f"minus {REFERENCE} [log2]",
    *("rank correlation", "top 1", "top 10"),
)

NOTE = (
    "Models predict layers of which nothing was learned from, without a trial of them. Means over "
    "layers and seeds of the score of each layer: RMSE of throughput in GFLOPS and in log2, rank "
    "correlation, best of the top 1 and top 10 predictions over the best recorded. A prediction in "
    "GFLOPS is 2 to the power of that in log2, times one factor for all models that makes a mean "
    "of this median: by least squares on the source layers, left out in folds. In brackets the "
    "95 % interval of a bootstrap over layers of the difference, paired by layer and seed: below "
    "zero, the model's error is the smaller one. All models learn from the same rows and features, "
    f"but the exact GP from {EXACT_ROWS:,} of them. Scores of folds of layers are pooled."
)

Scores = dict[tuple[str, int], dict[str, float]]
"""By layer and seed."""


def pooled(results: Sequence[Result]) -> dict[tuple[str, str], dict[str, list[Result]]]:
    """Results by data and what is left out, and by model; folds of layers are one."""
    found: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for result in results:
        part = "layers" if result.held_out.startswith("layers ") else result.held_out
        found.setdefault((result.dataset, part), {}).setdefault(result.model, []).append(result)
    return {
        place: {model: by_model[model] for model in MODELS if model in by_model}
        for place, by_model in sorted(found.items())
    }


def by_layer(results: Sequence[Result]) -> Scores:
    """The scores of every layer with every seed."""
    return {(key, r.seed): scores for r in results for key, scores in r.layers.items()}


def difference(own: Scores, other: Scores, column: str) -> metrics.Interval | None:
    """Mean of ``own`` minus ``other`` where both have the score; None where they never do."""
    pairs = sorted(own.keys() & other.keys())
    if not pairs:
        return None
    gains = [own[pair][column] - other[pair][column] for pair in pairs]
    return metrics.bootstrap(gains, [layer for layer, _ in pairs], np.random.default_rng(0))


def table(results: Sequence[Result]) -> list[list[str]]:
    """A header, and a line per data, part left out and model."""
    lines = [list(HEADER)]
    for (dataset, part), models in pooled(results).items():
        reference = by_layer(models.get(REFERENCE, []))
        for model, own in models.items():
            scores = by_layer(own)
            mean = {c: float(np.mean([s[c] for s in scores.values()])) for c in _columns(scores)}
            minus = {
                c: "" if model == REFERENCE else _text(difference(scores, reference, c), digits)
                for c, digits in (("rmse_gflops", 1), ("rmse_log2", 3))
            }
            lines.append(
                [
                    dataset,
                    part,
                    model,
                    str(len({layer for layer, _ in scores})),
                    str(len({result.seed for result in own})),
                    f"{np.mean([result.source_trials for result in own]):.0f}",
                    f"{mean['rmse_gflops']:.1f}",
                    minus["rmse_gflops"],
                    f"{mean['rmse_log2']:.3f}",
                    minus["rmse_log2"],
                    *(f"{mean[column]:.3f}" for column in ("spearman", "top1", "top10")),
                ]
            )
    return lines


def draw(results: Sequence[Result]) -> Figure:
    """RMSE in log2 of every model, a panel per data, a row per part left out."""
    from matplotlib.figure import Figure

    found = pooled(results)
    names = list(dict.fromkeys(dataset for dataset, _ in found))
    shown = [model for model in MODELS if any(model in models for models in found.values())]
    heights = [sum(dataset == name for dataset, _ in found) for name in names]
    figure = Figure(figsize=(7.5, 1.0 + 0.6 * sum(heights)), layout="constrained")
    panels = figure.subplots(len(names), 1, squeeze=False, height_ratios=heights).ravel()
    for panel, name in zip(panels, names, strict=True):
        parts = [part for dataset, part in found if dataset == name]
        for i, model in enumerate(shown):
            rows = [row for row, part in enumerate(parts) if model in found[name, part]]
            scores = [by_layer(found[name, parts[row]][model]) for row in rows]
            errors = [np.mean([s["rmse_log2"] for s in own.values()]) for own in scores]
            # Each model has its own height, so that equal errors can be told apart.
            places = [row + 0.11 * (i - (len(shown) - 1) / 2) for row in rows]
            look = {"color": style.COLOURS[i], "marker": MARKS[i], "markersize": 5}
            panel.plot(errors, places, linestyle="", label=model, **look)
        panel.set_yticks(range(len(parts)), parts)
        panel.set_ylim(len(parts) - 0.5, -0.5)
        panel.set_title(name, fontsize=style.FONT, loc="left")
        style.tidy(panel, grid=True)
    panels[-1].set_xlabel("RMSE of log2 throughput, mean over layers")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=6, fontsize=style.FONT, frameon=False
    )
    return figure


MARKS = "o^vDsX"


def write(results: Sequence[Result], out: Path) -> str:
    """Writes ``rmse.md``, ``.html``, ``.json`` and ``.png``, and returns the first."""
    lines, figure = table(results), draw(results)
    models = models_of(results)
    facts = made(models, data=", ".join(sorted({result.dataset for result in results})))
    meaning = "; ".join(f"{name}: {what}" for name, what in MODELS.items())
    page = Page("Throughput of new layers, predicted without a trial", facts)
    page.heading("Models", NOTE)
    page.text(meaning)
    page.table(lines[0], lines[1:], texts=HEADER[:3])
    page.heading("Errors")
    page.figures({"RMSE of log2 throughput by what is left out": figure}, wide=True)
    page.write(out / "rmse.html")
    style.save(figure, out / "rmse.png")
    text = markdown(lines, f"{NOTE}\n\n{meaning}.\n\n{sentence(facts)}")
    (out / "rmse.md").write_text(text)
    write_origin(out / "rmse.md", models, (result.seed for result in results), facts)
    return text


def settings_of(model: str) -> dict[str, str]:
    """What its model hash is of, beside code: which of `MODELS` was fitted."""
    return {"_target_": f"{Learned.__module__}.{Learned.__name__}", "model": model}


def models_of(results: Sequence[Result]) -> Models:
    """What made the results, by name of the model."""
    found = dict.fromkeys((result.model, result.model_hash) for result in results)
    return {
        name: [Model(own, settings_of(name)) for model, own in found if model == name]
        for name in MODELS
        if any(model == name for model, _ in found)
    }


def _columns(scores: Scores) -> list[str]:
    return list(next(iter(scores.values())))


def _text(interval: metrics.Interval | None, digits: int) -> str:
    if interval is None:
        return ""
    mean, low, high = (f"{v:+.{digits}f}" for v in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"
