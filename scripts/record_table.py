"""Records tables of layers on this machine, so that searches can be replayed without it.

    python scripts/record_table.py --out build/tables --rows 2000
    python scripts/record_table.py --out build/tables --join outputs/resnet18
    python scripts/record_table.py --out build/tables --pack dgtl/data/tables

A table is a layer's whole design space where it has no more than ``--rows`` configurations.
Otherwise three of four are a uniform sample, by which a table can be judged; the fourth is what a
tuner would visit: a model of the table so far guides annealing, beside mutations of the best. Batch
by batch and layer by layer, so that it can be stopped and started again at any time and leaves
balanced tables. The stage of each trial says how it was drawn: `uniform`, `searched`, or `joined`
from earlier runs, on top of ``--rows``.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgtl.core.history import History, SourceTask
from dgtl.core.records import best_trial
from dgtl.features.loop_nest import FeatureMap
from dgtl.models.xgb import XGBConfig, XGBModel
from dgtl.report.progress import duration
from dgtl.search.annealing import anneal, mutants, untried
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure.campaign import open_campaign, pack_all
from dgtl.tvm.toolchain import require_toolchain
from dgtl.tvm.workload.networks import conv, dense, depthwise

if TYPE_CHECKING:
    from dgtl.core.space import Configurations

UNIFORM, SEARCHED, JOINED = "uniform", "searched", "joined"

SHARE = 4
"""Of so many configurations, one is searched for."""

BEST = 8
"""So many of the best are mutated."""

MODEL = XGBConfig()

LAYERS = [
    *(conv(size, channels, channels) for size, channels in ((56, 64), (28, 128), (14, 256))),
    conv(7, 512, 512),
    conv(28, 128, 256, 3, 2),
    conv(14, 512, 512, 1),
    conv(56, 64, 128, 1, 2),
    conv(224, 3, 64, 7, 2),
    conv(27, 64, 192, 5),
    depthwise(14, 512),
    depthwise(56, 128, 3, 2),
    dense(512, 1000),
]
"""Layers as ResNet, VGG, MobileNet and AlexNet have them, of none of the shapes of the shipped
history, so that a table can be a new task to what learns from that."""


def next_batch(table: SourceTask, rows: int, batch: int, seed: int) -> tuple[str, list[str]]:
    """How the next configurations of a table are drawn, and their keys; none when it is complete.

    A function of the table alone, so that a recording goes on where it stopped.
    """
    space, trials = table.space, table.trials
    seen = {trial.config for trial in trials}
    n_uniform = sum(trial.stage == UNIFORM for trial in trials)
    n_searched = sum(trial.stage == SEARCHED for trial in trials)
    n = min(batch, missing(table, rows))
    rng = np.random.default_rng([seed, len(trials), *table.task.key.encode()])
    # Searching a space that is recorded as a whole would only change the order of its rows.
    due = space.size > rows and n_uniform >= (SHARE - 1) * (n_searched + n)
    if due and table.ok_trials:
        return SEARCHED, searched(table, seen, n, rng)
    return UNIFORM, untried(space, rng, n, seen)


def missing(table: SourceTask, rows: int) -> int:
    """Configurations that a table still lacks; what was joined comes on top of ``rows``."""
    measured = sum(trial.stage != JOINED for trial in table.trials)
    return max(min(rows - measured, table.space.size - len(table.trials)), 0)


def searched(table: SourceTask, seen: set[str], n: int, rng: np.random.Generator) -> list[str]:
    """Keys of ``n`` new configurations: half by annealing under a model, half mutants of the best.

    Annealing alone would keep to where the model is sure, mutants alone to where the best are.
    """
    features = FeatureMap(table.task, table.space)
    configs, gflops = table.configs(), table.gflops()
    model = XGBModel(MODEL)
    model.fit(features(configs), gflops, seed=int(rng.integers(2**31)))

    def score(proposals: Configurations) -> np.ndarray:
        return model.predict_mean(features(proposals))

    ranked = configs[np.argsort(-gflops, kind="stable")]
    found, _ = anneal(table.space, score, rng, top=n - n // 2, start=ranked[:n], exclude=seen)
    keys = table.space.keys(found)
    return keys + mutants(table.space, rng, ranked[:BEST], n - len(keys), seen | set(keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("build/tables"))
    parser.add_argument("--rows", type=int, default=2000, help="configurations of each layer")
    parser.add_argument("--batch", type=int, default=64, help="configurations measured at once")
    parser.add_argument("--layers", default="", help="regular expression, found in layers' names")
    parser.add_argument("--cores", type=int, default=None, help="cores a kernel may use")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--join", type=Path, nargs="+", default=[], help="trials of earlier runs, files or folders"
    )
    parser.add_argument("--pack", type=Path, help="only compress what is there into this folder")
    args = parser.parse_args()
    if args.pack:
        print(*pack_all(args.out, args.pack), sep="\n")
        return
    try:
        record(args)
    except (ValueError, re.error) as error:
        sys.exit(f"record_table: {error}")


def record(args: argparse.Namespace) -> None:
    """Measures what the tables lack.

    Raises:
        ValueError: no such layer, no compiler, more cores than there are, a file of no use.
        re.error: ``--layers`` is no regular expression.
    """
    layers = [layer for layer in LAYERS if re.search(args.layers, layer.name)]
    if not layers:
        names = ", ".join(layer.name for layer in LAYERS)
        raise ValueError(f"--layers {args.layers} finds none of {names}")
    require_toolchain()
    hardware = machine.detect(args.cores)
    path = args.out / f"{hardware.name}-tables-{hardware.num_cores}.jsonl"
    with open_campaign(path, layers, hardware, args.seed) as campaign:

        def tables() -> list[SourceTask]:
            trials = campaign.history.trials
            return [SourceTask(t, space, tuple(trials(t.key))) for t, space in campaign.tasks]

        if args.join:
            print(f"{campaign.join(History.read(*args.join), JOINED)} trials joined", flush=True)
        while open_tables := [table for table in tables() if missing(table, args.rows)]:
            for table in open_tables:
                stage, keys = next_batch(table, args.rows, args.batch, args.seed)
                campaign.measure(table.task, table.space, keys, stage)
                done = campaign.history.trials(table.task.key)
                best = best_trial(done)
                gflops = 0.0 if best is None else table.task.gflops(best.latency_s)
                rate = campaign.trials_per_s
                left_s = sum(missing(t, args.rows) for t in tables()) / rate
                print(
                    f"{table.task.key:56s} {len(done):5d} rows {stage:8s} {gflops:7.1f} GFLOPS  "
                    f"{rate:.1f} trials/s  {duration(left_s)} left",
                    flush=True,
                )


if __name__ == "__main__":
    main()
