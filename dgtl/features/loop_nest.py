"""Features of configurations: what the loop nest does, not which operator it is.

A task says which axes it loops over and how each buffer is indexed by them; a configuration says
how the axes are tiled. From both follow, at every boundary between two tile levels, the iterations
inside, the bytes of each buffer that they touch, and the operations per byte; beside them stand the
tile factors, the shape, vector width, parallelism, unrolling and where a producer is computed. The
same columns serve convolutions, depthwise convolutions and dense layers.

What a level of the nest becomes depends on the hardware: vectors and parallel jobs on a CPU, blocks
and threads on a GPU (`dgtl.features.gpu`). Those columns differ, all others do not.

All columns are logarithms to base 2 or flags. Everything that depends on one knob only is looked up
in a table per option, so that a batch costs a few gathers and sums.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core import cpus
from dgtl.core.limits import check_together
from dgtl.features import gpu as features_gpu

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dgtl.core.knob import Knob
    from dgtl.core.records import Access, Task
    from dgtl.core.space import Configurations, DesignSpace

FEATURES_SCHEMA = 4
"""Part of the key under which trained models are cached: raise it when a column changes."""

SPATIAL_ROLES = 3
REDUCTION_ROLES = 3
"""Axes are counted from the innermost of their kind; those beyond the last role are merged there.
For a convolution: spatial channel, width, height; reduction channel, kernel width, height."""

MOST_VECTOR_LOOP = 64
"""An innermost loop up to so long becomes vectors, and counts as one step where loops are unrolled.
"""

JOBS_PER_CORE = 16
"""Outer loops are fused for parallel execution up to this many iterations a core."""

CHUNK = 65_536


class FeatureMap:
    """Features of the configurations of one task.

    Args:
        task: axes and accesses; its hardware says how many cores.
        space: the knobs that configurations index.

    Raises:
        ValueError: the space is not one of such a task.
    """

    def __init__(self, task: Task, space: DesignSpace):
        check_together(task, space)
        self.task = task
        self.space = space
        structure = space.structure
        self._spatial_levels = structure.count("S")
        self._levels = {"S": self._spatial_levels, "R": structure.count("R")}
        # Parts of a spatial (reduction) tile that lie outside boundary b, for every b.
        prefix = [structure[: b + 1] for b in range(len(structure) - 1)]
        self._outside = {kind: [p.count(kind) for p in prefix] for kind in "SR"}
        self._boundaries = len(prefix)
        self._knob_of_axis = {k.axis: i for i, k in enumerate(space.knobs) if k.role == "tile"}
        self._axis_tables = [self._axis_table(a) for a in range(len(task.axes))]
        self._roles = _roles([axis.kind for axis in task.axes])
        self._location = self._location_table()
        self._shape = self._shape_columns()
        self._gpu = task.hardware.kind in features_gpu.KINDS
        self._registers = cpus.vector_registers(task.hardware.target)
        self._at = [f"{structure[: b + 1]}|{structure[b + 1 :]}" for b in range(self._boundaries)]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(self._columns(self.space.at([0])))

    def __call__(self, configs: Configurations) -> NDArray[np.float32]:
        """Features [N, D] of configurations [N, K]; column ``i`` is called ``names[i]``."""
        if len(configs) <= CHUNK:
            return self._features(configs)
        starts = range(0, len(configs), CHUNK)
        return np.concatenate([self._features(configs[s : s + CHUNK]) for s in starts])

    # Tables: one row per option of a knob.

    def _parts(self, axis: int) -> NDArray[np.int64]:
        """Tile factors [n_options, levels] of an axis; an axis without a knob is not split."""
        levels = self._levels[self.task.axes[axis].kind]
        if axis not in self._knob_of_axis:
            parts = np.ones((1, levels), dtype=np.int64)
            parts[0, 0] = self.task.axes[axis].extent
            return parts
        knob = self.space.knobs[self._knob_of_axis[axis]]
        if not knob.levels:
            return knob.table
        parts = np.ones((len(knob), levels), dtype=np.int64)
        for part, level in enumerate(knob.levels):
            parts[:, level] *= knob.table[:, part]
        return parts

    def _axis_table(self, axis: int) -> tuple[NDArray, NDArray, NDArray]:
        """Per option: log2 factors [n, P], and extents inside the p outermost parts [n, P + 1]."""
        parts = self._parts(axis)
        inner = np.ones((len(parts), parts.shape[1] + 1), dtype=np.float32)
        inner[:, :-1] = np.cumprod(parts[:, ::-1], axis=1)[:, ::-1]
        return np.log2(parts, dtype=np.float32), np.log2(inner), inner

    def _location_table(self) -> tuple[int, NDArray[np.int64]] | None:
        """Knob of the producer's location, and parts outside of it per option and axis."""
        knobs = [i for i, knob in enumerate(self.space.knobs) if knob.role == "location"]
        if not knobs:
            return None
        knob = self.space.knobs[knobs[0]]
        kinds = [axis.kind for axis in self.task.axes]
        loops = [a for level in self.space.structure for a, k in enumerate(kinds) if k == level]
        table = np.zeros((len(knob), len(kinds)), dtype=np.int64)
        for option, (location,) in enumerate(knob.options):
            # Inlined (-2) means computed inside of everything, the root (-1) outside of everything.
            outside = loops if location == -2 else loops[: location + 1]
            for axis in outside:
                table[option, axis] += 1
        return knobs[0], table

    # Columns.

    def _shape_columns(self) -> dict[str, float]:
        task = self.task
        extents = np.array([axis.extent for axis in task.axes], dtype=np.float64)
        columns = {
            f"extent_{role}": float(np.log2(extents[axes]).sum())
            for role, axes in self._roles.items()
        }
        bytes_of = [math.prod(a.shape) * a.item_bytes for a in task.accesses]
        for name, n_bytes in zip(("data", "weight", "out"), bytes_of, strict=True):
            columns[f"bytes_{name}"] = math.log2(n_bytes)
        columns["flops"] = math.log2(task.flops)
        columns["intensity"] = math.log2(task.flops / sum(bytes_of))
        steps = [c for row in task.accesses[0].strides for c in row if c > 0]
        columns["stride"] = math.log2(max(steps))
        columns["depthwise"] = float(task.kind.startswith("depthwise"))
        columns["padded"] = float(self._location is not None)
        columns["cores"] = math.log2(task.hardware.num_cores)
        return columns

    def _features(self, configs: Configurations) -> NDArray[np.float32]:
        columns = self._columns(configs)
        features = np.empty((len(configs), len(columns)), np.float32)
        for i, column in enumerate(columns.values()):
            features[:, i] = column
        return features

    def _columns(self, configs: Configurations) -> dict[str, Any]:
        """Every column by its name: an array [N], or one number for all configurations."""
        n = len(configs)
        choice = [
            configs[:, self._knob_of_axis[a]] if a in self._knob_of_axis else np.zeros(n, np.int32)
            for a in range(len(self.task.axes))
        ]
        tiles = [t[0][c] for t, c in zip(self._axis_tables, choice, strict=True)]
        inner_log, inner = [], []
        for axis, (_, log_table, table) in enumerate(self._axis_tables):
            outside = self._outside[self.task.axes[axis].kind]
            inner_log.append(log_table[:, outside][choice[axis]])
            inner.append(table[:, outside][choice[axis]])

        role_tiles = {
            role: sum((tiles[a] for a in axes[1:]), tiles[axes[0]])
            if axes
            else np.zeros((n, self._levels[role[0].upper()]), np.float32)
            for role, axes in self._roles.items()
        }
        columns: dict[str, Any] = dict(self._shape)
        for role, parts in role_tiles.items():
            columns |= {f"tile_{role}_{p}": parts[:, p] for p in range(parts.shape[1])}
        iterations = sum(inner_log[1:], inner_log[0])
        data, weight, out = (self._footprint(a, inner_log, inner) for a in self.task.accesses)
        total = np.log2(np.exp2(data) + np.exp2(weight) + np.exp2(out))
        for b, at in enumerate(self._at):
            columns |= {
                f"iterations_{at}": iterations[:, b],
                f"data_{at}": data[:, b],
                f"weight_{at}": weight[:, b],
                f"out_{at}": out[:, b],
                f"bytes_{at}": total[:, b],
                f"intensity_{at}": 1 + iterations[:, b] - total[:, b],
            }
        if self._gpu:
            return columns | self._gpu_execution(configs, choice, tiles)
        columns |= self._execution(configs, role_tiles, tiles, iterations)
        return columns | self._producer(configs, choice)

    def _footprint(self, access: Access, inner_log: list, inner: list) -> NDArray[np.float32]:
        """log2 bytes of a buffer that one pass over the given inner extents touches."""
        log_bytes = math.log2(access.item_bytes)
        for row, size in zip(access.strides, access.shape, strict=True):
            used = [a for a, c in enumerate(row) if c and self.task.axes[a].extent > 1]
            if len(used) == 1 and row[used[0]] == 1:
                log_bytes = log_bytes + inner_log[used[0]]
            elif used:
                span = 1 + sum(row[a] * (inner[a] - 1) for a in used)
                log_bytes = log_bytes + np.log2(np.minimum(span, size))
        return np.broadcast_to(np.asarray(log_bytes, np.float32), inner_log[0].shape)

    def _execution(
        self, configs: Configurations, role_tiles: dict, tiles: list, iterations: NDArray
    ) -> dict[str, Any]:
        """Vector width, accumulators, parallelism, unrolling and the kind of sketch."""
        machine = self._registers
        lanes = machine.n_bytes // self.task.accesses[-1].item_bytes
        vector = role_tiles["s1"][:, -1]
        registers = features_gpu.ceil(np.exp2(vector) / lanes)
        # As if of 32 registers: what counts is how much of what the machine has is taken.
        scale = math.log2(cpus.AVX512.count / machine.count)
        accumulators = (
            role_tiles["s2"][:, -1] + role_tiles["s3"][:, -1] + np.log2(registers) + scale
        )
        waste = np.log2(registers * lanes) - vector

        cores = self.task.hardware.num_cores
        spatial = [a for a, axis in enumerate(self.task.axes) if axis.kind == "S"]
        outer = np.stack([tiles[a][:, p] for p in (0, 1) for a in spatial], axis=1)
        fused = np.cumsum(outer, axis=1)
        limit = math.log2(JOBS_PER_CORE * cores) + 1e-3
        parallel = np.where(fused <= limit, fused, 0).max(axis=1)
        jobs = np.exp2(parallel)
        imbalance = np.log2(features_gpu.ceil(jobs / cores) * cores) - parallel

        steps = self._option_values(configs, "unroll")
        unroll = np.log2(1 + steps)
        # The innermost boundary levels whose scalar body fits the unroll limit get unrolled.
        bodies = iterations - np.minimum(vector, math.log2(MOST_VECTOR_LOOP))[:, None]
        fits = bodies <= features_gpu.log2_limit(steps)[:, None]
        unrolled = np.where(fits, bodies, 0).max(axis=1)

        sketch = self._option_values(configs, "sketch")
        return {
            "vector": vector,
            "vector_waste": waste,
            "accumulators": accumulators,
            "parallel": parallel,
            "imbalance": imbalance,
            "unroll": unroll,
            "unrolled": unrolled,
            **{f"sketch_{s}": sketch == s for s in range(3)},
        }

    def _gpu_execution(self, configs: Configurations, choice: list, tiles: list) -> dict[str, Any]:
        """Columns of `features_gpu`, from the footprints of what a block stages at a time."""
        stage_log, stage = [], []
        for axis, (_, log_table, linear_table) in enumerate(self._axis_tables):
            # Inside of the blocks and of the outer reductions.
            stage_log.append(log_table[choice[axis], 1])
            stage.append(linear_table[choice[axis], 1])
        columns: dict[str, Any] = features_gpu.columns(
            self.task,
            tiles,
            stage_log,
            staged=[self._footprint(a, stage_log, stage) for a in self.task.accesses],
            unroll_steps=self._option_values(configs, "unroll"),
            explicit=self._option_values(configs, "unroll_explicit"),
        )
        sketch = self._option_values(configs, "sketch")
        for place, name in enumerate(("data", "weight")):
            load = self._option_values(configs, "vector_load", place)
            columns[f"vector_load_{name}"] = np.log2(np.maximum(load, 1))
        return columns | {f"sketch_{s}": sketch == s for s in range(3)}

    def _producer(self, configs: Configurations, choice: list) -> dict[str, Any]:
        """Where a producer (padding) is computed: its buffer's size and recomputation."""
        names = ("producer_inline", "producer_root", "producer_bytes", "producer_repeats")
        if self._location is None:
            return dict.fromkeys(names, 0.0)
        knob, table = self._location
        location = self._values(self.space.knobs[knob])[configs[:, knob]]
        inner_log, inner, repeats = [], [], 0.0
        for axis, (_, log_table, linear_table) in enumerate(self._axis_tables):
            outside = table[configs[:, knob], axis]
            inner_log.append(log_table[choice[axis], outside])
            inner.append(linear_table[choice[axis], outside])
            repeats = repeats + log_table[0, 0] - inner_log[-1]
        data = self.task.accesses[0]
        n_bytes = self._footprint(data, inner_log, inner)
        whole = math.log2(math.prod(data.shape) * data.item_bytes)
        values = (location == -2, location == -1, n_bytes, repeats + n_bytes - whole)
        return dict(zip(names, values, strict=True))

    def _values(self, knob: Knob) -> NDArray[np.float32]:
        return knob.table[:, 0].astype(np.float32)

    def _option_values(
        self, configs: Configurations, role: str, place: int = 0
    ) -> NDArray[np.float32]:
        """Value chosen for the knob of a role, the first or a later one [N]; zeros without it."""
        knobs = [i for i, knob in enumerate(self.space.knobs) if knob.role == role]
        if place >= len(knobs):
            return np.zeros(len(configs), np.float32)
        return self._values(self.space.knobs[knobs[place]])[configs[:, knobs[place]]]


def _roles(kinds: list[str]) -> dict[str, list[int]]:
    """Axes of every role, e.g. ``s1``: the innermost spatial axis."""
    roles = {}
    for kind, count in (("S", SPATIAL_ROLES), ("R", REDUCTION_ROLES)):
        axes = [a for a, k in enumerate(kinds) if k == kind][::-1]
        for i in range(count):
            last = i == count - 1
            roles[f"{kind.lower()}{i + 1}"] = axes[i:] if last else axes[i : i + 1]
    return roles
