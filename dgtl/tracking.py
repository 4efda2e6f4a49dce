"""Weights & Biases behind one small class: a view of the run, never the truth.

The history is the truth (`dgtl.history`). So whatever goes wrong with W&B costs one warning line
and no trial. Offline is the default: nothing leaves the machine until ``wandb sync``. What W&B
would add of its own (console, git, machine, system metrics sampled while kernels are timed) is off.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from dgtl.records import Task, Trial
    from dgtl.summary import Summary

Mode = Literal["online", "offline", "disabled"]
TIMEOUT_S = 60.0
"""Longest wait for W&B's server, at the start and at the end of a run."""


class Tracker:
    """Reports one run to W&B.

    Use as a context manager, or call `finish` whatever happens.

    Args:
        mode: ``online``, ``offline`` or ``disabled``. Online without an account is a warning and
            an untracked run.
        folder: the run's folder; W&B writes to ``wandb/`` in it.
        config: settings of the run, nested as they like.
        project: where W&B files the run.
        group: what runs of one experiment have in common.
        job_type: what kind of run it is.

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
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"tracking={mode}: must be one of {', '.join(get_args(Mode))}")
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
                )

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.finish(0 if exception[0] is None else 1)

    def trial(self, task: Task, trial: Trial) -> None:
        """Reports one trial of ``task``, a failure without a throughput."""
        self._trials += 1
        self._search_s += trial.search_s
        metrics: dict[str, Any] = {
            "trial": self._trials,
            "task": task.name,
            "status": trial.status.value,
            "stage": trial.stage,
            "build_s": trial.build_s,
            "run_s": trial.run_s,
            "model_s": trial.model_s,
            "search_s": self._search_s,
        }
        if trial.ok:
            metrics["gflops"] = task.gflops(trial.latency_s)
            self._best[task.key] = max(self._best.get(task.key, 0.0), metrics["gflops"])
        if task.key in self._best:
            metrics["best_gflops"] = self._best[task.key]
        self._do(lambda run: run.log(metrics))

    def summary(self, summary: Summary) -> None:
        """Reports what the run came to, the tasks by name."""
        record = summary.to_json()
        # A space may have more configurations than W&B's integers hold.
        record["tasks"] = {
            task["name"]: {**task, "space_size": float(task["space_size"])}
            for task in record["tasks"]
        }
        self._do(lambda run: run.summary.update(record))

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
    # Our own step axis, and no summary but ours: the last trial's numbers would pose as the run's.
    run.define_metric("trial", summary="none")
    run.define_metric("*", step_metric="trial", summary="none")
    return run


def _stop_service() -> None:
    """Ends the process that W&B starts beside ours; it would outlive a run that fails."""
    with contextlib.suppress(Exception):
        import wandb

        wandb.teardown()
