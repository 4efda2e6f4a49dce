"""Source tasks held out in folds: which model predicts layers that it has never seen?

    python -m experiments.holdout                                   # the shipped history
    python -m experiments.holdout --logs LOGS --hardware v100       # AutoTVM logs
    python -m experiments.holdout --logs dgtl/data --hardware HERE --learn-from THERE

No target trial is used and no workload of a table is looked at: this is where settings of the
models are chosen. Compared are boosted trees, the deep GP alone, and the deep GP stacked on the
trees. Prints the mean over held-out tasks of RMSE in GFLOPS and in log2, that of the fastest fifth,
rank correlation, and the best of the top 1, 10 and 16 predictions as fractions of the task's best.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from dgtl.core.folds import assign_folds
from dgtl.core.history import SHIPPED, SourceTask, subset
from dgtl.features.loop_nest import FeatureMap
from dgtl.tables.read import BENCH, read_tables
from experiments.shared.zero_shot import Learned, scores

if TYPE_CHECKING:
    from collections.abc import Sequence


def folds(sources: Sequence[SourceTask], count: int, seed: int = 0) -> list[list[SourceTask]]:
    """Sources in ``count`` folds; those of one shape (any number of cores) stay together."""
    fold_of = assign_folds([s.task.shape_key for s in sources], count, np.random.default_rng(seed))
    return [[s for s, own in zip(sources, fold_of, strict=True) if own == k] for k in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    shipped = [str(path) for path in sorted(SHIPPED.glob(f"{BENCH}-*"))]
    parser.add_argument("--logs", nargs="+", default=shipped, help="histories or logs")
    parser.add_argument("--hardware", help="its name, where the files hold several")
    parser.add_argument("--learn-from", help="name of other hardware of the files to learn from")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--use", type=int, default=4, help="only the first so many folds")
    parser.add_argument("--trials", type=int, default=20000, help="learn from at most so many")
    parser.add_argument("--steps", type=int, default=1000, help="of training the deep GP")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    targets = read_tables(args.logs, args.hardware).tables
    sources = read_tables(args.logs, args.learn_from or args.hardware).tables
    found: dict[str, list[dict[str, float]]] = {}
    for held in folds(targets, args.folds)[: args.use]:
        shapes = {s.task.shape_key for s in held}
        known = subset([s for s in sources if s.task.shape_key not in shapes], args.trials, 0)
        learned = Learned(known, args.steps, args.seed)
        for name in ("xgb", "dgp_paper", "dgp"):
            for source in held:
                x, y = FeatureMap(source.task, source.space)(source.configs()), source.gflops()
                found.setdefault(name, []).append(
                    scores(y, learned.predict(name, x), learned.factor)
                )
    for name, rows in found.items():
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        text = "  ".join(f"{key} {value:.3f}" for key, value in means.items())
        print(f"{name:14s} {len(rows)} tasks  {text}")


if __name__ == "__main__":
    main()
