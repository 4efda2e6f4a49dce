"""Latencies of several builds of one network, timed in turns.

Each contender keeps a warm process of its own, which sleeps while another has its turn, so that
what else the machine does hits all of them alike. Timed one after another, two networks differ by
as much as the machine does between the first and the last.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
import statistics
import time
from typing import TYPE_CHECKING

import tvm

from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm.measure import pace, workers
from dgtl.tvm.measure.machine_lock import machine_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

TURN_S = 0.25
"""A turn is as many runs as fit in this, and at least one."""
PAUSE_S = 0.05
"""Between turns: thread pools spin for a while before they sleep."""

_run: Callable[[], np.ndarray]


@dataclasses.dataclass
class Contender:
    """One way to run the network, in a process of its own; `close` ends it.

    Args:
        name: of the contender.
        pool: its process.
        turns: how many it takes.
        by_turn: for each turn, the times of its runs that count [s].
    """

    name: str
    pool: concurrent.futures.ProcessPoolExecutor
    turns: int
    by_turn: list[list[float]] = dataclasses.field(default_factory=list)

    @classmethod
    def start(cls, name: str, turns: int, initializer: Callable, *arguments: object) -> Contender:
        """A process whose ``initializer`` calls `pin`, then `enter` with what runs the network."""
        context = multiprocessing.get_context("spawn")
        pool = concurrent.futures.ProcessPoolExecutor(1, context, initializer, arguments)
        return cls(name, pool, turns)

    @classmethod
    def of_library(
        cls, name: str, turns: int, library: Path, inputs: dict[str, np.ndarray], cores: int
    ) -> Contender:
        """A network that `deploy.network.build` built, run on these inputs with so many threads."""
        return cls.start(name, turns, _start_tvm, str(library), inputs, cores)

    @property
    def times_s(self) -> list[float]:
        """Of all its runs that count [s]."""
        return [time_s for turn in self.by_turn for time_s in turn]

    @property
    def latency_ms(self) -> float:
        """Median over all turns [ms]."""
        return statistics.median(self.times_s) * 1e3

    def output(self) -> np.ndarray:
        """First output of the network."""
        return self.pool.submit(_output).result()

    def close(self) -> None:
        """Ends the process."""
        self.pool.shutdown()


def race(contenders: Sequence[Contender], rounds: int) -> None:
    """Lets contenders run in turns, ``rounds`` or fewer each, with the machine to themselves."""
    for contender in contenders:
        contender.output()
    with machine_lock():
        for number in range(rounds):
            # Whoever follows the slowest finds other caches: the order turns.
            for i in range(len(contenders)):
                contender = contenders[(number + i) % len(contenders)]
                if number < contender.turns:
                    time.sleep(PAUSE_S)
                    contender.by_turn.append(contender.pool.submit(_turn).result())


def pin(cores: int) -> None:
    """First in a contender's process: as many cores as it may use threads, the same for all."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    workers.start(cores)


def enter(run: Callable[[], np.ndarray]) -> None:
    """Last in a contender's initializer: this is how it runs the network."""
    global _run
    _run = run


def _start_tvm(library: str, inputs: dict[str, np.ndarray], cores: int) -> None:
    pin(cores)
    vm = tvm.relax.VirtualMachine(tvm.runtime.load_module(library), tvm.cpu())
    arguments = [tvm.runtime.tensor(value) for value in inputs.values()]

    def run() -> np.ndarray:
        output = vm["main"](*arguments)
        return output if hasattr(output, "numpy") else output[0]

    enter(run)


def _output() -> np.ndarray:
    value = _run()
    return value.numpy() if hasattr(value, "numpy") else value


def _turn() -> list[float]:
    """Times [s] of the runs of one turn; one that others disturbed is taken again."""
    machine = pace.of_this_process(MeasureOptions.throttle_wait_s)
    times: list[float] = []
    for _ in range(workers.TRIES):
        machine.wait()
        times = _runs()
        if machine.full():
            break
    return times


def _runs() -> list[float]:
    """Times [s] of as many runs as fit into a turn, after one that is not counted."""
    begin = time.perf_counter()
    _run()
    n = max(1, int(TURN_S / (time.perf_counter() - begin)))
    times = []
    for _ in range(n):
        begin = time.perf_counter()
        _run()
        times.append(time.perf_counter() - begin)
    return times
