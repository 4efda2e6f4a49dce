"""What runs in the worker processes: building and running single candidates.

Worker processes start once, live as long as the run, and import TVM only: one import of TensorFlow
or of TVM's tensor intrinsics would cost more than a hundred builds.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tvm
from tvm import relax
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

from dgtl.device.values import error_of, random_values, scale_of, unwritten, wrong_above
from dgtl.tvm.measure import pace
from dgtl.tvm.measure.kernels import compiled, export
from dgtl.tvm.measure.limits import die_with_parent, limit_memory
from dgtl.tvm.workload.sketches import InvalidConfigurationError, ScheduleSpace

if TYPE_CHECKING:
    from dgtl.measure.protocol import MeasureOptions

Tensors = list[tuple[tuple[int, ...], str]]
"""Shape and dtype of every argument of a kernel, the output last."""


@dataclasses.dataclass(frozen=True)
class Built:
    """A candidate ready to run: its library, its arguments, and what building took [s].

    For CUDA also its binaries, see `dgtl.tvm.measure.kernels.export`.
    """

    library: str
    tensors: Tensors
    build_s: float
    binaries: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Timing:
    """One timing of a candidate: seconds per run.

    `quick` if it is a first run that was too slow to be worth more.
    """

    seconds: float
    quick: bool = False


def start(num_threads: int, scratch: str | None = None) -> None:
    """First call in every worker: kernels use ``num_threads`` threads, and memory has a limit.

    TVM takes half of the logical cores on x86 unless told otherwise, whatever the target says.
    Temporary files of TVM and of the compiler go to ``scratch``, for a worker that is killed in the
    middle of a build cannot remove them itself; None: where the system has them.
    """
    die_with_parent()
    limit_memory()
    os.environ["TVM_NUM_THREADS"] = str(num_threads)
    if scratch is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = scratch


@functools.cache
def _space(mod_file: str, target: str) -> ScheduleSpace:
    mod = tvm.ir.load_json(Path(mod_file).read_text())
    return ScheduleSpace(mod, tvm.target.Target(target))


def build(mod_file: str, target: str, config: str, library: str) -> Built | str:
    """Builds one configuration; the text of the refusal if a post-processor refuses it."""
    begin = time.perf_counter()
    space = _space(mod_file, target)
    try:
        sch = space.schedule(space.space.parse(config))
    except InvalidConfigurationError as error:
        return str(error)
    # Weights arrive in the layout that the schedule wants: rewriting them is done once per network.
    tensors = _tensors(sch.mod, remove_preproc=True)
    mod = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(sch.mod)
    binaries = export(compiled(mod, space.target), space.target, library)
    return Built(library, tensors, time.perf_counter() - begin, binaries)


def _tensors(mod: tvm.ir.IRModule, remove_preproc: bool) -> Tensors:
    infos = [info.as_json() for info in ArgInfo.from_entry_func(mod, remove_preproc)]
    return [(tuple(int(n) for n in shape), str(dtype)) for _, dtype, shape in infos]


MOST_COPIES, MOST_BYTES = 256, 512 << 20
"""Limits of what `_arguments` keeps: no shared cache is larger."""

_buffers: dict[tuple[int, int, int, str], tvm.runtime.Tensor] = {}
_turn = itertools.count()


def _arguments(tensors: Tensors, cache_flush_mb: float) -> list[list[tvm.runtime.Tensor]]:
    """Arguments for run after run, in turn: each with another copy of the weights.

    A network passes by all its other weights before it comes back to those of a layer, which by
    then lie in whatever cache holds so much, or in memory. So there are as many copies as fit
    into ``cache_flush_mb``. Input and output stay where they are, as fresh as the layers before and
    after keep them. What is between them in the arguments counts as weights, an operand that is
    added included.

    All are views of buffers that are kept from candidate to candidate: filling the 400 MB of a
    large dense layer takes longer than timing it.
    """
    last = len(tensors) - 1
    sizes = [math.prod(shape) for shape, _ in tensors]
    wanted = {(i, n, dtype) for i, (n, (_, dtype)) in enumerate(zip(sizes, tensors, strict=True))}
    for key in [k for k in _buffers if (k[0], k[2], k[3]) not in wanted]:
        del _buffers[key]
    own = sum(sizes[i] * np.dtype(tensors[i][1]).itemsize for i in range(1, last))
    copies = int(min(cache_flush_mb * 2**20, MOST_BYTES) / max(own, 1))
    return [
        [
            _buffer(i, copy if 0 < i < last else 0, sizes[i], dtype)._create_view(shape, dtype)
            for i, (shape, dtype) in enumerate(tensors)
        ]
        for copy in range(min(max(copies, 1), MOST_COPIES))
    ]


def _buffer(position: int, copy: int, size: int, dtype: str) -> tvm.runtime.Tensor:
    key = (position, copy, size, dtype)
    if key not in _buffers:
        # Random numbers, repeated: drawing them all would take longer than all else here.
        block = random_values(np.random.default_rng(position), (1 << 16,), dtype)
        _buffers[key] = tvm.runtime.tensor(np.resize(block, size))
    return _buffers[key]


_Run = Callable[[], None]

_loaded: dict[str, _Run] = {}


def _load(library: str, tensors: Tensors, cache_flush_mb: float) -> _Run:
    """Loads a candidate; each call of what is returned runs it once, with the next arguments."""
    kernel = tvm.runtime.load_module(library)["main"]
    arguments = _arguments(tensors, cache_flush_mb)

    def run() -> None:
        kernel(*arguments[next(_turn) % len(arguments)])

    return run


TRIES = 3
"""So often a timing is taken that others disturbed; the fastest counts."""


def first_timing(
    library: str, tensors: Tensors, options: MeasureOptions, quick_above_s: float
) -> Timing:
    """Loads a candidate and times it: its first run alone where that is slow enough."""
    _loaded[library] = run = _load(library, tensors, options.cache_flush_mb)
    pace.of_this_process(options.throttle_wait_s).wait()
    first_s = _seconds(run)
    # A first run includes page faults and waking the threads. Where that matters, repeating costs
    # little; a run as long as a whole timing is one.
    if first_s > max(quick_above_s, options.min_repeat_ms / 1e3):
        del _loaded[library]
        return Timing(first_s, quick=True)
    return next_timing(library, tensors, options)


def next_timing(library: str, tensors: Tensors, options: MeasureOptions) -> Timing:
    """Times a candidate once more: the mean of as many runs as fill ``min_repeat_ms``.

    See `_arguments` for what they find in the caches, and `dgtl.tvm.measure.pace` for what is
    waited for.
    """
    if library not in _loaded:
        # The worker was restarted since the first timing: another candidate crashed it.
        _loaded[library] = _load(library, tensors, options.cache_flush_mb)
    machine = pace.of_this_process(options.throttle_wait_s)
    seconds = []
    for _ in range(TRIES):
        machine.wait()
        seconds.append(_mean_s(_loaded[library], options.min_repeat_ms / 1e3))
        if machine.full():
            break
    return Timing(min(seconds))


def _mean_s(run: _Run, at_least_s: float) -> float:
    run()  # not counted: it wakes the threads
    number, elapsed = 0, 0.0
    begin = time.perf_counter()
    while number == 0 or elapsed < at_least_s:
        run()
        number += 1
        elapsed = time.perf_counter() - begin
    return elapsed / number


def _seconds(run: _Run) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def unload() -> None:
    """Forgets all candidates."""
    _loaded.clear()


def check(mod_file: str, target: str, config: str) -> tuple[float, float]:
    """Error of a schedule against the unscheduled function (`error_of`), and what it may be.

    Random inputs from a fixed seed; the weight layout rewriting is part of what is checked.
    """
    space = _space(mod_file, target)
    sch = space.schedule(space.space.parse(config))
    inputs, expected = _reference(space)
    output = tvm.runtime.tensor(unwritten(expected.shape, str(expected.dtype)))
    arguments = [tvm.runtime.tensor(value) for value in inputs]
    compiled(sch.mod, space.target)["main"](*arguments, output)
    tensors = _tensors(space.mod, remove_preproc=False)
    return error_of(expected, output.numpy()), wrong_above(tensors)


CHECKED = 4096
"""Elements of an output that a check elsewhere compares."""


def build_check(mod_file: str, target: str, config: str, library: str, expected: str) -> Built:
    """Builds a configuration with what it should compute, for a check where the device is.

    Args:
        mod_file, target, config: what to build.
        library: file to write.
        expected: file for some elements of the output (npz): ``index`` [n] of the flat output,
            ``value`` [n], and ``scale`` of all (`scale_of`).
    """
    begin = time.perf_counter()
    space = _space(mod_file, target)
    sch = space.schedule(space.space.parse(config))
    binaries = export(compiled(sch.mod, space.target), space.target, library)
    _, output = _reference(space)
    flat = output.reshape(-1)
    index = np.random.default_rng(1).permutation(flat.size)[:CHECKED]
    np.savez_compressed(expected, index=index, value=flat[index], scale=scale_of(flat))
    tensors = _tensors(space.mod, remove_preproc=False)
    return Built(library, tensors, time.perf_counter() - begin, binaries)


def _reference(space: ScheduleSpace) -> tuple[list[np.ndarray], np.ndarray]:
    """Random inputs, and what the unscheduled function makes of them on this CPU."""
    rng = np.random.default_rng(CHECK_SEED)
    tensors = _tensors(space.mod, remove_preproc=False)
    inputs = [random_values(rng, shape, dtype) for shape, dtype in tensors[:-1]]
    output = tvm.runtime.tensor(unwritten(*tensors[-1]))
    target = space.target if space.target.kind.name == "llvm" else tvm.target.Target("llvm")
    arguments = [tvm.runtime.tensor(value) for value in inputs]
    compiled(space.mod, target)["main"](*arguments, output)
    return inputs, output.numpy()


CHECK_SEED = 0
"""Of the inputs of checks."""


PASSES, APART_S = 10, 0.3
"""A network is timed in so many passes, so long apart: a burst of other users of the machine, which
spoils all timings made in one go, is then not what their median sees."""

WARM_S = 0.1
"""So long a network runs before each pass without counting: a machine that slept is slow at first.
A single timing is of a network too slow for that to matter."""


def time_network(
    library: str, inputs: list[np.ndarray], repeats: int, throttle_wait_s: float
) -> tuple[list[float], list[np.ndarray]]:
    """Run times [s] of a whole network on these inputs, and its outputs."""
    vm = relax.VirtualMachine(tvm.runtime.load_module(library), tvm.cpu())
    arguments = [tvm.runtime.tensor(value) for value in inputs]
    result = vm["main"](*arguments)
    outputs = [result] if hasattr(result, "numpy") else list(result)
    computed = [output.numpy().copy() for output in outputs]
    run = functools.partial(vm["main"], *arguments)
    times = []
    for number in range(repeats):
        if number % max(repeats // PASSES, 1) == 0:
            if number:
                time.sleep(APART_S)
            pace.of_this_process(throttle_wait_s).wait()
            warm_s = 0.0
            while repeats > 1 and warm_s < WARM_S:
                warm_s += _seconds(run)
        times.append(_seconds(run))
    return times, computed


def profile_network(
    library: str, inputs: list[np.ndarray], repeats: int, throttle_wait_s: float
) -> tuple[list[float], list[dict[str, tuple[int, float]]]]:
    """Run times [s] of a whole network, and of each run with the functions timed what they took.

    Returns:
        Run times without looking into them; for each run looked into, by function its calls and
        their seconds.
    """
    times, _ = time_network(library, inputs, repeats, throttle_wait_s)
    vm = relax.VirtualMachine(tvm.runtime.load_module(library), tvm.cpu())
    arguments = [tvm.runtime.tensor(value) for value in inputs]
    found: dict[str, tuple[int, float]] = {}
    begin = 0.0

    def look(_function, name, before, _result, *_arguments) -> int:
        nonlocal begin
        now = time.perf_counter()
        if not before:
            calls, seconds = found.get(name, (0, 0.0))
            found[name] = (calls + 1, seconds + now - begin)
        begin = time.perf_counter()
        return 0

    vm["main"](*arguments)
    vm.set_instrument(look)
    runs = []
    for _ in range(repeats):
        found.clear()
        vm["main"](*arguments)
        runs.append(dict(found))
    return times, runs
