"""Times of the deep GP: training, prediction against GPflux's own, adaptation to a task.

    python scripts/bench/dgp.py --threads 2

Prints a table and, as its last line, the same figures as JSON. The data are synthetic: a smooth
function of ten hidden inputs with a step, mixed into 80 columns.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import statistics
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = 80
BATCHES = (128, 512, 2048, 8192)


def median_ms(call: Callable[[], Any], repeats: int) -> float:
    """Median time of `call` in ms, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--steps", type=int, help="instead of the model's default")
    arguments = parser.parse_args()
    # BLAS and OpenMP read these when they are first loaded, so before numpy is imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)

    import numpy as np

    from dgtl.models.deep_gp.layers import Network, tf
    from dgtl.models.deep_gp.model import ClosedFormMAP, DeepGP, DGPConfig, limit_threads

    limit_threads(arguments.threads)
    config = DGPConfig()
    if arguments.steps is not None:
        config = dataclasses.replace(config, steps=arguments.steps)

    rng = np.random.default_rng(0)
    mix = rng.normal(size=(10, COLUMNS)) / 10**0.5

    def trials(rows: int) -> tuple[np.ndarray, np.ndarray]:
        z = rng.normal(size=(rows, 10))
        y = 1.5 * np.sin(1.3 * z[:, 0]) + 0.7 * z[:, 1] * z[:, 2] - 0.5 * z[:, 3] ** 2
        y += np.where(z[:, 4] > 0.5, 1.5, 0.0) + np.tanh(z[:, 5] * z[:, 6]) + 0.3 * z[:, 7]
        x = np.tanh(z @ mix) + 0.5 * z @ mix
        return x, np.exp2(4.0 + y + 0.1 * rng.normal(size=rows))

    features, gflops = trials(arguments.rows)
    model = DeepGP(config)
    start = time.perf_counter()
    model.fit(features, gflops, seed=0)
    figures: dict[str, float] = {"fit_s": round(time.perf_counter() - start, 2)}
    new, truth = trials(max(BATCHES))
    error = model.predict(new).mean - np.log2(truth)
    figures["rmse_log2"] = round(float(np.sqrt(np.mean(error**2))), 4)
    figures["std_log2"] = round(float(np.log2(truth).std()), 4)
    print(f"fit {arguments.rows} x {COLUMNS}: {figures['fit_s']} s, {config}")
    print(f"error on new rows: {figures['rmse_log2']} of {figures['std_log2']} (log2)")

    gpflux = Network(model.state, arguments.rows, config.noise_floor).model
    print(f"{'ms per batch of':>16} {'predict':>10} {'mean only':>10} {'GPflux':>10}")
    for size in BATCHES:
        batch = new[:size]
        inputs = tf.constant(model.state.scaler.inputs(batch))
        times = {
            "predict": median_ms(functools.partial(model.predict, batch), 15),
            "mean": median_ms(functools.partial(model.predict_mean, batch), 15),
            "gpflux": median_ms(functools.partial(gpflux.predict_f, inputs), 3),
        }
        print(f"{size:>16}" + "".join(f" {ms:>10.3f}" for ms in times.values()))
        figures |= {f"{name}_{size}_ms": round(ms, 3) for name, ms in times.items()}

    prior = ClosedFormMAP()
    tuning = trials(64)
    figures["adapt_64_ms"] = round(median_ms(lambda: model.adapt(*tuning, prior, seed=0), 5), 2)
    print(f"adapt to 64 trials, closed form: {figures['adapt_64_ms']} ms")
    print(json.dumps({"threads": arguments.threads, "rows": arguments.rows, **figures}))


if __name__ == "__main__":
    main()
