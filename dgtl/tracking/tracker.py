"""Weights & Biases behind one small class: a view of the run, never the truth.

The history is the truth (`dgtl.core.history`). So whatever goes wrong with W&B costs one warning
line and no trial. Offline is the default: nothing leaves the machine until
``scripts/sync_tracking.py``. What W&B would add of its own (console, git, machine, system metrics
sampled while kernels are timed) is off.

A live run reports trial by trial, over ``trial``. What all tasks came to is reported at the end,
one row for the n-th trial of every task, over ``task_trial``: a replay of 88 tables with 256 trials
is 256 rows, not 22,528, and takes a second, not twelve.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from dgtl.core.records import throughput
from dgtl.core.titles import titles
from dgtl.results import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from dgtl.core.history import SourceTask
    from dgtl.core.records import Task, Trial
    from dgtl.results.run_folder import Run
    from dgtl.results.summary import Summary

Mode = Literal["online", "offline", "disabled"]
SERIES = {
    "trial": (
        *("task", "status", "stage", "build_s", "run_s", "model_s", "search_s"),
        *("gflops", "predicted_gflops", "best_gflops"),
    ),
    "task_trial": ("best/*", "mean_share_of_best", "mean_search_s"),
}
"""What is reported row by row, by its axis."""

PICTURES = ("curves_trials.png", "curves_search.png")
TIMEOUT_S = 60.0
"""Longest wait for W&B's server, at the start and at the end of a run."""


def check_mode(mode: str) -> None:
    """Raises ValueError for what is no `Mode`."""
    if mode not in get_args(Mode):
        raise ValueError(f"tracking.mode={mode}: choose of {', '.join(get_args(Mode))}")


class Tracker:
    """Reports one run to W&B.

    Use as a context manager, or call `finish` whatever happens.

    Args:
        mode: ``online``, ``offline`` or ``disabled``. Online without an account is a warning and
            an untracked run.
        folder: the run's folder; W&B writes to ``wandb/`` in it.
        config: settings of the run, nested as they like.
        project: where W&B files the run.
        group: what runs of one experiment have in common, e.g. the workload.
        job_type: what kind of run it is: the method.
        name: by which W&B lists it; without one W&B makes one up.

    Raises:
        ValueError: another ``mode``.
    """

    def __init__(
        self,
        mode: str,
        folder: Path,
        *,
        config: Mapping[str, Any],
        project: str = "dgtl",
        group: str = "",
        job_type: str = "",
        name: str = "",
    ) -> None:
        check_mode(mode)
        self._run: Any = None
        self._trials, self._search_s = 0, 0.0
        self._best: dict[str, float] = {}
        if mode != "disabled":
            with self._forgiving():
                self._run = _start(
                    cast("Mode", mode),
                    folder,
                    config=dict(config),
                    project=project,
                    group=group or None,
                    job_type=job_type or None,
                    name=name or None,
                )

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.finish(0 if exception[0] is None else 1)

    def trial(self, task: Task, trial: Trial, title: str | None = None) -> None:
        """Reports one trial of ``task``, a failure without a throughput.

        Args:
            task, trial: what was tried.
            title: of the task among those of the run; its own if not given.
        """
        self._trials += 1
        self._search_s += trial.search_s
        row: dict[str, Any] = {
            "trial": self._trials,
            "task": task.title if title is None else title,
            "status": trial.status.value,
            "stage": trial.stage,
            "build_s": trial.build_s,
            "run_s": trial.run_s,
            "model_s": trial.model_s,
            "search_s": self._search_s,
        }
        if trial.ok:
            row["gflops"] = task.gflops(trial.latency_s)
            self._best[task.key] = max(self._best.get(task.key, 0.0), row["gflops"])
        if trial.predicted_gflops is not None:
            row["predicted_gflops"] = trial.predicted_gflops
        if task.key in self._best:
            row["best_gflops"] = self._best[task.key]
        self._log(row)

    def end(self, run: Run) -> None:
        """Reports what a run came to: curves, summary, the table of tasks, errors, figures."""
        self._curves(run)
        self.summary(run.summary)
        self.numbers(_prediction_errors(run.results))
        self._table(_task_rows(run.summary))
        self._pictures([run.folder / name for name in PICTURES])

    def numbers(self, numbers: Mapping[str, float]) -> None:
        """Adds numbers to the summary, e.g. the HV of a campaign."""
        self._do(lambda run: run.summary.update(dict(numbers)))

    def summary(self, summary: Summary) -> None:
        """Reports a summary, the tasks by title."""
        record = summary.to_json()
        record["tasks"] = {task["title"]: task for task in _task_rows(summary)}
        self._do(lambda run: run.summary.update(record))

    def _curves(self, run: Run) -> None:
        """Best so far of every task, and the mean of its share of the task's best."""
        results, recorded_best = run.results, run.recorded_best
        curves, tops = {}, {}
        names = titles([result.task for result in results])
        for label, result in zip(names, results, strict=True):
            if result.trials:
                values = throughput(result.task, result.trials)
                curves[label] = metrics.best_so_far(values)
                tops[label] = recorded_best.get(result.task.key, float(values.max())) or 1.0
        length = max(map(len, curves.values()), default=0)
        shares = [
            metrics.after_trials(curve, np.arange(1, length + 1)) / tops[label]
            for label, curve in curves.items()
        ]
        search_s = [np.cumsum([t.search_s for t in result.trials]) for result in results]
        for n in range(1, length + 1):
            row: dict[str, Any] = {
                f"best/{label}": float(curve[n - 1])
                for label, curve in curves.items()
                if n <= len(curve)
            }
            row["mean_share_of_best"] = float(np.mean([share[n - 1] for share in shares]))
            row["mean_search_s"] = float(np.mean([s[min(n, len(s)) - 1] for s in search_s]))
            row["task_trial"] = n
            if run.replayed:
                row["trial"] = sum(min(n, len(curve)) for curve in curves.values())
            self._log(row)

    def _log(self, row: dict[str, Any]) -> None:
        self._do(lambda run: run.log(row))

    def _table(self, tasks: Sequence[dict[str, Any]]) -> None:
        def log(run: Any) -> None:
            import wandb

            rows: list[Any] = [[*task.values()] for task in tasks]
            run.log({"task_table": wandb.Table(columns=list(tasks[0]), data=rows)})

        self._do(log)

    def _pictures(self, paths: Sequence[Path]) -> None:
        def log(run: Any) -> None:
            import wandb

            pictures = {path.stem: wandb.Image(str(path)) for path in paths if path.exists()}
            if pictures:
                run.log(pictures)

        self._do(log)

    def finish(self, exit_code: int = 0) -> None:
        """Ends the W&B run and its service process; calling it again does nothing."""
        run, self._run = self._run, None
        if run is not None:
            with self._forgiving():
                run.finish(exit_code=exit_code)
            _stop_service()

    def _do(self, action: Callable[[Any], None]) -> None:
        if self._run is not None:
            with self._forgiving():
                action(self._run)

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Turns any error of W&B into one warning line, after which the run goes untracked."""
        try:
            yield
        except Exception as error:
            first_line = str(error).strip().split("\n")[0]
            logging.getLogger(__name__).warning(
                "W&B failed, this run goes on untracked: %s: %s", type(error).__name__, first_line
            )
            run, self._run = self._run, None
            if run is not None:
                with contextlib.suppress(Exception):
                    run.finish(exit_code=1)
            _stop_service()


def _start(mode: Mode, folder: Path, **described: Any) -> Any:
    # Read when wandb is imported; without it the client would report its own crashes online.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    settings = wandb.Settings(
        mode=mode,
        silent=True,
        console="off",
        symlink=False,
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        init_timeout=TIMEOUT_S,
        login_timeout=TIMEOUT_S,
        finish_timeout=TIMEOUT_S,
    )
    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(dir=str(folder), settings=settings, **described)
    # None has a summary: the last trial's numbers would pose as the run's. Not by one rule for all,
    # which would take the table and the pictures out of the summary too, where W&B looks for them.
    for axis, names in SERIES.items():
        run.define_metric(axis, summary="none")
        for name in names:
            run.define_metric(name, step_metric=axis, summary="none")
    return run


def run_name(workload: str, model: str, seed: int) -> str:
    """How W&B lists a run."""
    return f"{model} {workload} seed {seed}"


def _task_rows(summary: Summary) -> list[dict[str, Any]]:
    """The tasks; a space may have more configurations than W&B's integers hold."""
    rows = [dataclasses.asdict(task) for task in summary.tasks]
    return [{**row, "space_size": float(row["space_size"])} for row in rows]


def _prediction_errors(results: Sequence[SourceTask]) -> dict[str, float]:
    pairs = [metrics.predicted_and_measured(r.task, r.trials) for r in results]
    return metrics.prediction_errors(np.concatenate([np.empty((0, 2)), *pairs]))


def _stop_service() -> None:
    """Ends the process that W&B starts beside ours; it would outlive a run that fails."""
    with contextlib.suppress(Exception):
        import wandb

        wandb.teardown()
