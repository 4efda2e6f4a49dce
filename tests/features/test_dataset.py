"""Source tasks as arrays: rows of one trial stand at one place in all of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import toys

from dgtl.core.records import Hardware
from dgtl.features.dataset import source_builds, source_outcomes

OTHER = Hardware("other", toys.HARDWARE.target, toys.HARDWARE.num_cores)


def source(build_s: list[float], hardware: Hardware = toys.HARDWARE):
    task = toys.dense(hardware=hardware)
    tuned = toys.tuned(task, toys.space_of(task), len(build_s), seed=0)
    trials = [t.replace(build_s=s) for t, s in zip(tuned.trials, build_s, strict=True)]
    return dataclasses.replace(tuned, trials=tuple(trials))


def test_build_times_are_multiples_of_the_median_on_their_hardware() -> None:
    sources = [source([1.0, 2.0, 4.0]), source([10.0, 10.0, 30.0], OTHER), source([8.0, 2.0])]
    relative = source_builds(sources)
    ok = np.concatenate([[t.ok for t in s.trials] for s in sources])
    assert len(relative) == len(source_outcomes(sources)[1])
    assert np.isfinite(relative).tolist() == ok.tolist()
    own = np.array([1.0, 2.0, 4.0, np.nan, np.nan, np.nan, 8.0, 2.0])
    own[~ok] = np.nan
    np.testing.assert_allclose(
        relative[[0, 1, 2, 6, 7]], (own / np.nanmedian(own))[[0, 1, 2, 6, 7]]
    )


def test_what_failed_or_does_not_say_is_not_known() -> None:
    assert np.isnan(source_builds([source([0.0, 0.0])])).all()
