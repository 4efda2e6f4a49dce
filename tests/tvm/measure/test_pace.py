"""Waiting for a machine that others slow down, on a made-up machine with its own clock."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgtl.tvm.measure import pace
from dgtl.tvm.measure.pace import FIRST_LOOKS, NAP_S, SLOWED, Pace


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


def test_full_speed_is_the_fastest_ever_seen():
    """A machine that was slow when the worker began is found out as soon as it is not."""
    machine = Machine([2e-4] * FIRST_LOOKS + [1e-4, 2e-4])
    ours = machine.pace(0.5)
    assert [ours.full(), ours.full()] == [True, False]


def test_without_patience_nothing_is_looked_at():
    def never():
        raise AssertionError

    ours = Pace(never, 0.0, sleep=never)
    assert ours.wait()
    assert ours.full()


@given(st.lists(st.integers(1, 1000), min_size=FIRST_LOOKS + 1, max_size=40))
def test_full_speed_is_near_the_fastest_so_far(seconds):
    ours = Machine([float(s) for s in seconds]).pace(0.3)
    for count in range(FIRST_LOOKS, len(seconds)):
        full, limit = ours.full(), SLOWED * min(seconds[: count + 1])
        # On the limit itself rounding decides: the clock's readings are sums.
        assert seconds[count] == limit or full == (seconds[count] < limit)


def test_the_work_takes_all_threads_alike(monkeypatch):
    """Each thread's numbers went through every step: x -> x / 2 + 1 ends at 2."""
    seen = []
    tensor = pace.tvm.runtime.tensor
    monkeypatch.setattr(pace.tvm.runtime, "tensor", lambda v: seen.append(tensor(v)) or seen[-1])
    pace._multiplications.__wrapped__(2)()
    assert seen[0].numpy() == pytest.approx([2.0] * 64)
