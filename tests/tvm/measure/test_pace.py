"""Waiting for a machine that others slow down, on a made-up machine with its own clock."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgtl.tvm.measure import pace
from dgtl.tvm.measure.pace import FIRST_LOOKS, LOOKS, NAP_S, SLOWED, USUAL, Pace


class Machine:
    """Takes the given seconds for each look at its pace, the last ones for ever."""

    def __init__(self, seconds):
        self.now, self.naps = 0.0, 0
        self._runs = itertools.chain.from_iterable([s] * 3 for s in seconds)
        self._last = seconds[-1]

    def work(self):
        self.now += next(self._runs, self._last)

    def clock(self):
        return self.now

    def sleep(self, seconds):
        assert seconds == NAP_S
        self.now += seconds
        self.naps += 1

    def pace(self, throttle_wait_s):
        return Pace(self.work, throttle_wait_s, self.clock, self.sleep)


def test_it_waits_until_full_speed_is_back():
    machine = Machine([1e-4] * FIRST_LOOKS + [2e-4] * 3 + [1e-4])
    ours = machine.pace(0.5)
    machine.naps = 0
    assert ours.wait()
    assert machine.naps == 3
    assert ours.full()


def test_patience_ends():
    machine = Machine([1e-4] * FIRST_LOOKS + [2e-4])
    ours = machine.pace(0.5)
    machine.naps = 0
    assert not ours.wait()
    assert machine.naps == 5


def test_a_machine_that_was_slow_at_first_is_found_out():
    machine = Machine([2e-4] * FIRST_LOOKS + [1e-4] * LOOKS + [2e-4])
    ours = machine.pace(0.5)
    assert all(ours.full() for _ in range(LOOKS))
    assert not ours.full()


def test_a_speed_that_stays_is_soon_full_speed():
    """Waiting for what does not come back ends: naps take seconds, not most of a search."""
    machine = Machine([1e-4] * FIRST_LOOKS + [2e-4])
    ours = machine.pace(0.5)
    waited = [not ours.wait() for _ in range(100)]
    assert waited == sorted(waited, reverse=True)  # first it waits, then no more
    assert machine.now < LOOKS * NAP_S


def test_a_speed_that_wavers_is_rarely_waited_for():
    """As on a busy host: each look up to half slower than the fastest ever was."""
    seconds = np.random.default_rng(0).uniform(1.1e-4, 1.5e-4, 1000)
    machine = Machine([1e-4, *seconds.tolist()])
    ours = machine.pace(0.5)
    machine.naps = 0
    for _ in range(300):
        ours.wait()
    assert machine.naps < 100


def test_without_patience_nothing_is_looked_at():
    def never():
        raise AssertionError

    ours = Pace(never, 0.0, sleep=never)
    assert ours.wait()
    assert ours.full()


@given(st.lists(st.integers(1, 1000), min_size=FIRST_LOOKS + 1, max_size=40))
def test_full_speed_is_that_of_a_quarter_of_the_looks(seconds):
    ours = Machine([float(s) for s in seconds]).pace(0.3)
    for count in range(FIRST_LOOKS, len(seconds)):
        full, limit = ours.full(), SLOWED * np.quantile(seconds[: count + 1], USUAL)
        # On the limit itself rounding decides: the clock's readings are sums.
        assert seconds[count] == pytest.approx(limit) or full == (seconds[count] < limit)


def test_the_work_takes_all_threads_alike(monkeypatch):
    """Each thread's numbers went through every step: x -> x / 2 + 1 ends at 2."""
    seen = []
    tensor = pace.tvm.runtime.tensor
    monkeypatch.setattr(pace.tvm.runtime, "tensor", lambda v: seen.append(tensor(v)) or seen[-1])
    pace._multiplications.__wrapped__(2)()
    assert seen[0].numpy() == pytest.approx([2.0] * 64)
