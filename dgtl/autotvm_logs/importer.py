"""From AutoTVM logs to tasks, design spaces and trials.

Every line is accounted for: it becomes a trial, failed ones included, or is skipped for a named
reason. What a log says of time is one number per trial, building and running together; it becomes
`Trial.wall_s`, which drives the clock of a replay. Where a trial failed before it ran, all of it is
``build_s``; otherwise how it divides is not known, and ``build_s`` and ``run_s`` stay 0.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import operator
import re
from typing import TYPE_CHECKING

import numpy as np

from dgtl.autotvm_logs.layers import UnsupportedError, WinogradProduct
from dgtl.autotvm_logs.records import LineError, find_logs, parse
from dgtl.autotvm_logs.templates import describe, target_kind
from dgtl.core.files import DamagedError, read_lines
from dgtl.core.gpus import GPUS
from dgtl.core.history import SourceTask, TrialLog
from dgtl.core.limits import check_task, check_trial
from dgtl.core.records import Hardware, Provenance, Status, Task, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dgtl.autotvm_logs.records import Record
    from dgtl.core.space import DesignSpace

FAILURES = {
    1: (Status.INVALID, "instantiation error"),
    2: (Status.BUILD_ERROR, "compile error (host)"),
    3: (Status.BUILD_ERROR, "compile error (device)"),
    4: (Status.RUN_ERROR, "runtime error"),
    5: (Status.WRONG_RESULT, "wrong answer"),
    6: (Status.BUILD_TIMEOUT, "build timeout"),
    7: (Status.RUN_TIMEOUT, "run timeout"),
    8: (Status.RUN_ERROR, "unknown error"),
}
"""AutoTVM's MeasureErrorNo."""

NEVER_RAN = (Status.INVALID, Status.BUILD_ERROR, Status.BUILD_TIMEOUT)

PADDING = 3
"""Position of the padding in the arguments of a convolution."""


@dataclasses.dataclass
class Imported:
    """What was found in logs.

    Args:
        tasks: task and design space by task key.
        provenances: one per log and version of TVM.
        trials: all trials, in the order of the lines.
        files, lines: how many were read.
        skipped: lines that are no trial, by reason.
        unpadded: trials of layers that the log calls padded (``SAME``) though knobs and index are
            those of the layer without padding: that is the layer that ran.
        off_index: trials whose index in the log is not their rank in our space: the log is of
            another version of the template. The trial is what the log's knobs say.
    """

    tasks: dict[str, tuple[Task, DesignSpace]] = dataclasses.field(default_factory=dict)
    provenances: dict[str, Provenance] = dataclasses.field(default_factory=dict)
    trials: list[Trial] = dataclasses.field(default_factory=list)
    files: int = 0
    lines: int = 0
    skipped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    unpadded: int = 0
    off_index: int = 0

    @property
    def sources(self) -> list[SourceTask]:
        """Every task with its trials, in the order of their first appearance."""
        trials: dict[str, list[Trial]] = {key: [] for key in self.tasks}
        for trial in self.trials:
            trials[trial.task].append(trial)
        return [SourceTask(*self.tasks[key], tuple(found)) for key, found in trials.items()]

    def write(self, folder: Path) -> list[Path]:
        """Writes one history file per hardware into ``folder``, and returns their paths.

        A file appears under its name only when it is complete.

        Raises:
            ValueError: such a file is there already, or the folder cannot be written.
        """
        names = sorted({task.hardware.name for task, _ in self.tasks.values()})
        paths = {name: folder / f"{name}.jsonl" for name in names}
        for path in paths.values():
            if path.exists():
                raise ValueError(f"{path} exists already: remove it, or choose another folder")
        try:
            for name, path in paths.items():
                partial = path.with_name(path.name + ".partial")
                partial.unlink(missing_ok=True)
                self._write(partial, name)
                partial.rename(path)
        except OSError as error:
            raise ValueError(f"{folder} cannot be written: {error.strerror or error}") from error
        return list(paths.values())

    def _write(self, path: Path, hardware_name: str) -> None:
        with TrialLog(path) as log:
            for provenance in self.provenances.values():
                if provenance.hardware.name == hardware_name:
                    log.provenance(provenance)
            keys = set()
            for task, space in self.tasks.values():
                if task.hardware.name == hardware_name:
                    log.task(task, space)
                    keys.add(task.key)
            for trial in self.trials:
                if trial.task in keys:
                    log.trial(trial)


def import_logs(paths: Iterable[Path], device: str | None = None) -> Imported:
    """Reads AutoTVM logs.

    Args:
        paths: files (plain, ``.gz`` or ``.xz``), or folders searched for ``.log`` and ``.json``
            files at any depth.
        device: name of the hardware; None takes the name of each log's folder.

    Raises:
        ValueError: a path does not exist or cannot be read, or no line of any file is a trial.
    """
    files = [file for path in paths for file in find_logs(path)]
    imported = Imported()
    for file in dict.fromkeys(files):
        name = _hardware_name(file.resolve().parent.name if device is None else device)
        try:
            _LogReader(imported, file, name).read()
        except OSError as error:
            raise ValueError(f"{file} cannot be read: {error.strerror or error}") from error
    if not imported.trials:
        found = ", ".join(f"{n} x {reason}" for reason, n in imported.skipped.most_common(3))
        raise ValueError(
            f"no AutoTVM record in {imported.files} files ({found or 'they are empty'}): "
            "give logs with one JSON record per line"
        )
    return imported


def _hardware_name(device: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    if not name:
        raise ValueError(f"device '{device}' is no name: give one with --device")
    return name


@dataclasses.dataclass(frozen=True)
class _KnownTask:
    """A task with its options by what the log's entities call them, one dictionary per knob."""

    task: Task
    space: DesignSpace
    knobs: tuple[tuple[str, dict[tuple[int, ...], int]], ...]
    strides: tuple[int, ...]
    suffix: str

    def find(self, entity: list) -> tuple[str, int] | None:
        """Text key and rank of a log's entity; None if it is not in the space."""
        indices = []
        try:
            for (name, options), (knob, _, value) in zip(self.knobs, entity, strict=True):
                # Of a split, AutoTVM writes -1 for the outermost part, or (before v0.6) its size.
                inner = tuple(value[1:]) if isinstance(value, list) else (value,)
                indices.append(options[inner])
                if name != knob:
                    return None
        except (KeyError, TypeError, ValueError):
            return None
        rank = sum(map(operator.mul, indices, self.strides))
        return ".".join(map(str, indices)) + self.suffix, rank


class _LogReader:
    """Reads one log into an `Imported`."""

    def __init__(self, imported: Imported, file: Path, hardware_name: str):
        self._imported = imported
        self._file = file
        self._hardware_name = hardware_name
        self._known: dict[str, _KnownTask | str] = {}
        self._provenance: dict[tuple[str, str], str] = {}

    def read(self) -> None:
        imported = self._imported
        imported.files += 1
        lines = read_lines(self._file)
        while True:
            try:
                line = next(lines, None)
                if line is None:
                    return
                trial = self._trial(parse(line))
            except (LineError, DamagedError) as error:
                imported.skipped[str(error)] += 1
            else:
                imported.trials.append(trial)
            imported.lines += 1

    def _trial(self, record: Record) -> Trial:
        known, config = self._configuration(record)
        status, error = _status(record)
        trial = Trial(
            task=known.task.key,
            config=config,
            status=status,
            run_times_s=record.costs_s if status is Status.OK else (),
            build_s=record.all_cost_s if status in NEVER_RAN else 0.0,
            wall_s=record.all_cost_s,
            error=error,
            timestamp=record.timestamp,
            provenance=self._provenance_id(record),
        )
        try:
            check_trial(trial)
        except ValueError as error:
            raise LineError(str(error)) from error
        self._imported.tasks.setdefault(known.task.key, (known.task, known.space))
        return trial

    def _configuration(self, record: Record) -> tuple[_KnownTask, str]:
        """The task that the knobs and the index of a record belong to, and the text key."""
        known = self._task(record)
        found = known.find(record.entity)
        if found is not None and found[1] == record.rank:
            return known, found[0]
        if len(record.args) > PADDING and record.args[PADDING] == "SAME":
            # Two of 44 layers of a public V100 log: every knob and index is that of VALID.
            args = [*record.args[:PADDING], "VALID", *record.args[PADDING + 1 :]]
            other = self._task(record._replace(args=args))
            again = other.find(record.entity)
            if again is not None and again[1] == record.rank:
                self._imported.unpadded += 1
                return other, again[0]
        if found is None:
            raise LineError("configuration outside of the template's space")
        self._imported.off_index += 1
        return known, found[0]

    def _task(self, record: Record) -> _KnownTask:
        identity = (record.target, record.template, record.variant, record.version, record.args)
        text = repr(identity)
        if text not in self._known:
            try:
                self._known[text] = self._describe(record)
            except UnsupportedError as error:
                self._known[text] = str(error)
        known = self._known[text]
        if isinstance(known, str):
            raise LineError(known)
        return known

    def _describe(self, record: Record) -> _KnownTask:
        described = describe(record)
        layer, space = described.layer, described.space
        hardware = self._hardware(record.target)
        content = (described.template, layer.variant, hardware.target, space.to_json())
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]
        key = f"{layer.shape_key}/{digest}@{hardware.name}/{hardware.num_cores}"
        task = Task(
            key=key,
            name=described.template,
            kind=layer.kind,
            axes=layer.axes,
            accesses=layer.accesses,
            flops=layer.flops,
            hardware=hardware,
            layer=layer.shape_key if isinstance(layer, WinogradProduct) else "",
        )
        try:
            check_task(task)
        except ValueError as error:
            raise UnsupportedError("shapes out of range") from error
        knobs = []
        for knob in space.knobs[: described.n_knobs]:
            first = 1 if knob.role == "tile" else 0
            knobs.append((knob.name, {o[first:]: i for i, o in enumerate(knob.options)}))
        strides = space.index(np.eye(len(space.knobs), dtype=np.int32)[: len(knobs)])
        suffix = ".0" * (len(space.knobs) - len(knobs))
        return _KnownTask(task, space, tuple(knobs), tuple(strides), suffix)

    def _hardware(self, target: str) -> Hardware:
        kind = target_kind(target)
        details = dict(re.findall(r"-(arch|mcpu|model)=(\S+)", target))
        gpu = GPUS.get(self._hardware_name)
        cores = 1 if gpu is None else gpu.processors
        return Hardware(self._hardware_name, json.dumps({"kind": kind, **details}), cores)

    def _provenance_id(self, record: Record) -> str:
        version = (record.target, record.tvm_version)
        if version not in self._provenance:
            content = json.dumps([self._hardware_name, self._file.name, *version])
            digest = hashlib.sha256(content.encode()).hexdigest()[:8]
            self._provenance[version] = digest
            self._imported.provenances[digest] = Provenance(
                id=digest,
                hardware=self._hardware(record.target),
                seed=-1,  # The log does not say it.
                versions={"tvm": record.tvm_version},
                revision="",
                measure={"autotvm_log": self._file.name, "target": record.target},
                timestamp=record.timestamp,
            )
        return self._provenance[version]


def _status(record: Record) -> tuple[Status, str]:
    if record.error_no == 0:
        if not record.costs_s:
            raise LineError("run time out of range")
        return Status.OK, ""
    if record.error_no not in FAILURES:
        raise LineError("unknown error number")
    return FAILURES[record.error_no]
