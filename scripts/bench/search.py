"""Seconds of one search: simulated annealing with the deep GP, features included.

    python scripts/bench/search.py --threads 2

A ResNet-18 convolution, chains, steps and a deep GP of default size. The walk never ends early, and
the model is hardly trained: only its size matters for the time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import time

ROWS = 512
"""Trials that the model is fitted on: more than it has inducing points."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    # BLAS and OpenMP read these when they are first loaded, so before numpy is imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(args.threads)

    import convolution
    import numpy as np

    from dgtl.features.loop_nest import FeatureMap
    from dgtl.models.deep_gp.model import DeepGP, DGPConfig
    from dgtl.search.annealing import AnnealingOptions, anneal

    task, schedules = convolution.load()
    space = schedules.space
    features = FeatureMap(task, space)
    rng = np.random.default_rng(0)
    rows = features(space.sample_distinct(rng, ROWS))
    config = DGPConfig()
    model = DeepGP(dataclasses.replace(config, steps=5))
    model.fit(rows, np.exp2(4.0 + rng.normal(size=len(rows))), seed=0)

    defaults = AnnealingOptions()
    options = dataclasses.replace(defaults, patience=defaults.steps)
    scored = 0

    def score(batch: np.ndarray) -> np.ndarray:
        nonlocal scored
        scored += len(batch)
        return model.predict_mean(features(batch))

    times = []
    for seed in range(args.repeats):
        scored = 0
        begin = time.perf_counter()
        anneal(space, score, np.random.default_rng(seed), top=16, options=options)
        times.append(time.perf_counter() - begin)
        steps = scored // options.chains - 1
        print(f"{options.chains} chains, {steps} steps: {times[-1]:.3f} s")
    print(f"{config.layers} layers, {config.inducing} inducing points, {args.threads} threads")
    print(json.dumps({"seconds": round(statistics.median(times), 3), "steps": steps}))


if __name__ == "__main__":
    main()
