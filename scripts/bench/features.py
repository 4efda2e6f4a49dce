"""Features computed per second on one core.

    python scripts/bench/features.py

For random configurations of a ResNet-18 convolution, in batches as large as the chains of a search
and as an initial set. The last line is JSON, with the figure of the initial set.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

CHAINS, INITIAL_SET = 128, 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=50)
    args = parser.parse_args()
    # BLAS counts the cores when numpy is first loaded, so before that.
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])

    import convolution
    import numpy as np

    from dgtl.features.loop_nest import FeatureMap

    task, schedules = convolution.load()
    features = FeatureMap(task, schedules.space)
    rates = {}
    for batch in (CHAINS, 1024, INITIAL_SET, 16384):
        configs = schedules.space.sample(np.random.default_rng(0), batch)
        features(configs)
        times = []
        for _ in range(args.repeats):
            begin = time.perf_counter()
            features(configs)
            times.append(time.perf_counter() - begin)
        rates[batch] = batch / statistics.median(times)
        print(f"batches of {batch:6}: {rates[batch]:10,.0f} configurations/s")
    print(f"{len(features.names)} columns, one core, median of {args.repeats}")
    print(json.dumps({"configs_per_s": round(rates[INITIAL_SET])}))


if __name__ == "__main__":
    main()
