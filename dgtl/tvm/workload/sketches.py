"""Design spaces from TVM's sketches, and schedules from configurations.

A sketch is a trace whose sampling instructions (ordered perfect tilings, unroll depth, compute
location) are the knobs. Its structure is TVM's; which rules make it is ours: none of them names a
tensor intrinsic, and the tilings are the same for every operator. A configuration becomes a
schedule by replaying the trace with the knobs' decisions, and every schedule is an ordinary
MetaSchedule trace that stock TVM can apply.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule import postproc as P
from tvm.s_tir.meta_schedule import schedule_rule as R
from tvm.s_tir.schedule import Trace

from dgtl.core.gpu_limits import DeviceLimits, GPULimits
from dgtl.core.knob import Knob
from dgtl.core.space import DesignSpace
from dgtl.tvm.workload import passes, winograd_schedule
from dgtl.tvm.workload.blocks import REDUCTION, loops_of, main_block
from dgtl.tvm.workload.traces import TraceText

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tvm
    from numpy.typing import NDArray

MAX_INNER = 64
"""Largest innermost tile and vector [elements]."""

STRUCTURE = {"llvm": "SSRSRS", "cuda": "SSSRRSRS"}
ROOT, INLINE = -1, -2
"""Compute locations that are no loop: a nest of its own, or inlined into the consumer."""


def rules(kind: str, *, choices: bool = False) -> list[ms.ScheduleRule]:
    """Schedule rules that make the sketches for targets of ``kind``.

    Args:
        kind: of the target.
        choices: what chooses by a condition is inlined too: better not padding, which would be a
            condition in the innermost loop, but masks, without which no sketch can be made.
    """
    inline = functools.partial(
        R.AutoInline,
        into_producer=False,
        into_consumer=True,
        inline_const_tensor=True,
        require_injective=True,
        disallow_op=["tirx.exp"],
    )
    if kind == "llvm":
        return [
            inline(disallow_if_then_else=not choices, require_ordered=True),
            R.InlineConstantScalars(),
            R.MultiLevelTiling(
                structure=STRUCTURE[kind],
                max_innermost_factor=MAX_INNER,
                reuse_write=R.ReuseType(req="may", levels=[1, 2], scope="global"),
            ),
            R.ParallelizeVectorizeUnroll(
                max_jobs_per_core=16,
                max_vectorize_extent=MAX_INNER,
                unroll_max_steps=[0, 16, 64, 512],
                unroll_explicit=True,
            ),
            R.RandomComputeLocation(),
        ]
    if kind == "cuda":
        return [
            # Padding waits until its copy in shared memory is there, to be computed as that is
            # filled: inlined now, it would be a condition in the innermost loop.
            inline(disallow_if_then_else=not choices, require_ordered=False),
            R.InlineConstantScalars(),
            R.MultiLevelTiling(
                structure=STRUCTURE[kind],
                tile_binds=["blockIdx.x", "vthread.x", "threadIdx.x"],
                max_innermost_factor=MAX_INNER,
                vector_load_lens=[1, 2, 3, 4, 8, 16],
                reuse_read=R.ReuseType(req="must", levels=[4], scope="shared"),
                reuse_write=R.ReuseType(req="must", levels=[3], scope="local"),
            ),
            inline(disallow_if_then_else=False, require_ordered=False, into_producer=True),
            R.ParallelizeVectorizeUnroll(
                max_jobs_per_core=-1,
                max_vectorize_extent=-1,
                unroll_max_steps=[0, 16, 64, 512, 1024],
                unroll_explicit=True,
            ),
        ]
    raise ValueError(f"no schedule rules for target kind '{kind}'")


def postprocessors(kind: str) -> list[ms.Postproc]:
    """Post-processors that every schedule goes through, in order."""
    if kind == "llvm":
        return [
            P.DisallowDynamicLoop(),
            P.RewriteParallelVectorizeUnroll(),
            P.RewriteReductionBlock(),
            P.RewriteLayout(),
        ]
    return [
        P.DisallowDynamicLoop(),
        P.RewriteCooperativeFetch(),
        P.RewriteUnboundBlock(max_threadblocks=256),
        P.RewriteParallelVectorizeUnroll(),
        P.RewriteReductionBlock(),
        P.VerifyGPUCode(),
    ]


class InvalidConfigurationError(ValueError):
    """A configuration that TVM's post-processors refuse."""


class NoSpaceError(ValueError):
    """A function of which no design space can be made."""


class ScheduleSpace:
    """The design space of one fused function, with the way from configuration to schedule.

    Args:
        mod: the function, as ``main``.
        target: what it is built for.

    Raises:
        NoSpaceError: TVM's rules make no sketch of it, or none that fits its main block.
    """

    def __init__(self, mod: tvm.ir.IRModule, target: tvm.target.Target):
        self.mod = mod
        self.target = target
        kind = target.kind.name
        try:
            sketches = self._generated(rules(kind))
        except NoSpaceError:
            sketches = self._generated(rules(kind, choices=True))
        self._sketches, knobs = self._alike(sketches, STRUCTURE[kind])
        self._samples = [_sampling(sketch) for sketch in self._sketches]
        sketch = Knob.choice("sketch", "sketch", tuple(range(len(self._sketches))))
        knobs = (sketch, *knobs)
        self.space = DesignSpace(knobs, STRUCTURE[kind], self._limits(knobs))
        self._texts = {TraceText.of(trace).text: i for i, trace in enumerate(self._sketches)}

    def _generated(self, schedule_rules: list[ms.ScheduleRule]) -> list[Trace]:
        """The sketches that rules make of the function. Raises NoSpaceError where they cannot."""
        self._context = ms.TuneContext(
            mod=self.mod,
            target=self.target,
            space_generator=ms.space_generator.PostOrderApply(
                sch_rules=schedule_rules,
                postprocs=postprocessors(self.target.kind.name),
                mutator_probs={},
            ),
            search_strategy="replay-trace",
            rand_state=1,
        )
        try:
            return [sketch.trace for sketch in self._context.generate_design_space()]
        except Exception as error:
            reason = str(error).strip().splitlines()[-1:]
            raise NoSpaceError(f"TVM makes no sketch of it: {''.join(reason)[:200]}") from error

    def _alike(
        self, sketches: Sequence[Trace], structure: str
    ) -> tuple[list[Trace], tuple[Knob, ...]]:
        """The most sketches that have the same knobs, and these; the first of equally many."""
        alike: dict[tuple[Knob, ...], list[Trace]] = {}
        for sketch in sketches:
            alike.setdefault(self._knobs(_sampling(sketch), structure), []).append(sketch)
        if not alike:
            raise NoSpaceError("TVM makes no sketch of it")
        knobs = max(alike, key=lambda k: len(alike[k]))
        return alike[knobs], knobs

    def _limits(self, knobs: tuple[Knob, ...]) -> GPULimits | None:
        """What the device refuses, where that is known without building."""
        block = main_block(self.mod)
        if self.target.kind.name != "cuda" or block is None:
            return None
        axes, accesses = loops_of(self.mod, block)
        stages = [_stages(sketch) for sketch in self._sketches]
        return GPULimits(axes, accesses, knobs, device_limits(self.target), stages)

    def _knobs(self, samples: list, structure: str) -> tuple[Knob, ...]:
        block = main_block(self.mod)
        variables = [] if block is None else list(block.iter_vars)
        axes = [(str(v.var.name).removeprefix("v_"), int(v.dom.extent)) for v in variables]
        spatial = [v.iter_type != 2 for v in variables]
        tiled = [s for s in samples if s.kind.name == "SamplePerfectTile"]
        if len(tiled) not in (0, len(axes)):
            raise NoSpaceError(f"{len(tiled)} tilings for {len(axes)} loops")
        knobs: list[Knob] = []
        for sample in samples:
            kind = sample.kind.name
            if kind == "SamplePerfectTile":
                axis = len([k for k in knobs if k.role == "tile"])
                parts, max_inner = (int(a) for a in sample.attrs)
                name, extent = axes[axis]
                knobs.append(Knob.tile(f"tile_{name}", axis, extent, parts, max_inner))
            elif kind == "SampleCategorical":
                values = tuple(int(v) for v in sample.attrs[0])
                unroll = "unroll" if values[0] == 0 else "vector_load"
                knobs.append(Knob.choice(_numbered(unroll, knobs), unroll, values))
            elif kind == "SampleComputeLocation":
                loops = _locations(structure, spatial, [extent for _, extent in axes])
                name = _numbered("location", knobs)
                knobs.append(Knob.choice(name, "location", (INLINE, ROOT, *loops)))
            else:
                raise NoSpaceError(f"a sketch samples by {kind}, which is no knob here")
        return tuple(knobs)

    def schedule(self, config: NDArray[np.integer]) -> Schedule:
        """The schedule of one configuration [K], post-processors applied.

        Raises:
            InvalidConfigurationError: a post-processor refuses it.
        """
        sch = self.replay(config)
        sch.enter_postproc()
        for postprocessor in self._context.space_generator.postprocs:
            if not postprocessor.apply(sch):
                raise InvalidConfigurationError(f"{type(postprocessor).__name__} refuses it")
        return sch

    def replay(self, config: NDArray[np.integer]) -> Schedule:
        """The schedule of one configuration [K] as its sketch has it."""
        sketch, choices = int(config[0]), config[1:]
        decisions: dict[Any, int | list[int]] = {}
        for sample, knob, choice in zip(
            self._samples[sketch], self.space.knobs[1:], choices, strict=True
        ):
            option = knob.options[int(choice)]
            if knob.role == "tile":
                decisions[sample] = list(option)
            elif sample.kind.name == "SampleCategorical":
                decisions[sample] = int(choice)
            else:
                decisions[sample] = option[0]
        # The seed serves nothing: every decision is given.
        sch = Schedule(self.mod, seed=1, debug_mask="none", error_render_level="none")
        trace = Trace(self._sketches[sketch].insts, decisions)
        trace.apply_to_schedule(sch, remove_postproc=True)
        return sch

    def configuration(self, trace: Trace) -> NDArray[np.int32] | None:
        """The configuration [K] of a schedule of this function, whoever made it: as `schedule` has.

        A compute location that is no option here counts as the nearest one. None where the trace
        follows no sketch of this space, or its tiles are no options.
        """
        found = TraceText.of(trace)
        sketch = self._texts.get(found.text)
        if sketch is None or len(found.decisions) != len(self.space.knobs) - 1:
            return None
        config = [sketch]
        for knob, decision in zip(self.space.knobs[1:], found.decisions, strict=True):
            if knob.role == "tile":
                if decision not in knob.options:
                    return None
                config.append(knob.options.index(decision))
            elif knob.role == "location":
                config.append(int(np.abs(knob.table[:, 0] - decision[0]).argmin()))
            else:
                config.append(decision[0])
        return np.array(config, dtype=np.int32)

    def default(self) -> Schedule:
        """Parallel, vectorised, unrolled a little, not tiled: see `default_schedule`."""
        config = [0] * len(self.space.knobs)
        for i, knob in enumerate(self.space.knobs):
            values = [option[0] for option in knob.options]
            if knob.role == "unroll":
                config[i] = values.index(16)
            elif knob.role == "location":
                config[i] = values.index(ROOT)
        return self.schedule(np.array(config))


def default_schedule(mod: tvm.ir.IRModule, target: tvm.target.Target) -> Schedule:
    """A sensible schedule on a CPU without tuning, for functions that are not worth it."""
    for schedule in (winograd_schedule.schedule, passes.schedule):
        if (own := schedule(mod, target)) is not None:
            return own
    try:
        return ScheduleSpace(mod, target).default()
    except Exception:  # whatever TVM's rules cannot do with it; here the function is taken as it is
        return _parallel(mod)


def _parallel(mod: tvm.ir.IRModule) -> Schedule:
    """Every block as it stands, its outer loops in parallel."""
    sch = Schedule(mod, seed=1, debug_mask="none", error_render_level="none")
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        spatial = [v.iter_type != REDUCTION for v in sch.get(block).iter_vars]
        outer = spatial.index(False) if False in spatial else len(spatial)
        if outer:
            sch.parallel(sch.fuse(*sch.get_loops(block)[:outer]))
    return sch


def _sampling(trace: Trace) -> list:
    return [inst for inst in trace.insts if inst.kind.name.startswith("Sample")]


def device_limits(target: tvm.target.Target) -> DeviceLimits:
    """What a block may take on the device of a CUDA target."""
    return DeviceLimits(
        threads=int(target.attrs["max_threads_per_block"]),
        shared_bytes=int(target.attrs["max_shared_memory_per_block"]),
        warp=int(target.attrs["thread_warp_size"]),
    )


def _stages(sketch: Trace) -> int:
    """Copies of what a block stages in shared memory: loads may run some rounds ahead of use."""
    ahead = [0]
    for inst in sketch.insts:
        if inst.kind.name == "Annotate" and str(inst.attrs[0]) == "software_pipeline_stage":
            ahead += [int(stage) for stage in inst.inputs[1]]
    return 1 + max(ahead)


def _numbered(name: str, knobs: list[Knob]) -> str:
    same = sum(knob.name.startswith(name) for knob in knobs)
    return name if same == 0 else f"{name}_{same + 1}"


def loop_order(structure: str, spatial: list[bool]) -> list[int]:
    """Axis of each loop of a tiled nest, outermost first: every level runs through its axes."""
    axes = range(len(spatial))
    return [a for level in structure for a in axes if spatial[a] == (level == "S")]


def _locations(structure: str, spatial: list[bool], extents: list[int]) -> list[int]:
    """Loops at which a producer may be computed: any but those of the innermost two levels.

    Loops of unit axes are left out; where a tile makes a loop unit, TVM takes the nearest one.
    """
    order = loop_order(structure, spatial)
    inner = sum(len([s for s in spatial if s == (level == "S")]) for level in structure[-2:])
    return [i for i, axis in enumerate(order[: len(order) - inner]) if extents[axis] > 1]
