"""Whether the deep GP knows how sure it may be, on layers that it learned nothing from.

    python -m experiments.calibration                        # the shipped tables of the Xeon
    python -m experiments.calibration --hardware amd-epyc-znver4
    python -m experiments.calibration --tables LOGS --hardware v100

Layers are left out by network. Of each, the model's own choices are told to it four at a time, and
after 0, 4, 8, 16 and 32 of them its posterior is compared with all rows of the table that it was
not told, and with the 64 that it takes for the best: how many lie within its 50, 80 and 95 %
intervals, and the continuous ranked probability score (CRPS; Gneiting and Raftery, JASA 2007) in
log2. Beside it what the next four were expected to save of the best latency, and what they did.
Means over layers. Writes ``calibration.csv`` (a row per layer and number of trials),
``calibration.md`` and ``calibration.json`` to ``results/``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.stats import norm

from dgtl.core.history import subset
from dgtl.features.problem import Problem
from dgtl.methods.batch import Observations
from dgtl.methods.dgp import DGP
from dgtl.results.model_hash import model_hash
from dgtl.run.settings import composed
from dgtl.tables.folds import network_folds
from dgtl.tables.read import read_tables
from experiments.shared.models import Model
from experiments.shared.results import made, markdown_table, sentence, write_csv, write_origin

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dgtl.core.history import SourceTask
    from dgtl.models.base import Prediction

LEVELS = (0.5, 0.8, 0.95)
COUNTS = (0, 4, 8, 16, 32)
"""Trials told before the posterior is looked at."""

STEP = 4
TOP = 64
"""Rows that the model takes for the best, where it decides."""


def scores(prediction: Prediction, log2_gflops: NDArray[np.float64]) -> dict[str, float]:
    """Coverage of the central intervals of `LEVELS`, and the mean CRPS, of normal predictions."""
    z = (log2_gflops - prediction.mean) / prediction.std
    found = {
        f"within_{level:.0%}": float(np.mean(np.abs(z) <= norm.ppf(0.5 + level / 2)))
        for level in LEVELS
    }
    crps = prediction.std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - np.pi**-0.5)
    return {**found, "crps": float(np.mean(crps))}


def followed(method: DGP, table: SourceTask, seed: int) -> Iterator[dict[str, float | int | str]]:
    """The posterior of one layer as trials are told, chosen by the model itself."""
    problem = Problem(table.task, table.space)
    trials = table.ok_trials
    x = problem.features(table.space.of_trials(trials))
    y = np.log2([problem.gflops(trial) for trial in trials])
    rng = np.random.default_rng(seed)
    prior = method.prior(x)
    told = np.empty(0, np.int64)
    while len(told) <= COUNTS[-1]:
        left = np.setdiff1d(np.arange(len(y)), told)
        model = method.adapt(prior, x[told], np.exp2(y[told]), seed) if len(told) else prior
        assert model is not None, "a source model was learned"
        prediction = model.predict(x[left])
        order = np.argsort(-prediction.mean, kind="stable")
        best = float(np.exp2(y[told].max())) if len(told) else None
        observed = Observations(x[:0], np.empty(0), best)
        shortlist = left[order][: method.shortlist_size(STEP)]
        choice = method.select_batch(model, x[shortlist], STEP, observed, rng)
        chosen = shortlist[choice.rows]
        if len(told) in COUNTS:
            saved = 0.0 if best is None else 1.0 - min(best / np.exp2(y[chosen].max()), 1.0)
            top = order[:TOP]
            near = type(prediction)(prediction.mean[top], prediction.std[top])
            yield {
                "layer": table.task.title,
                "trials": len(told),
                **{f"all_{name}": value for name, value in scores(prediction, y[left]).items()},
                **{f"top_{name}": value for name, value in scores(near, y[left][top]).items()},
                "expected": float("nan") if choice.gain is None else choice.gain,
                "saved": float("nan") if best is None else float(saved),
            }
        told = np.concatenate([told, chosen])


def calibrate(args: argparse.Namespace) -> list[dict[str, float | int | str]]:
    """Rows of all layers that are left out."""
    read = read_tables(args.tables, args.hardware, args.min_rows)
    rows = []
    for fold in network_folds(read, read.tables, args.networks):
        method = instantiate(composed(args.settings, {}).model)
        assert isinstance(method, DGP), "only model=dgp has a joint posterior"
        method.prepare(subset(list(fold.sources), args.trials, 0), args.cache, args.seed)
        for table in fold.targets:
            rows += [{"network": fold.name, **row} for row in followed(method, table, args.seed)]
    return rows


def table_of(rows: Sequence[dict[str, float | int | str]]) -> list[list[str]]:
    """Means over layers: a header, and a line per number of trials and set of rows."""
    names = [*(f"within_{level:.0%}" for level in LEVELS), "crps"]
    lines = [["trials", "rows", *(name.replace("_", " ") for name in names), "expected", "saved"]]
    for count in COUNTS:
        own = [row for row in rows if row["trials"] == count]
        for which in ("all", "top"):
            means = [np.mean([float(row[f"{which}_{name}"]) for row in own]) for name in names]
            gains = [np.mean([float(row[name]) for row in own]) for name in ("expected", "saved")]
            known = which == "top" and count > 0
            lines.append(
                [
                    str(count),
                    "all" if which == "all" else f"best {TOP}",
                    *(f"{mean:.3f}" for mean in means),
                    *(f"{gain:.3f}" if known else "" for gain in gains),
                ]
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tables", nargs="+", help="histories or logs; default: those shipped")
    parser.add_argument("--hardware", help="its name, where the files hold several")
    parser.add_argument("--networks", nargs="+", help="left out in turn; default: all there are")
    parser.add_argument("--min-rows", type=int, default=256, help="of a table that is followed")
    parser.add_argument("--trials", type=int, default=20000, help="learn from at most so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("outputs/models"))
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("settings", nargs="*", help="of the model, as run.py takes them")
    args = parser.parse_args()
    try:
        rows = calibrate(args)
    except ValueError as error:
        sys.exit(f"calibration: {error}")
    model: Any = OmegaConf.to_container(composed(args.settings, {}).model, resolve=True)
    models = {"dgp": [Model(model_hash(model), model, tuple(args.settings))]}
    hardware = args.hardware or "intel-r-xeon-r-processor-rocketlake"
    facts = made(models, hardware=f"{hardware}, recorded")
    layers = len({(row["network"], row["layer"]) for row in rows})
    text = (
        f"{markdown_table(table_of(rows))}\n\n{layers} layers, each left out with its network. "
        "Within 50, 80, 95 %: fraction of rows inside of the central interval. Expected, saved: "
        f"fraction of the best latency by the next {STEP} trials.\n"
    )
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(args.out / "calibration.csv", rows)
    (args.out / "calibration.md").write_text(f"{text}\n{sentence(facts)}\n")
    write_origin(args.out / "calibration.md", models, [args.seed], facts)
    print(text)


if __name__ == "__main__":
    main()
