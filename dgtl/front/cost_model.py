"""`dgtl.cost_model`: the deep GP in TVM's own MetaSchedule, instead of its boosted trees.

A candidate of MetaSchedule is a trace. Where it follows a sketch that dgtl has too (all but those
with `rfactor`, as MetaSchedule's rules for CPUs are), its decisions are a configuration, which has
features, for which the model of all that was tuned before predicts throughput. What is measured
meanwhile conditions the model, task by task, as in a search of dgtl.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.cost_model import PyCostModel
from tvm_ffi import structural_hash

from dgtl.core import local_history
from dgtl.core.history import SHIPPED, History, HistoryError, SourceTask, write_records
from dgtl.core.local_history import LocalHistory
from dgtl.core.records import Hardware, Status, Trial
from dgtl.features.problem import Problem
from dgtl.methods.dgp import DGP
from dgtl.tvm import allow_intrinsics
from dgtl.tvm import hardware as machine
from dgtl.tvm.workload.sketches import NoSpaceError, ScheduleSpace
from dgtl.tvm.workload.tasks import task_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tvm
    from numpy.typing import NDArray
    from tvm.s_tir.meta_schedule import TuneContext
    from tvm.s_tir.meta_schedule.runner import RunnerResult
    from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate

    from dgtl.models import CostModel

logger = logging.getLogger(__name__)

SEED = 0
"""Of the ready-made model, and of trees that are fitted to what is measured."""


@dataclasses.dataclass
class _Target:
    """A task that MetaSchedule tunes.

    Args:
        schedules: its sketches as dgtl has them.
        problem: the same as models see it.
        trials: what was measured of it, by configuration.
        model: tuned to these; None: to be tuned before the next prediction.
        said: whether it was said that there are candidates of other sketches.
    """

    schedules: ScheduleSpace
    problem: Problem
    trials: dict[str, Trial]
    model: CostModel | None = None
    said: bool = False

    def configurations(self, candidates: Sequence[MeasureCandidate]) -> tuple[Any, NDArray[Any]]:
        """Which of the candidates follow a known sketch [N], and their configurations [<=N, K]."""
        found = [self.schedules.configuration(candidate.sch.trace) for candidate in candidates]
        known = np.array([config is not None for config in found], dtype=bool)
        rows = [config for config in found if config is not None]
        return known, np.array(rows, np.int32).reshape(-1, len(self.schedules.space.knobs))


@derived_object
class DeepGPCostModel(PyCostModel):
    """The deep GP of `model=dgp` as a cost model of MetaSchedule.

    Args:
        method: prepared, see `of_history`.
    """

    def __init__(self, method: DGP):
        super().__init__()
        self.method = method
        self._targets: dict[tuple[int, str], _Target | None] = {}
        self._loaded: dict[str, SourceTask] = {}

    def predict(
        self, context: TuneContext, candidates: Sequence[MeasureCandidate]
    ) -> NDArray[np.float64]:
        """Expected throughput of each candidate [N] in GFLOPS, less where it may not run.

        A candidate of a sketch that dgtl does not have is given the mean of the others; of a
        function that dgtl does not tune (pooling, softmax) all candidates are worth the same.

        Raises:
            ValueError: the target is no CPU.
        """
        target = self._target(context)
        scores = np.ones(len(candidates))
        if target is None:
            return scores
        known, configs = target.configurations(candidates)
        if not known.all() and not target.said:
            target.said = True
            logger.warning(
                "%s: %d of %d candidates follow sketches that dgtl does not have, and are given "
                "the mean of the others",
                target.problem.task.title,
                np.sum(~known),
                len(known),
            )
        if known.any():
            features = target.problem.features(configs)
            scores[known] = np.exp2(self.method.score(self._model(target), features))
            scores[~known] = scores[known].mean()
        return scores

    def update(
        self,
        context: TuneContext,
        candidates: Sequence[MeasureCandidate],
        results: Sequence[RunnerResult],
    ) -> None:
        """Takes up what was measured; those of unknown sketches are left out.

        Raises:
            ValueError: the target is no CPU.
        """
        target = self._target(context)
        if target is None:
            return
        known, configs = target.configurations(candidates)
        ran = [result for result, is_known in zip(results, known, strict=True) if is_known]
        for key, result in zip(target.schedules.space.keys(configs), ran, strict=True):
            target.trials[key] = _trial(target.problem.task.key, key, result)
        target.model = None

    def save(self, path: str) -> None:
        """Writes what was measured as a history: JSON lines, compressed where it ends in .xz.

        With the history that the model learned, this is all of it. ``dgtl history import`` takes
        such a file up.
        """
        write_records(History.of(self._measured().values()).records(), Path(path))

    def load(self, path: str) -> None:
        """Takes up what `save` wrote, in the place of what was measured until now.

        Raises:
            ValueError: the file is missing or no history.
        """
        try:
            self._loaded = {source.task.key: source for source in History.read(Path(path))}
        except HistoryError as error:
            # TVM hands on kinds of errors that it knows.
            raise ValueError(str(error)) from error
        self._targets.clear()

    def _measured(self) -> dict[str, SourceTask]:
        """Every task with its trials, those of a loaded file included."""
        found = dict(self._loaded)
        for target in filter(None, self._targets.values()):
            task, space = target.problem.task, target.problem.space
            if target.trials:
                found[task.key] = SourceTask(task, space, tuple(target.trials.values()))
        return found

    def _target(self, context: TuneContext) -> _Target | None:
        """What is known of a task; None if it is none that dgtl tunes."""
        key = (structural_hash(context.mod), str(context.target))
        if key not in self._targets:
            self._targets[key] = self._begin(context)
        return self._targets[key]

    def _begin(self, context: TuneContext) -> _Target | None:
        hardware = _hardware(context.target)
        name = str(context.task_name)
        task = task_of(context.mod, name, 1, hardware)
        try:
            if task is None:
                raise NoSpaceError("it has no sum of products")
            schedules = ScheduleSpace(context.mod, context.target)
        except NoSpaceError as reason:
            logger.warning("%s: all candidates are worth the same, for dgtl: %s", name, reason)
            return None
        loaded, trials = self._loaded.get(task.key), {}
        if loaded is not None and loaded.space.to_json() == schedules.space.to_json():
            trials = {trial.config: trial for trial in loaded.trials}
        return _Target(schedules, Problem(task, schedules.space), trials)

    def _model(self, target: _Target) -> CostModel:
        """The model tuned to all trials of a task."""
        if target.model is None:
            problem = target.problem
            ran = [trial for trial in target.trials.values() if trial.ok]
            like = problem.space.sample_distinct(
                np.random.default_rng(SEED), self.method.initial_set
            )
            model = prior = self.method.prior(problem.features(like))
            if ran:
                features = problem.features(problem.space.of_trials(ran))
                gflops = np.array([problem.gflops(trial) for trial in ran])
                model = self.method.adapt(prior, features, gflops, SEED)
            assert model is not None, "a prepared method has a model of its sources"
            target.model = model
        return target.model


def of_history(*, local: bool) -> DeepGPCostModel:
    """A cost model that has learned the shipped history, and the local one where asked for."""
    # MetaSchedule's own rules look intrinsics up.
    allow_intrinsics()
    history = History.read(SHIPPED)
    here = machine.detect()
    # Those of `dgtl tune`, for which the model comes ready made.
    sources = history.sources(here, any_hardware=True)
    method = DGP()
    method.prepare(sources, Path(platformdirs.user_cache_dir("dgtl")) / "models", SEED)
    if local:
        read = LocalHistory.read(local_history.default_folder())
        for text in read.remarks:
            logger.warning(text)
        method.learn_further(read.of_kind(here))
    return DeepGPCostModel(method)


def _hardware(target: tvm.target.Target) -> Hardware:
    """The processor of a target, which is taken to be this one.

    Raises:
        ValueError: it is no CPU.
    """
    if target.kind.name != "llvm":
        raise ValueError(
            f"dgtl.cost_model knows CPUs, and the target is {target.kind.name}: leave it out there"
        )
    text = json.dumps({name: _plain(value) for name, value in target.export().items()})
    return Hardware(machine.cpu_name(), text, int(target.attrs["num-cores"]))


def _plain(value: Any) -> Any:
    return value if isinstance(value, int) else str(value)


def _trial(task: str, config: str, result: RunnerResult) -> Trial:
    """A measurement of MetaSchedule as a trial."""
    if not result.run_secs:
        return Trial(task, config, Status.RUN_ERROR, error=str(result.error_msg))
    return Trial(task, config, Status.OK, tuple(float(seconds) for seconds in result.run_secs))
