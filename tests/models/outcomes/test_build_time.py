"""Build times: what is slow to build costs by the doubling, what is not known costs nothing."""

from __future__ import annotations

import numpy as np
import pytest

from dgtl.models.base import MIN_SOURCE_ROWS
from dgtl.models.outcomes import BuildTime


def builds(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, 3] and relative build times: each unit of the first feature doubles them."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 3, size=(n, 3))
    return x, 2.0 ** (x[:, 0] + 0.1 * rng.normal(size=n))


def test_doublings_are_counted_from_the_median_up() -> None:
    x, _ = builds(300, 1)
    doublings = BuildTime(*builds(2000, 0), seed=0).doublings(x)
    np.testing.assert_allclose(doublings, np.maximum(x[:, 0], 0.0), atol=0.35)
    assert (doublings[x[:, 0] < -0.5] == 0.0).all()


def test_what_is_not_known_is_not_learned_from() -> None:
    x, relative = builds(1000, 0)
    known = np.arange(1000) % 2 == 0
    half = BuildTime(x, np.where(known, relative, np.nan), seed=0)
    same = BuildTime(x[known], relative[known], seed=0)
    np.testing.assert_array_equal(half.doublings(x), same.doublings(x))


@pytest.mark.parametrize("n", [0, MIN_SOURCE_ROWS - 1])
def test_too_few_known_times_cost_nothing(n: int) -> None:
    x, relative = builds(100, 0)
    relative[n:] = np.nan
    assert (BuildTime(x, relative, seed=0).doublings(x) == 0.0).all()
