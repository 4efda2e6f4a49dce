"""Choosing a batch, and keeping a model once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgtl.methods.dgp import DGP
from dgtl.models import load_model
from dgtl.models.cache import keep
from dgtl.models.deep_gp.model import DeepGP, DGPConfig
from dgtl.search.acquisition import greedy_qei

if TYPE_CHECKING:
    from pathlib import Path


def choose(mean, covariance, n, p_feasible=None, incumbent=None, seed=0):
    mean = np.asarray(mean, dtype=float)
    p_feasible = np.ones(len(mean)) if p_feasible is None else np.asarray(p_feasible)
    rng = np.random.default_rng(seed)
    return greedy_qei(mean, np.asarray(covariance), p_feasible, n, incumbent, rng)


def test_certain_candidates_come_by_their_mean() -> None:
    """After the best nothing is gained; the first is what counts."""
    assert choose([1.0, 5.0, 3.0], np.zeros((3, 3)), 1) == [1]


def test_a_twin_of_what_is_chosen_waits() -> None:
    """0 and 1 are the same but for a hair, 2 is a little worse and its own."""
    twin = 1.0 - 1e-9
    covariance = [[1.0, twin, 0.0], [twin, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert choose([1.0, 0.99, 0.6], covariance, 3).tolist() == [0, 2, 1]


def test_what_seldom_p_feasible_waits() -> None:
    assert choose([2.0, 1.5], 0.01 * np.eye(2), 2, p_feasible=[0.1, 1.0]).tolist() == [1, 0]


def test_what_cannot_beat_the_best_so_far_gives_way_to_what_may() -> None:
    covariance = np.diag([1e-6, 4.0])
    assert choose([1.0, 0.0], covariance, 1, incumbent=3.0) == [1]
    assert choose([1.0, -3.0], covariance, 1) == [0]


def test_what_is_chosen_already_counts() -> None:
    """The first candidate is taken, so that its twin waits."""
    covariance = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    rng = np.random.default_rng(0)
    found = greedy_qei(np.array([1.0, 0.9, 0.6]), covariance, np.ones(3), 2, None, rng, first=1)
    assert found.tolist() == [0, 2]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 2**31))
def test_batches_are_distinct_and_grow_by_prefixes(size: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    mean = rng.normal(size=size)
    whole = choose(mean, root @ root.T, n, seed=seed)
    assert len(whole) == len(set(whole.tolist())) == min(n, size)
    part = choose(mean, root @ root.T, max(1, n // 2), seed=seed)
    np.testing.assert_array_equal(part, whole[: len(part)])


def test_of_two_that_keep_the_same_model_both_succeed(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(size=(40, 2))
    model = DeepGP(DGPConfig(hidden=2, inducing=8, steps=5))
    model.fit(x, np.exp2(x[:, 0]), seed=0)
    for _ in range(2):
        keep(model, tmp_path / "cache" / "dgp-1", 1.0)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["dgp-1"]
    kept = load_model(tmp_path / "cache" / "dgp-1")
    np.testing.assert_array_equal(kept.predict(x).mean, model.predict(x).mean)


@pytest.mark.parametrize(
    "bad",
    [
        {"greedy_fraction": 1.5},
        {"pooled_target_weight": -1.0},
        {"pooled_fraction": 2.0},
        {"covariance_scale": 2.0},
        {"update_every": -1},
    ],
)
def test_bad_options_are_refused_by_name(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"dgp: {next(iter(bad))}"):
        DGP(**bad)
