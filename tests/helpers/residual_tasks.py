"""Source tasks that share a slope and have a wave each: what a residual GP is for."""

from __future__ import annotations

import numpy as np

TASKS, ROWS = 6, 40


def residual_tasks(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [N, 3], log2 throughput [N] and task [N]: x0 holds for all tasks, x1 for each."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.0, 1.0, (TASKS * ROWS, 3))
    task = np.repeat(np.arange(TASKS), ROWS)
    phase = rng.uniform(0.0, 6.0, TASKS)[task]
    return x, 5.0 + 2.0 * x[:, 0] + np.sin(3.0 * x[:, 1] + phase), task
