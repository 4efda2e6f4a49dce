"""Calibration: intervals hold what they say, and the score is that of the literature."""

from __future__ import annotations

import numpy as np
import pytest

from dgtl.models.base import Prediction
from experiments.calibration.__main__ import COUNTS, LEVELS, scores, table_of

N = 20_000


def drawn(scale: float) -> dict[str, float]:
    """Scores of predictions of standard deviation 2 where the truth has ``scale`` times that."""
    rng = np.random.default_rng(0)
    mean = rng.normal(size=N)
    return scores(Prediction(mean, np.full(N, 2.0)), mean + 2.0 * scale * rng.normal(size=N))


def test_intervals_of_the_right_width_hold_as_many_as_they_say() -> None:
    found = drawn(1.0)
    for level in LEVELS:
        assert found[f"within_{level:.0%}"] == pytest.approx(level, abs=0.01)


def test_who_is_too_sure_holds_fewer_and_who_is_not_sure_enough_more() -> None:
    for level in LEVELS:
        name = f"within_{level:.0%}"
        assert drawn(2.0)[name] < level < drawn(0.5)[name]


def test_the_score_of_a_normal_at_its_mean_is_that_of_the_formula() -> None:
    """Gneiting and Raftery 2007: sigma (2 phi(0) - 1 / sqrt(pi))."""
    found = scores(Prediction(np.zeros(1), np.full(1, 3.0)), np.zeros(1))
    assert found["crps"] == pytest.approx(3.0 * (2.0 / np.sqrt(2.0 * np.pi) - 1.0 / np.sqrt(np.pi)))


def test_the_score_is_the_mean_absolute_error_of_who_is_sure() -> None:
    found = scores(Prediction(np.zeros(2), np.full(2, 1e-9)), np.array([1.0, -3.0]))
    assert found["crps"] == pytest.approx(2.0)


def test_the_table_has_means_over_layers_for_each_number_of_trials() -> None:
    names = [*(f"within_{level:.0%}" for level in LEVELS), "crps"]
    rows = [
        {
            "layer": layer,
            "trials": count,
            **{f"{which}_{name}": value for which in ("all", "top") for name in names},
            "expected": value,
            "saved": value / 2,
        }
        for count in COUNTS
        for layer, value in (("a", 0.2), ("b", 0.4))
    ]
    header, first, _, fourth = table_of(rows)[:4]
    assert header[:2] == ["trials", "rows"]
    assert first == ["0", "all", *["0.300"] * 4, "", ""]
    assert fourth[:2] == [str(COUNTS[1]), "all"]
    assert table_of(rows)[4][-2:] == ["0.300", "0.150"]
