"""First ablation: models predict the throughput of tasks of which no trial was seen.

    python -m experiments.rmse                                      # the shipped data
    python -m experiments.rmse --data gtx1650=LOGS/GTX1650/conv2d_nchw.cuda.random.log.xz \\
        --data v100=LOGS/V100 --data k80=LOGS/K80 --leave-out network

One network is left out at a time, and layers in folds: every number is of layers that were not
learned from. Without ``--data`` the data are ``epyc`` and ``xeon``, the shipped histories and
tables. The histories hold no layer of AlexNet, VGG-16, ResNet-18 and MobileNet-v1 by construction,
so that these are predicted where the tables hold their layers or runs are added: ``--data
epyc=outputs/vgg16/random`` adds to the shipped, ``--data epyc`` is the shipped alone. V100 and K80
logs are of ResNet-50 and NASNet at batch 128. Logs and runs of a tuner lean to good configurations:
of a GTX 1650, give the random one.

All models of `experiments.shared.zero_shot` learn from the same rows. Scores are means over layers.
Each (data, left out, model, seed) is a line of ``results/rmse.jsonl`` as soon as it is done; the
same command goes on after the last, and with ``--again`` makes anew what another model made. What
other commands left there is shown as well: of each data and part left out, what has the settings of
this command, else the latest settings. ``rmse.csv``, ``rmse.md``, ``rmse.html``, ``rmse.json`` and
the figure are written from these lines.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dgtl.core.history import SHIPPED, SHIPPED_TABLES, subset
from dgtl.features.loop_nest import FEATURES_SCHEMA, FeatureMap
from dgtl.models.base import SCHEMA
from dgtl.models.deep_gp.model import DGPConfig
from dgtl.models.stacked import StackConfig
from dgtl.models.xgb import XGBConfig
from dgtl.results.model_hash import model_hash
from dgtl.tables.read import read_tables
from experiments.rmse import report as rmse_report
from experiments.rmse.result import Result, read_results
from experiments.shared.left_out import KINDS, left_out
from experiments.shared.results import write_csv
from experiments.shared.zero_shot import MODELS, Learned, scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dgtl.tables.folds import Fold

MACHINES = {"epyc": "amd-epyc-znver4", "xeon": "intel-r-xeon-r-processor-rocketlake"}
"""Names of the shipped data, and the hardware that each was measured on."""


def predict(
    dataset: str,
    fold: Fold,
    settings: dict[str, int],
    seed: int,
    path: Path,
    models: Iterable[str] = MODELS,
    *,
    again: bool = False,
) -> None:
    """Fits and scores the models of a fold that ``path`` does not hold yet, and appends them.

    Args:
        dataset: its name.
        fold: what is left out, and what is learned from.
        settings: ``trials`` to learn from at most, ``steps`` of training.
        seed: draws the trials, and is the models'.
        path: of the results.
        models: of `MODELS`.
        again: what the file holds counts only where today's model made it.
    """
    hashes = {model: model_hash(rmse_report.settings_of(model)) for model in MODELS}
    done = {r.unit for r in read_results(path) if not again or r.model_hash == hashes[r.model]}
    code = fingerprint(fold, settings)
    missing = [m for m in models if (dataset, fold.name, m, seed, code) not in done]
    if not missing:
        return
    known = [s for s in subset(fold.sources, settings["trials"], seed) if s.ok_trials]
    learned = Learned(known, settings["steps"], seed)
    rows = sum(len(source.ok_trials) for source in known)
    data = [(t.task, FeatureMap(t.task, t.space)(t.configs()), t.gflops()) for t in fold.targets]
    for model in missing:
        layers = {
            task.key: scores(y, learned.predict(model, x), learned.factor) for task, x, y in data
        }
        result = Result(dataset, fold.name, model, seed, code, rows, layers, hashes[model])
        _append(path, result)
        print(f"{dataset}, {fold.name}, seed {seed}: {model}", file=sys.stderr)


def fingerprint(fold: Fold, settings: dict[str, int]) -> str:
    """Equal where the same is learned from and the same predicted."""
    counts = [[(s.task.key, len(s.trials)) for s in part] for part in (fold.sources, fold.targets)]
    models = [dataclasses.asdict(part) for part in (DGPConfig(), StackConfig(), XGBConfig())]
    text = json.dumps([FEATURES_SCHEMA, SCHEMA, models, counts, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _append(path: Path, result: Result) -> None:
    """Appends one line, below whatever a killed run left of its last one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and (text := path.read_text()) and not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1])
    with path.open("a") as file:
        file.write(json.dumps(dataclasses.asdict(result)) + "\n")


def datasets(given: Sequence[str]) -> dict[str, list[str]]:
    """Paths by name of the data, from ``NAME=PATH``; those of one name belong together.

    A folder of runs stands for the trials of each, a name of `MACHINES` alone for what is shipped.

    Raises:
        ValueError: not of this form.
    """
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if text in MACHINES:
            found.setdefault(name, [])
            continue
        if not (name and equals and path):
            raise ValueError(f"--data {text}: give NAME=PATH, e.g. --data v100=LOGS/V100")
        runs = [str(trials) for trials in sorted(Path(path).rglob("trials.jsonl"))]
        found.setdefault(name, []).extend(runs or [path])
    for name in [name for name in MACHINES if name in found or not given]:
        files = f"{MACHINES[name]}-*"
        shipped = sorted([*SHIPPED.glob(files), *SHIPPED_TABLES.glob(files)])
        found[name] = [*map(str, shipped), *found.get(name, [])]
    return found


def shown(results: Sequence[Result], now: dict[tuple[str, str], str]) -> list[Result]:
    """The results of the settings of ``now``, by data and part; of other parts, of their latest.

    What was made again counts as it was made last.
    """
    results = list({result.unit: result for result in results}.values())
    codes = {(result.dataset, result.held_out): result.settings for result in results} | now
    return [
        result for result in results if codes[result.dataset, result.held_out] == result.settings
    ]


def write(results: Sequence[Result], out: Path) -> str:
    """Writes the table of all results in all its forms, and returns it as text."""
    rows = [result.row() for result in results]
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "rmse.csv", rows)
    return rmse_report.write(results, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--leave-out", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--folds", type=int, default=4, help="of layers")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--trials", type=int, default=20000, help="learn from at most so many")
    parser.add_argument("--steps", type=int, default=1000, help="of training deep GPs")
    parser.add_argument("--again", action="store_true", help="what another model made, anew")
    parser.add_argument("--out", type=Path, default=Path("results"))
    args = parser.parse_args()
    settings = {"trials": args.trials, "steps": args.steps}
    path = args.out / "rmse.jsonl"
    try:
        folds = {
            name: left_out(read_tables(paths), args.leave_out, args.folds)
            for name, paths in datasets(args.data).items()
        }
        for seed in args.seeds:
            for name, parts in folds.items():
                for fold in parts:
                    predict(name, fold, settings, seed, path, args.models, again=args.again)
        now = {
            (name, fold.name): fingerprint(fold, settings)
            for name, parts in folds.items()
            for fold in parts
        }
        print(write(shown(read_results(path), now), args.out))
    except ValueError as error:
        sys.exit(f"rmse: {error}")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
