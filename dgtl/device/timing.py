"""Two clocks that tell how long a kernel takes: the processor's and a GPU's."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable
from typing import Any

from .driver import Driver

Run = Callable[[], Any]


class Wall:
    """Times by the wall clock: on the processor a kernel has run when its call returns."""

    def sync(self) -> None:
        pass

    def first_s(self, run: Run) -> float:
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin

    def mean_s(self, run: Run, at_least_s: float) -> float:
        """Seconds per run over as many runs as take ``at_least_s``."""
        run()  # not counted: it wakes the threads
        number, elapsed = 0, 0.0
        begin = time.perf_counter()
        while number == 0 or elapsed < at_least_s:
            run()
            number += 1
            elapsed = time.perf_counter() - begin
        return elapsed / number


class Events:
    """Times by the device's own clock: events on the null stream, where TVM launches kernels."""

    def __init__(self) -> None:
        self._driver = Driver()
        context = ctypes.c_void_p()
        # TVM uses the runtime API, whose context is the primary one.
        self._driver("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._driver.device)
        self._driver("cuCtxSetCurrent", context)
        self._begin, self._end = ctypes.c_void_p(), ctypes.c_void_p()
        for event in (self._begin, self._end):
            self._driver("cuEventCreate", ctypes.byref(event), 0)

    def sync(self) -> None:
        self._driver("cuCtxSynchronize")

    def _burst_s(self, run: Run, number: int) -> float:
        elapsed_ms = ctypes.c_float()
        self._driver("cuEventRecord", self._begin, None)
        for _ in range(number):
            run()
        self._driver("cuEventRecord", self._end, None)
        self._driver("cuEventSynchronize", self._end)
        self._driver("cuEventElapsedTime", ctypes.byref(elapsed_ms), self._begin, self._end)
        return max(elapsed_ms.value / 1e3, 1e-7)  # events tell half a microsecond apart

    def first_s(self, run: Run) -> float:
        run()  # not counted: TVM loads the binary into the device at the first call
        self.sync()
        return self._burst_s(run, 1)

    def mean_s(self, run: Run, at_least_s: float) -> float:
        """Seconds per run over about as many runs as take ``at_least_s``."""
        run()
        number, elapsed_s = 1, self._burst_s(run, 1)
        while elapsed_s < at_least_s / 10 and number < 1 << 14:
            number *= 2
            elapsed_s = self._burst_s(run, number)
        number = max(math.ceil(number * at_least_s / elapsed_s), 1)
        return self._burst_s(run, number) / number
