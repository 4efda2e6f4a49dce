"""Which candidates to run together, and what is gained: q-EI over their joint distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANDIDATES = 256
"""Best scores among which a batch is chosen: their covariance takes a megabyte, milliseconds."""

SAMPLES = 4096
"""Joint samples of the candidates' throughput; with 512 the first pick is a draw of lots."""


def greedy_qei(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    p_feasible: NDArray[np.float64],
    n: int,
    incumbent: float | None,
    rng: np.random.Generator,
    *,
    first: int = 0,
) -> NDArray[np.int64]:
    """Candidates whose best is expected to be highest, chosen one by one: greedy q-EI.

    The expectation of max is submodular, so the greedy choice reaches at least 1 - 1/e of the best
    possible, and every prefix of the order is as good. By Monte Carlo, as in Wilson et al. (NeurIPS
    2018, "Maximizing acquisition functions for Bayesian optimization").

    Args:
        mean: [N] of log2 throughput.
        covariance: [N, N] of log2 throughput.
        p_feasible: [N] probability that a candidate runs at all.
        n: how many to choose.
        incumbent: log2 throughput of the best so far; None if there is none.
        rng: draws the samples.
        first: so many of the first candidates are chosen already.

    Returns:
        Rows [min(n, N)] in the order of choice.
    """
    log2 = _joint_samples(mean, covariance, rng)
    level = mean.max() if incumbent is None else max(incumbent, mean.max())
    samples = np.exp2(log2 - np.float32(level))
    samples *= _runs(p_feasible, rng)
    worst = 0.0 if incumbent is None else 2.0 ** (incumbent - level)
    best = np.full(SAMPLES, worst, np.float32)
    chosen: list[int] = []
    available = np.ones(len(mean), dtype=bool)
    for place in range(min(n, len(mean))):
        row = place
        if place >= first:
            expected = np.maximum(samples, best).mean(axis=1)
            expected[~available] = -np.inf
            row = int(np.argmax(expected))
        available[row] = False
        chosen.append(row)
        best = np.maximum(best, samples[row])
    return np.array(chosen, dtype=np.int64)


def expected_saving(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    p_feasible: NDArray[np.float64],
    incumbent: float,
    rng: np.random.Generator,
) -> float:
    """Fraction of the best latency so far that running all candidates is expected to save.

    E[1 - t / t_0] with the least latency t of the candidates and of the best so far, t_0: the q-EI
    of latency, in units of what there is.

    Args:
        mean, covariance, p_feasible: of the candidates, as of `greedy_qei`.
        incumbent: log2 throughput of the best so far.
        rng: draws the samples.
    """
    gain = _joint_samples(mean - incumbent, covariance, rng)
    gain[~_runs(p_feasible, rng)] = -np.inf
    best = gain.max(axis=0, initial=0.0).astype(np.float64)
    return float(np.mean(1.0 - np.exp2(-best)))


def _joint_samples(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Samples [N, SAMPLES] of normal variables.

    In single precision, its error far below that of so many samples; one candidate's are in a row.
    """
    root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(mean))).astype(np.float32)
    normal = rng.standard_normal((len(mean), SAMPLES), dtype=np.float32)
    return mean.astype(np.float32)[:, None] + root @ normal


def _runs(p_feasible: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether candidates run, in each sample [N, SAMPLES]."""
    uniform = rng.random((len(p_feasible), SAMPLES), dtype=np.float32)
    return uniform < p_feasible.astype(np.float32)[:, None]
