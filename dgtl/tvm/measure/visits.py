"""Measuring by visits: what is to be timed becomes a folder, and its results come back later.

For a device that a batch queue or a copied disk leads to. A run asks for whole batches of all its
tasks, writes them as one visit, and ends; the runner of `dgtl.device` times them where the device
is; the same run started again finds the results and goes on with the next batches. The paper's
method needs two visits for a whole network, all tuning sets and all winners, and a third to check
and time the network.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from dgtl.measure.protocol import VisitNeededError
from dgtl.tvm.measure.builders import Builders
from dgtl.tvm.measure.machine_lock import machine_lock
from dgtl.tvm.measure.visit_folder import Order, WrittenVisit, is_done, read, visits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import tvm

    from dgtl.core.records import Hardware, Task, Trial
    from dgtl.measure.protocol import MeasureOptions
    from dgtl.tvm.measure.visit_folder import NetworkOrder, NetworkResult


class VisitMeasurer:
    """A `dgtl.measure.protocol.Measurer` whose device is elsewhere.

    Args:
        hardware: what is measured.
        functions: the fused function of each task, by task key.
        options: repeats, timeouts.
        folder: of the visits of this run, ``1``, ``2`` and so on; made if absent.

    Raises:
        ValueError: a visit with results of another, or damaged ones.
    """

    def __init__(
        self,
        hardware: Hardware,
        functions: Mapping[str, tvm.ir.IRModule],
        options: MeasureOptions,
        folder: Path,
    ):
        self.hardware = hardware
        self._functions = functions
        self._options = options
        self._folder = folder
        self._orders: list[Order] = []
        self._network_orders: dict[str, NetworkOrder] = {}
        self._trials: dict[tuple[str, str], Trial] = {}
        self._verdicts: dict[tuple[str, str], Trial] = {}
        self._networks: dict[str, NetworkResult] = {}
        self._unfinished: Path | None = None
        for visit in visits(folder):
            if not is_done(visit):
                self._unfinished = visit
                break
            found = read(visit, hardware)
            self._trials |= {(trial.task, trial.config): trial for trial in found.trials}
            self._verdicts |= {(trial.task, trial.config): trial for trial in found.verdicts}
            self._networks |= found.networks

    def close(self) -> None:
        """Nothing is held between calls."""

    def measure(
        self,
        task: Task,
        configs: Sequence[str],
        *,
        best_s: float,
        on_trial: Callable[[Trial], None] | None = None,
    ) -> list[Trial]:
        """As `dgtl.measure.protocol.Measurer.measure`.

        Raises:
            VisitNeededError: some are not timed yet; they are part of the next visit.
        """
        missing = [config for config in configs if (task.key, config) not in self._trials]
        if missing:
            self._orders.append(Order(task, missing, best_s))
            raise VisitNeededError(task.key)
        trials = [self._trials[task.key, config] for config in configs]
        if on_trial is not None:
            for trial in trials:
                on_trial(trial)
        return trials

    def check(self, configs: Sequence[tuple[Task, str]]) -> list[Trial | None]:
        """As `dgtl.tvm.measure.local.LocalMeasurer.check`.

        Raises:
            VisitNeededError: some are not checked yet; that is part of the next visit.
        """
        verdicts = [self._verdicts.get((task.key, config)) for task, config in configs]
        waiting = [what for what, known in zip(configs, verdicts, strict=True) if known is None]
        if waiting:
            self._orders += [Order(task, [config], check=True) for task, config in waiting]
            raise VisitNeededError(waiting[0][0].key)
        return [None if verdict is None or verdict.ok else verdict for verdict in verdicts]

    def network(self, key: str, order: Callable[[], NetworkOrder]) -> NetworkResult:
        """What a network did on the device.

        Args:
            key: of the network, the same for the same schedules.
            order: makes it, where it has not run yet.

        Raises:
            VisitNeededError: it has not; that is part of the next visit.
        """
        if key not in self._networks:
            if self._unfinished is None:
                self._network_orders[key] = order()
            raise VisitNeededError(key)
        return self._networks[key]

    @property
    def n_ordered(self) -> int:
        """Configurations that the next visit will time."""
        return sum(len(order.configs) for order in self._orders)

    def next_visit(self, on_built: Callable[[int, int], None] | None = None) -> Path:
        """The folder to take to the device: the one that is not done yet, or a new one.

        Args:
            on_built: called after each task with how many configurations were handled and how many
                of them failed to build.
        """
        if self._unfinished is not None:
            return self._unfinished
        number = 1 + len(visits(self._folder))
        visit = self._folder / str(number)
        write_visit(
            visit,
            self.hardware,
            self._functions,
            self._options,
            self._orders,
            self._network_orders,
            on_built,
        )
        return visit


def write_visit(
    visit: Path,
    hardware: Hardware,
    functions: Mapping[str, tvm.ir.IRModule],
    options: MeasureOptions,
    orders: Sequence[Order],
    networks: Mapping[str, NetworkOrder] | None = None,
    on_built: Callable[[int, int], None] | None = None,
) -> None:
    """Builds what is ordered into a visit folder, which is there only once it is whole.

    Args:
        visit: the folder, not there yet.
        hardware, functions, options: as of `VisitMeasurer`.
        orders, networks: what to build, and what is built, by key.
        on_built: as of `VisitMeasurer.next_visit`.
    """
    unfinished = visit.with_name(f"{visit.name}.building")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "packs").mkdir(parents=True)
    builders = Builders(hardware, functions, options.build_timeout_s)
    try:
        written = WrittenVisit(unfinished)
        for order in orders:
            written.add(order, builders)
            if on_built is not None:
                on_built(written.handled, len(written.failed))
        for key, network in (networks or {}).items():
            written.add_network(key, network)
        written.finish(hardware, options)
    finally:
        builders.close()
    unfinished.rename(visit)


def run_visit(visit: Path) -> None:
    """Runs a visit on the device of this machine.

    Raises:
        ValueError: the runner refuses it.
    """
    with machine_lock():
        done = subprocess.run(
            [sys.executable, "-m", "dgtl.device", str(visit)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
    if done.returncode != 0:
        raise ValueError(done.stderr.strip().removeprefix("error: ") or f"{visit} was not run")
