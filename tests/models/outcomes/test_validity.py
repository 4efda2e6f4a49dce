"""Which configurations run: the penalty is the logarithm of a probability, nothing where failures
are rare.
"""

from __future__ import annotations

import numpy as np
import pytest

from dgtl.models.outcomes import RARE, Validity


def outcomes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, 3] and whether they ran: the first decides, with one in twenty the other way."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return x, (x[:, 0] < 0.5) ^ (rng.random(n) < 0.05)


@pytest.fixture(scope="module")
def validity() -> Validity:
    return Validity(*outcomes(600, 0), seed=0)


def test_the_penalty_is_log2_of_the_probability(validity: Validity) -> None:
    x, _ = outcomes(300, 1)
    probability = validity.probability(x)
    assert ((probability > 0) & (probability < 1)).all()
    np.testing.assert_allclose(np.exp2(validity.penalty(x)), probability, rtol=1e-12)
    # Added to a mean of log2 throughput, it is that of the expected throughput.
    mean = np.random.default_rng(2).normal(size=300)
    np.testing.assert_allclose(np.exp2(mean + validity.penalty(x)), np.exp2(mean) * probability)


def test_what_failed_is_likelier_to_fail(validity: Validity) -> None:
    x, ok = outcomes(600, 1)
    probability = validity.probability(x)
    assert probability[ok].mean() > 0.8 > 0.3 > probability[~ok].mean()
    # The share of pairs in the right order (area under the ROC curve).
    ordered = np.mean(probability[ok][:, None] > probability[~ok])
    assert ordered > 0.9


def test_probabilities_are_calibrated(validity: Validity) -> None:
    x, ok = outcomes(3000, 1)
    probability = validity.probability(x)
    for low, high in ((0.0, 0.2), (0.8, 1.0)):
        inside = (probability >= low) & (probability < high)
        assert abs(ok[inside].mean() - probability[inside].mean()) < 0.1


def test_the_penalty_of_the_impossible_is_finite(monkeypatch, validity: Validity) -> None:
    monkeypatch.setattr(validity, "probability", lambda x: np.array([0.0, 1e-9, 1e-6, 0.5, 1.0]))
    expected = np.log2([1e-6, 1e-6, 1e-6, 0.5, 1.0])
    np.testing.assert_allclose(validity.penalty(np.zeros((5, 3))), expected)


@pytest.mark.parametrize(("failures", "learns"), [(0, False), (1, False), (2, True), (3, True)])
def test_rare_failures_cost_nothing(failures: int, learns: bool) -> None:
    """One in a hundred is what counts as rare no more."""
    assert RARE == 0.01
    x, _ = outcomes(200, 0)
    ok = np.ones(200, dtype=bool)
    ok[:failures] = False
    validity = Validity(x, ok, seed=0)
    assert (validity.penalty(x) == 0).all() == (not learns)
    if not learns:
        np.testing.assert_array_equal(validity.probability(x), np.ones(200))


def test_where_nothing_ran_nothing_is_told_apart() -> None:
    x, _ = outcomes(50, 0)
    validity = Validity(x, np.zeros(50, dtype=bool), seed=0)
    np.testing.assert_array_equal(validity.penalty(x), np.zeros(50))


def test_same_seed_same_probabilities() -> None:
    x, ok = outcomes(200, 0)
    one, same, other = (Validity(x, ok, seed=s).probability(x) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_features_that_are_none_are_refused(validity: Validity) -> None:
    with pytest.raises(ValueError, match="nan or inf"):
        Validity(np.full((4, 2), np.nan), np.ones(4, dtype=bool), seed=0)
    with pytest.raises(ValueError, match=r"\[N, D\]"):
        validity.probability(np.zeros(3))
