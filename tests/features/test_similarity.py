"""What is learned from, where not all can be, is what is most like the targets."""

from __future__ import annotations

import dataclasses

import numpy as np
import toys
from hypothesis import given
from hypothesis import strategies as st

from dgtl.features.similarity import LEAST_SHAPES, distances, most_alike

CONVS = [toys.conv2d(size=size, inputs=n) for size in (7, 14, 28) for n in (8, 16, 64)]
DENSE = [toys.dense(columns=n) for n in (16, 64)]
TASKS = [*CONVS, *DENSE]


def test_a_task_is_most_like_itself_and_its_kind():
    apart = distances(TASKS, TASKS)
    assert np.allclose(np.diag(apart), 0.0)
    assert np.allclose(apart, apart.T)
    assert (np.argsort(apart[0])[-2:] >= len(CONVS)).all()


@given(st.lists(st.integers(1, 500), min_size=len(TASKS), max_size=len(TASKS)), st.integers(1, 999))
def test_the_bound_holds_and_is_used(counts, most):
    chosen = most_alike(TASKS, counts, [TASKS[4], DENSE[0]], most)
    assert list(chosen) == sorted(chosen)
    assert all(0 < n <= counts[i] for i, n in chosen.items())
    each = max(most // LEAST_SHAPES, 1)
    assert sum(chosen.values()) == min(most, sum(min(n, each) for n in counts))


def test_each_target_has_its_like():
    chosen = most_alike(TASKS, [1] * len(TASKS), [CONVS[0], DENSE[1]], 2)
    assert list(chosen) == [0, len(CONVS) + 1]


def test_what_was_measured_often_is_not_all():
    """Many tasks of one shape count as one."""
    often = [dataclasses.replace(CONVS[0], key=f"copy {i}") for i in range(50)]
    tasks = [*often, *CONVS[1:]]
    chosen = most_alike(tasks, [100] * len(tasks), [CONVS[0]], 3200)
    assert sum(n for i, n in chosen.items() if i < len(often)) == 100
    assert set(range(len(often), len(tasks))) < set(chosen)


def test_nothing_is_chosen_of_nothing():
    assert most_alike([], [], TASKS, 10) == {}
