"""What is kept: tasks, configurations, trials, as frozen dataclasses with JSON in and out.

Nothing here knows TVM, a model or a tuner; every other part speaks in these words (GLOSSARY.md).
"""

from __future__ import annotations

import dataclasses
import enum
import math
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core.limits import check_task, check_trial
from dgtl.core.titles import title_of, title_of_layer
from dgtl.core.typed import check_schema, typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

SCHEMA = 1
"""Version of every record written; a reader refuses a newer one."""


CHECK = "check"
"""`Trial.stage` of the verdicts that a numerical check of a finished search adds."""

AGAIN = "again"
"""`Trial.stage` of the fastest configurations when they are timed again after a search."""

KNOWN = "known"
"""`Trial.stage` of trials that were measured before the run, which cost it no time."""


class Status(enum.StrEnum):
    """How a trial ended. A failure is a value: it costs its time and is kept."""

    OK = "ok"
    INVALID = "invalid"
    BUILD_ERROR = "build_error"
    BUILD_TIMEOUT = "build_timeout"
    RUN_ERROR = "run_error"
    RUN_TIMEOUT = "run_timeout"
    WRONG_RESULT = "wrong_result"


@dataclasses.dataclass(frozen=True)
class Hardware:
    """The machine that runs the kernels.

    Args:
        name: identity of the processor, e.g. ``amd-epyc-znver4``; part of every provenance.
        target: the TVM target as text.
        num_cores: cores that a kernel may use.
    """

    name: str
    target: str
    num_cores: int

    @property
    def kind(self) -> str:
        """``llvm``, ``cuda``...: the family of targets, which fixes the sketches."""
        return str(self.target).split('"kind": "')[-1].split('"')[0].split(" ")[0]


@dataclasses.dataclass(frozen=True)
class Axis:
    """One loop of the task's main block: its extent, spatial (``S``) or reduction (``R``)."""

    name: str
    extent: int
    kind: str


@dataclasses.dataclass(frozen=True)
class Access:
    """One buffer that the main block touches, as an affine map of the axes.

    Args:
        buffer: its name.
        shape: extents of the buffer [n_dims].
        strides: per dimension, one coefficient per axis [n_dims][n_axes].
        item_bytes: size of one element.
        constant: true for weights, whose layout is free.
        write: true for the output.
    """

    buffer: str
    shape: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    item_bytes: int
    constant: bool
    write: bool


@dataclasses.dataclass(frozen=True)
class Task:
    """One distinct tunable layer of a workload on one hardware.

    Args:
        key: identity in the history: same key, same computation on the same hardware.
        name: how the workload calls it.
        kind: ``conv2d``, ``depthwise_conv2d``, ``dense``...: `dgtl.core.layers.LayerShape.kind`.
        axes: loops of the main block, outermost first.
        accesses: buffers of the main block, inputs first, output last.
        flops: floating-point operations of one run.
        hardware: where it runs.
        weight: how often the workload runs it (not part of its identity).
        layer: `shape_key` of the layer, where the main block's own loops do not say it (a Winograd
            convolution is a batch of matrix products); empty otherwise.
    """

    key: str
    name: str
    kind: str
    axes: tuple[Axis, ...]
    accesses: tuple[Access, ...]
    flops: float
    hardware: Hardware
    weight: int = 1
    layer: str = ""

    @property
    def shape_key(self) -> str:
        """Text of the layer's shape: equal for layers that differ in epilogue or padding only.

        Transfer leaves out source tasks whose ``shape_key`` is one of the target workload's, so
        that a workload never learns from its own layers.
        """
        return self.layer or shape_key(self.kind, self.axes, self.accesses)

    @property
    def title(self) -> str:
        """What a person calls the layer, e.g. ``conv 3x3 64->64 56x56 s1``.

        Tasks that differ in epilogue or padding share it; `dgtl.core.titles.titles` tells those of
        a list apart. What has no such name goes by its shape key.
        """
        if self.layer:
            return title_of_layer(self.layer) or self.layer
        return title_of(self.axes, self.accesses) or self.shape_key

    @property
    def constant_bytes(self) -> int:
        """Size of the weights that one run reads."""
        return sum(math.prod(a.shape) * a.item_bytes for a in self.accesses if a.constant)

    @property
    def bytes(self) -> int:
        """Size of all that the main block reads and writes in one run."""
        return sum(math.prod(a.shape) * a.item_bytes for a in self.accesses)

    def gflops(self, latency_s: float) -> float:
        """Throughput [GFLOPS] of a run of ``latency_s`` seconds."""
        return self.flops / latency_s / 1e9

    def to_json(self) -> dict[str, Any]:
        return {"type": "task", "schema": SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Task:
        """Inverse of `to_json`. Raises ValueError for a newer schema, or what is no task."""
        check_schema(record, SCHEMA, "record")
        task = typed(cls, record)
        check_task(task)
        return task


@dataclasses.dataclass(frozen=True)
class Trial:
    """One configuration tried on hardware.

    Args:
        task: key of the task.
        config: text key of the configuration (`DesignSpace.key`).
        status: how it ended.
        run_times_s: raw seconds per run, one per repeat; empty when it did not run.
        build_s, run_s: seconds that its own build and its own runs took.
        wall_s: wall-clock seconds of its batch's building and running, its share. Builds run side
            by side, so that this is less than ``build_s + run_s``.
        model_s: seconds spent in cost model and search to propose it, its share of the batch.
        quick: true when the first timing was so slow that it was not repeated to full precision.
        error: message of a failure.
        stage: which part of the tuner proposed it, e.g. ``tuning_set``.
        timestamp: seconds since the epoch at its end.
        provenance: id of the provenance record that it was measured under.
        predicted_gflops: throughput that the tuner's model expected of it; None without a model.
    """

    task: str
    config: str
    status: Status
    run_times_s: tuple[float, ...] = ()
    build_s: float = 0.0
    run_s: float = 0.0
    wall_s: float = 0.0
    model_s: float = 0.0
    quick: bool = False
    error: str = ""
    stage: str = ""
    timestamp: float = 0.0
    provenance: str = ""
    predicted_gflops: float | None = None

    @property
    def ok(self) -> bool:
        return self.status is Status.OK

    def replace(self, **changes: Any) -> Trial:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def search_s(self) -> float:
        """What this trial adds to the search time [s]."""
        return self.wall_s + self.model_s

    @property
    def latency_s(self) -> float:
        """Median run time [s]; infinite for a failure, so that it is never the best."""
        return statistics.median(self.run_times_s) if self.ok else math.inf

    def to_json(self) -> dict[str, Any]:
        """Only fields that differ from their default, so that a history stays small."""
        record: dict[str, Any] = {"type": "trial", "schema": SCHEMA}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING or value != field.default:
                record[field.name] = value
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Trial:
        """Inverse of `to_json`. Raises ValueError for a newer schema, or what is no trial."""
        check_schema(record, SCHEMA, "record")
        trial = typed(cls, record)
        check_trial(trial)
        return trial


def best_trial(trials: Iterable[Trial]) -> Trial | None:
    """The fastest trial that ran, of equally good ones the first; None if none ran.

    Where some were timed again, side by side, the fastest of these.
    """
    ran = (trial for trial in trials if trial.ok)
    return min(ran, key=lambda trial: (trial.stage != AGAIN, trial.latency_s), default=None)


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a run of the program measured under; trials refer to it by ``id``."""

    id: str
    hardware: Hardware
    seed: int
    versions: dict[str, str]
    revision: str
    measure: dict[str, Any]
    timestamp: float

    def to_json(self) -> dict[str, Any]:
        return {"type": "provenance", "schema": SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Provenance:
        """Inverse of `to_json`. Raises ValueError for a newer schema, or what is no provenance."""
        check_schema(record, SCHEMA, "record")
        return typed(cls, record)


def shape_key(kind: str, axes: tuple[Axis, ...], accesses: tuple[Access, ...]) -> str:
    """Kind, extents and the non-unit coefficients (strides, dilations) of the main block."""
    extents = "x".join(str(axis.extent) for axis in axes)
    steps = sorted(
        {
            (axis, coefficient)
            for access in accesses
            for row in access.strides
            for axis, coefficient in enumerate(row)
            if coefficient > 1
        }
    )
    suffix = "".join(f"_{axes[a].name}*{c}" for a, c in steps if axes[a].extent > 1)
    return f"{kind}_{extents}{suffix}"


def throughput(task: Task, trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Throughput [N] of trials in GFLOPS; 0 for failures."""
    return np.array([task.gflops(t.latency_s) if t.ok else 0.0 for t in trials], dtype=np.float64)
