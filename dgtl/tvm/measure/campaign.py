"""A measuring campaign: many layers of this machine into one history file.

It may be stopped and started again at any time: what the file holds is not measured again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from typing import TYPE_CHECKING

import tvm

from dgtl.core.history import History, TrialLog, pack
from dgtl.core.records import best_trial
from dgtl.measure import provenance
from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure.local import LocalMeasurer
from dgtl.tvm.workload.sketches import ScheduleSpace
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dgtl.core.records import Hardware, Task, Trial
    from dgtl.core.space import DesignSpace
    from dgtl.tvm.workload.networks import Layer

OPTIONS = MeasureOptions(min_repeat_ms=8.0)
"""How campaigns time: a little shorter than tuning does, for there are many trials."""


@dataclasses.dataclass
class Campaign:
    """What is measured, and what was measured so far. Made by `open_campaign`.

    Args:
        tasks: the tasks of the layers with their design spaces, in the layers' order.
        history: all trials of the file.
    """

    tasks: list[tuple[Task, DesignSpace]]
    history: History
    _log: TrialLog
    _measurer: LocalMeasurer
    _provenance: str
    _measured: int = 0
    _begin: float = dataclasses.field(default_factory=time.monotonic)

    def measure(
        self, task: Task, space: DesignSpace, keys: Sequence[str], stage: str
    ) -> list[Trial]:
        """Measures configurations as one batch and keeps their trials."""
        best = best_trial(self.history.trials(task.key))
        best_s = math.inf if best is None else best.latency_s
        trials = [
            trial.replace(stage=stage, provenance=self._provenance)
            for trial in self._measurer.measure(task, keys, best_s=best_s)
        ]
        self.keep(task, space, trials)
        self._measured += len(trials)
        return trials

    def keep(self, task: Task, space: DesignSpace, trials: Sequence[Trial]) -> None:
        """Writes trials to the file, the task before its first."""
        if trials and not self.history.trials(task.key):
            self._log.task(task, space)
            self.history.add({**task.to_json(), "space": space.to_json()})
        for trial in trials:
            self._log.trial(trial)
            self.history.add(trial.to_json())

    def join(self, other: History, stage: str) -> int:
        """Takes over what ``other`` holds of these tasks and this file does not; how many trials.

        Of several trials of one configuration the first counts, as in a table.
        """
        count, provenances = 0, set()
        for task, space in self.tasks:
            first = {trial.config: trial for trial in reversed(other.trials(task.key))}
            for trial in self.history.trials(task.key):
                first.pop(trial.config, None)
            self.keep(task, space, [trial.replace(stage=stage) for trial in first.values()])
            provenances |= {trial.provenance for trial in first.values()}
            count += len(first)
        for key in sorted(provenances & other.provenances.keys() - self.history.provenances.keys()):
            self._log.provenance(other.provenances[key])
        return count

    @property
    def trials_per_s(self) -> float:
        """Trials measured per second since this campaign was opened."""
        return self._measured / max(time.monotonic() - self._begin, 1e-9)


@contextlib.contextmanager
def open_campaign(
    path: Path, layers: Sequence[Layer], hardware: Hardware, seed: int
) -> Iterator[Campaign]:
    """Opens a history file to measure layers into.

    Args:
        path: the file; made if absent.
        layers: what to measure.
        hardware: this machine.
        seed: kept in the provenance.
    """
    target = tvm.target.Target(hardware.target)
    modules, tasks = {}, []
    for layer in layers:
        for function in extract(lower(layer.model(0), target), hardware):
            if function.task is not None:
                modules[function.task.key] = function.mod
                tasks.append((function.task, ScheduleSpace(function.mod, target).space))
    source = provenance.collect(hardware, seed, machine.versions(), OPTIONS)
    with TrialLog(path) as log, LocalMeasurer(hardware, modules, OPTIONS) as measurer:
        log.provenance(source)
        yield Campaign(tasks, History.read(path), log, measurer, source.id)


def pack_all(folder: Path, target: Path) -> list[Path]:
    """Compresses all history files of a folder into another, for shipping; the files made."""
    packed = []
    for file in sorted(folder.glob("*.jsonl")):
        packed.append(target / f"{file.name}.xz")
        pack(file, packed[-1])
    return packed
