"""How well imported logs predict layers that were left out of them.

    python scripts/bench/import_quality.py logs/GTX1650 --fold 0 --threads 2

Trains gradient-boosted trees on the log of the throughput of seven eighths of the layers, and
prints the rank correlation for each of the others, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import xgboost
from scipy.stats import spearmanr

from dgtl.autotvm_logs.importer import import_logs
from dgtl.features.dataset import source_data

FOLDS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="logs, or folders of logs"
    )
    parser.add_argument("--fold", type=int, default=0, choices=range(FOLDS))
    parser.add_argument("--trees", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    sources = [source for source in import_logs(args.paths).sources if source.ok_trials]
    features, gflops, owner = source_data(sources)
    labels = np.log2(gflops)
    shapes = sorted({source.task.shape_key for source in sources})
    left_out = set(shapes[args.fold :: FOLDS])
    test = np.array([source.task.shape_key in left_out for source in sources])[owner]

    begin = time.perf_counter()
    settings = {"max_depth": 8, "eta": 0.1, "tree_method": "hist", "nthread": args.threads}
    train = xgboost.DMatrix(features[~test], labels[~test])
    model = xgboost.train({**settings, "seed": 0}, train, args.trees)
    fit_s = time.perf_counter() - begin
    predicted = model.predict(xgboost.DMatrix(features))

    correlations, best = [], []
    for i in np.unique(owner[test]):
        rows = np.flatnonzero(owner == i)
        correlations.append(float(spearmanr(predicted[rows], labels[rows])[0]))
        best.append(gflops[rows[np.argmax(predicted[rows])]] / gflops[rows].max())
        print(
            f"{sources[i].task.shape_key:50s} {len(rows):5d} {correlations[-1]:.3f} {best[-1]:.3f}"
        )
    errors = predicted[test] - labels[test]
    summary = {
        "trained_on": int((~test).sum()),
        "features": features.shape[1],
        "spearman": round(float(np.mean(correlations)), 4),
        "rmse_log2": round(float(np.sqrt(np.mean(errors**2))), 4),
        "top_1": round(float(np.mean(best)), 4),
        "fit_s": round(fit_s, 1),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
