"""Adaptive sampling: the knee, the centres and the synthesis, against calculations by hand."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.chameleon.adaptive_sampling import SamplingOptions, cluster, knee, mode, sample
from baselines.chameleon.tuner import Chameleon
from dgtl.core.knob import Knob
from dgtl.core.space import DesignSpace

SPACE = DesignSpace(
    (
        Knob.choice("small", "other", (0, 1, 2, 3)),
        Knob.choice("wide", "other", tuple(range(100))),
        Knob.choice("wider", "other", tuple(range(200))),
    ),
    "S",
)


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        ([100, 41, 10, 9], 16),  # 41 >= 100 / 2.5
        ([100, 39, 10, 9], 32),  # 39 < 40, 10 < 15.6, 9 >= 4
        ([100, 40, 1, 0.1], 16),  # equality stops
        ([100, 10, 1, 0.1], 32),  # never stops: the last
        ([0, 0, 0, 0], 16),
    ],
)
def test_knee_is_the_first_k_that_does_not_divide_the_loss(losses: list, chosen: int) -> None:
    counts = range(8, 33, 8)
    table = dict(zip(counts, losses, strict=True))
    assert knee(counts, table.__getitem__, 2.5) == chosen


def blobs(n_blobs: int, each: int) -> np.ndarray:
    """Points [n_blobs * each, 2] on small crosses around far apart centres."""
    offsets = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])[:each]
    centres = np.array([(5 + 20 * (b % 5), 5 + 40 * (b // 5)) for b in range(n_blobs)])
    return (centres[:, None] + offsets).reshape(-1, 2).astype(float)


def test_centres_of_four_by_hand() -> None:
    """The knee of four crosses is at k = 4, so that the rule takes the k behind it."""
    assert len(cluster(blobs(4, 5), SamplingOptions(step=2, most=64), seed=0)) == 6
    four = cluster(blobs(4, 5), SamplingOptions(step=4, most=4), seed=0)
    by_hand = {(5, 5), (25, 5), (45, 5), (65, 5)}
    assert {tuple(np.rint(c).astype(int)) for c in four} == by_hand


def test_fewer_distinct_points_than_clusters_keep_the_least_size() -> None:
    points = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])
    centres = cluster(points, SamplingOptions(), seed=0)
    assert len(centres) == 8
    assert {tuple(c) for c in centres} == {(1, 2), (3, 4)}


def candidates(n: int = 64, seed: int = 0) -> np.ndarray:
    return SPACE.unique(SPACE.sample(np.random.default_rng(seed), n))


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_samples_are_valid_new_and_distinct(variant: str) -> None:
    options = Chameleon(variant=variant).sampling_options()
    pool = candidates()
    seen = set(SPACE.keys(candidates(seed=1)))
    chosen = sample(SPACE, pool, np.random.default_rng(0), seen, options)
    keys = SPACE.keys(chosen)
    assert len(set(keys)) == len(keys)
    assert len(keys) % 8 == 0
    assert seen.isdisjoint(keys)
    SPACE.parse_all(keys)


def test_code_variant_clusters_in_the_two_largest_knobs_and_draws_the_rest() -> None:
    pool = candidates()
    pool[:, 0] = 2
    options = SamplingOptions()
    chosen = sample(SPACE, pool, np.random.default_rng(0), (), options)
    assert (chosen[:, 0] == 2).all()


def test_a_redundant_centre_gives_way_to_the_mode() -> None:
    """One cluster: its centre is (1.25, 20, 40), the mode of the candidates 1, 20, 10."""
    options = SamplingOptions(dimensions=None, synthesis="mode", step=1, most=1, retries=0)
    pool = np.array([[1, 10, 10], [1, 20, 20], [1, 30, 30], [2, 20, 100]], np.int32)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(sample(SPACE, pool, rng, (), options), [[1, 20, 40]])
    np.testing.assert_array_equal(mode(pool), [1, 20, 10])
    replaced = sample(SPACE, pool, rng, {"1.20.40"}, options)
    np.testing.assert_array_equal(replaced, [[1, 20, 10]])


def test_when_synthesis_finds_nothing_new_a_random_configuration_does() -> None:
    options = SamplingOptions(step=1, most=1, retries=3)
    pool = np.array([[1, 10, 10]], np.int32)
    chosen = sample(SPACE, pool, np.random.default_rng(0), {"1.10.10"}, options)
    assert len(chosen) == 1
    assert SPACE.key(chosen[0]) != "1.10.10"


def test_an_exhausted_space_gives_fewer() -> None:
    space = DesignSpace((Knob.choice("only", "other", (0, 1, 2)),), "S")
    pool = np.array([[0], [1], [2]], np.int32)
    chosen = sample(space, pool, np.random.default_rng(0), {"0"}, SamplingOptions())
    assert sorted(space.keys(chosen)) == ["1", "2"]


@pytest.mark.slow
def test_variants_are_those_of_the_sheet() -> None:
    code, paper = (Chameleon(variant=v) for v in ("code", "paper"))
    assert (code.ppo_options().clip, code.ppo_options().entropy) == (0.2, 0.3)
    assert (paper.ppo_options().clip, paper.ppo_options().entropy) == (0.3, 0.1)
    assert code.sampling_options() == SamplingOptions(8, 64, 2.5, 2, "sample", 100)
    assert paper.sampling_options() == SamplingOptions(8, 64, 2.5, None, "mode", 100)
