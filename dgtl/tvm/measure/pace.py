"""Whether the machine runs at full speed, told by a fixed piece of work on all cores.

On a shared host two virtual cores may be given one physical one: for seconds on end every kernel
takes twice as long, a whole batch of candidates at a time, so that no statistics of their own
timings tell. The same piece of work, over and over, tells. After a nap the host often places the
cores anew. Where it does not, or where the speed wavers all the time, naps would take most of a
search. So full speed is what a quarter of the looks of late have seen; and each nap ends with a
look, so that a speed that stays is soon full speed.
"""

from __future__ import annotations

import collections
import functools
import math
import os
import time
from typing import TYPE_CHECKING

import numpy as np
import tvm
from tvm.script import tirx as T

if TYPE_CHECKING:
    from collections.abc import Callable

SLOWED = 1.25
"""Slower than at full speed by this much, the work was disturbed: clocks vary by less."""
USUAL, LOOKS = 0.25, 200
"""Full speed is this quantile of the times of so many looks of late."""
NAP_S = 0.1
"""Shorter ones did not make the host think again: docs/decisions/0010-wait-for-full-speed.md."""
FIRST_LOOKS = 5
"""So often the work runs before anything counts, to know how fast it can be."""


class Pace:
    """Waits for the machine to run at full speed.

    Args:
        work: the fixed piece of work, on all cores.
        throttle_wait_s: longest wait for full speed at a time [s]; 0: none.
        clock, sleep: of the machine.
    """

    def __init__(
        self,
        work: Callable[[], None],
        throttle_wait_s: float,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._work, self._clock, self._sleep = work, clock, sleep
        self._naps = math.ceil(throttle_wait_s / NAP_S)
        self._looks: collections.deque[float] = collections.deque(maxlen=LOOKS)
        for look in range(FIRST_LOOKS if self._naps else 0):
            if look:
                sleep(NAP_S)
            self.full()

    def full(self) -> bool:
        """Whether it runs at full speed right now, as far as is known; always if nobody waits."""
        if not self._naps:
            return True
        seconds = []
        for _ in range(3):  # the first may wake threads, any may meet an interrupt
            begin = self._clock()
            self._work()
            seconds.append(self._clock() - begin)
        self._looks.append(min(seconds))
        return self._looks[-1] <= SLOWED * float(np.quantile(self._looks, USUAL))

    def wait(self) -> bool:
        """Naps until it runs at full speed; false if that took too long."""
        for _ in range(self._naps):
            if self.full():
                return True
            self._sleep(NAP_S)
        return self.full()


@functools.lru_cache(maxsize=1)
def of_this_process(throttle_wait_s: float) -> Pace:
    """The pace of a worker, whose kernels use ``TVM_NUM_THREADS`` threads."""
    return Pace(lambda: _multiplications(int(os.environ["TVM_NUM_THREADS"]))(), throttle_wait_s)


@functools.cache
def _multiplications(num_threads: int) -> Callable[[], None]:
    """The piece of work, ready to run."""
    module, numbers = multiplications(num_threads)
    kernel = tvm.compile(module, target="llvm")["main"]
    values = tvm.runtime.tensor(np.zeros(numbers, np.float32))
    return lambda: kernel(values)


def multiplications(num_threads: int) -> tuple[tvm.ir.IRModule, int]:
    """Some 0.1 ms of arithmetic in every thread, in registers: no cache has a say in it.

    Eight independent chains of four lanes keep the units of any core busy without a spill, so that
    a sibling that shares them shows too.

    Returns:
        The kernel, and how many float32 its one argument has.
    """
    chains, lanes, steps = 8, 4, 40_000
    numbers = chains * lanes

    @T.prim_func(s_tir=True)
    def main(values: T.handle):
        a = T.match_buffer(values, (num_threads * numbers,), "float32")
        for thread in T.parallel(num_threads):
            x = T.alloc_buffer((numbers,), "float32", scope="local")
            for i in T.vectorized(numbers):
                x[i] = a[thread * numbers + i]
            for _step in T.serial(steps):
                for chain in T.unroll(chains):
                    for lane in T.vectorized(lanes):
                        x[chain * lanes + lane] = x[chain * lanes + lane] * T.float32(0.5)
                        x[chain * lanes + lane] = x[chain * lanes + lane] + T.float32(1)
            for i in T.vectorized(numbers):
                a[thread * numbers + i] = x[i]

    module = tvm.IRModule({"main": main.with_attr("global_symbol", "main")})
    return module, num_threads * numbers
