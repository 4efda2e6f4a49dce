"""What a run comes to: one row per task and the totals of the network, as ``summary.json``.

Everything here follows from tasks and trials; nothing is measured or timed again.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from dgtl.core.files import read_object, write_whole
from dgtl.core.records import best_trial
from dgtl.core.titles import titles
from dgtl.core.typed import check_schema, typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from dgtl.core.history import SourceTask
    from dgtl.core.records import Hardware, Task, Trial
    from dgtl.core.space import DesignSpace

SUMMARY_SCHEMA = 2
"""Version of ``summary.json``; a reader refuses a newer one. 2: tasks have a title."""


@dataclasses.dataclass(frozen=True)
class TaskSummary:
    """What tuning one task came to.

    Args:
        name, kind, weight, flops: of the task.
        title: what a person calls it, unlike that of any other task of the run.
        space_size: configurations of its design space.
        trials: configurations tried, failures included.
        best_gflops: throughput of its best trial [GFLOPS]; None if every trial failed.
        best_latency_us: latency of its best trial [us]; None likewise.
        best_key: text key of the best configuration; None likewise. Without a latency it is the
            model's choice, which was not measured.
        search_s: search time of the task [s].
    """

    name: str
    title: str
    kind: str
    weight: int
    flops: float
    space_size: int
    trials: int
    best_gflops: float | None
    best_latency_us: float | None
    best_key: str | None
    search_s: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run came to.

    Args:
        workload, model: names, as given on the command line.
        hardware: processor and number of cores, e.g. ``amd-epyc-znver4/4``.
        seed: of the run.
        search_s: search time [s]: wall clock of proposing, building and running.
        build_s, run_s: seconds of all builds and of all runs. Builds run side by side, so that
            their sum may exceed ``search_s``.
        model_s: seconds in cost model and search, part of ``search_s``.
        pretrain_s: seconds of learning from the sources before the search, those of an earlier run
            whose model was loaded included; not in ``search_s``.
        trials, failed_trials: how many were tried, and how many of these failed.
        untuned_latency_ms, latency_ms: latency of the network without and with the best schedules;
            None where it was not timed.
        sum_of_tasks_ms: sum over tasks of weight x best latency; None if a task has no best.
        source_tasks, source_trials: what was learnt from.
        tasks: one summary each.
        schema: version of this record.
    """

    workload: str
    model: str
    hardware: str
    seed: int
    search_s: float
    build_s: float
    run_s: float
    model_s: float
    pretrain_s: float
    trials: int
    failed_trials: int
    untuned_latency_ms: float | None
    latency_ms: float | None
    sum_of_tasks_ms: float | None
    source_tasks: int
    source_trials: int
    tasks: tuple[TaskSummary, ...]
    schema: int = SUMMARY_SCHEMA

    @property
    def speedup(self) -> float | None:
        """Untuned latency over latency; None if either was not timed."""
        return _ratio(self.untuned_latency_ms, self.latency_ms)

    @property
    def untuned(self) -> tuple[TaskSummary, ...]:
        """The tasks of which no trial ran, nor the model chose: by the default schedule."""
        return tuple(task for task in self.tasks if task.best_key is None)

    @property
    def chosen(self) -> tuple[TaskSummary, ...]:
        """The tasks that run by what the model chose, unmeasured."""
        return tuple(
            task
            for task in self.tasks
            if task.best_key is not None and task.best_latency_us is None
        )

    def with_choices(self, keys: Sequence[str | None]) -> Summary:
        """The same where the model chose, unmeasured, for tasks of which no trial ran.

        Args:
            keys: of the configurations, for each task; None where it did not choose.
        """
        tasks = [
            task if task.best_key is not None else dataclasses.replace(task, best_key=key)
            for task, key in zip(self.tasks, keys, strict=True)
        ]
        return dataclasses.replace(self, tasks=tuple(tasks))

    @property
    def nothing_ran(self) -> bool:
        """Whether there is not one trial that ran."""
        return len(self.untuned) == len(self.tasks)

    @property
    def network_over_tasks(self) -> float | None:
        """Latency of the network over the sum of its tasks.

        Above 1 by what is not tuned (pooling, copies) and by activations that have left the caches;
        None if either is missing.
        """
        return _ratio(self.latency_ms, self.sum_of_tasks_ms)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ``schema`` first; what is missing is None (``null``)."""
        record = dataclasses.asdict(self)
        return {"schema": record.pop("schema"), **record, "tasks": list(record["tasks"])}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Summary:
        """Inverse of `to_json`. Raises ValueError for a newer schema, or what is no summary."""
        check_schema(record, SUMMARY_SCHEMA, "summary")
        tasks = record.get("tasks")
        if isinstance(tasks, list):
            # A summary of schema 1 knew tasks by their names only.
            tasks = [{"title": t.get("name"), **t} if isinstance(t, dict) else t for t in tasks]
        return typed(cls, {**record, "schema": SUMMARY_SCHEMA, "tasks": tasks})

    def write(self, path: Path) -> None:
        """Writes ``summary.json``; a number that is not finite raises ValueError."""
        write_whole(path, json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Summary:
        """Inverse of `write`. Raises ValueError for what is no summary."""
        try:
            return cls.from_json(read_object(path))
        except ValueError as error:
            raise ValueError(f"{path} cannot be used: {error}") from error


def summarise_task(
    task: Task, space: DesignSpace, trials: Sequence[Trial], title: str | None = None
) -> TaskSummary:
    """Summary of one task, by its own title if none is given; the first of equals is the best."""
    best = best_trial(trials)
    return TaskSummary(
        name=task.name,
        title=task.title if title is None else title,
        kind=task.kind,
        weight=task.weight,
        flops=task.flops,
        space_size=space.size,
        trials=len(trials),
        best_gflops=None if best is None else task.gflops(best.latency_s),
        best_latency_us=None if best is None else best.latency_s * 1e6,
        best_key=None if best is None else best.config,
        search_s=sum(trial.search_s for trial in trials),
    )


def summarise(
    results: Sequence[SourceTask],
    *,
    workload: str,
    model: str,
    hardware: Hardware,
    seed: int,
    pretrain_s: float,
    sources: Sequence[SourceTask],
    untuned_latency_ms: float | None,
    latency_ms: float | None,
) -> Summary:
    """Summary of a whole run.

    Args:
        results: the tuned tasks with their spaces and trials, in the order of the network.
        sources: the tasks that were learnt from.
        workload, model, hardware, seed, pretrain_s, untuned_latency_ms, latency_ms: as in
            `Summary`.
    """
    names = titles([result.task for result in results])
    tasks = tuple(
        summarise_task(r.task, r.space, r.trials, name)
        for r, name in zip(results, names, strict=True)
    )
    trials = [trial for result in results for trial in result.trials]
    return Summary(
        workload=workload,
        model=model,
        hardware=f"{hardware.name}/{hardware.num_cores}",
        seed=seed,
        search_s=sum(trial.search_s for trial in trials),
        build_s=sum(trial.build_s for trial in trials),
        run_s=sum(trial.run_s for trial in trials),
        model_s=sum(trial.model_s for trial in trials),
        pretrain_s=pretrain_s,
        trials=len(trials),
        failed_trials=sum(not trial.ok for trial in trials),
        untuned_latency_ms=untuned_latency_ms,
        latency_ms=latency_ms,
        sum_of_tasks_ms=sum_of_tasks_ms(tasks),
        source_tasks=len(sources),
        source_trials=sum(len(source.trials) for source in sources),
        tasks=tasks,
    )


def sum_of_tasks_ms(tasks: Iterable[TaskSummary]) -> float | None:
    """Sum of weight x best latency [ms]; None if a task has no best trial."""
    total = 0.0
    for task in tasks:
        if task.best_latency_us is None:
            return None
        total += task.weight * task.best_latency_us / 1e3
    return total


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    if numerator is None or denominator is None or denominator == 0:
        return None
    return numerator / denominator
