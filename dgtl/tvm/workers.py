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
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tvm
from tvm import relax
from tvm.driver import build as tvm_build
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

from dgtl.tvm.sketches import InvalidConfigurationError, ScheduleSpace

Tensors = list[tuple[tuple[int, ...], str]]
"""Shape and dtype of every argument of a kernel, the output last."""


@dataclasses.dataclass(frozen=True)
class Built:
    """A candidate ready to run: its library, its arguments, and what building took [s]."""

    library: str
    tensors: Tensors
    build_s: float


@dataclasses.dataclass(frozen=True)
class Timing:
    """One timing of a candidate: seconds per run, and how many runs it is the mean of.

    `quick` if it is a first run that was too slow to be worth more.
    """

    seconds: float
    number: int
    quick: bool = False


def start(num_threads: int, scratch: str | None = None) -> None:
    """First call in every worker: kernels use ``num_threads`` threads.

    TVM takes half of the logical cores on x86 unless told otherwise, whatever the target says.
    Temporary files of TVM and of the compiler go to ``scratch``, for a worker that is killed in the
    middle of a build cannot remove them itself; None: where the system has them.
    """
    os.environ["TVM_NUM_THREADS"] = str(num_threads)
    if scratch is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = scratch


@functools.lru_cache(maxsize=8)
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
    tvm_build(mod, target=space.target).export_library(library)
    return Built(library, tensors, time.perf_counter() - begin)


def _tensors(mod: tvm.ir.IRModule, remove_preproc: bool) -> Tensors:
    infos = [info.as_json() for info in ArgInfo.from_entry_func(mod, remove_preproc)]
    return [(tuple(int(n) for n in shape), str(dtype)) for _, dtype, shape in infos]


_pool: dict[tuple[int, int, str], tvm.runtime.Tensor] = {}


def _arguments(tensors: Tensors) -> list[tvm.runtime.Tensor]:
    """Random-filled arguments; views of buffers kept from candidate to candidate.

    Filling the 400 MB of a large dense layer takes longer than timing it.
    """
    arguments = []
    fill = tvm.get_global_func("tvm.contrib.random.random_fill_for_measure")
    for position, (shape, dtype) in enumerate(tensors):
        key = (position, math.prod(shape), dtype)
        if key not in _pool:
            for old in [k for k in _pool if k[0] == position]:
                del _pool[old]
            _pool[key] = tvm.runtime.empty((key[1],), dtype)
            fill(_pool[key])
        arguments.append(_pool[key]._create_view(shape, dtype))
    return arguments


_loaded: dict[str, tvm.runtime.Module] = {}


def first_timing(
    library: str, tensors: Tensors, min_repeat_ms: float, quick_above_s: float
) -> Timing:
    """Loads a candidate and times it: its first run alone where that is slow enough.

    Caches are warm, as the same kernel's previous run on the same arguments leaves them.
    """
    _loaded[library] = tvm.runtime.load_module(library)
    first_s = _seconds(_loaded[library]["main"], _arguments(tensors))
    # A first run includes page faults and waking the threads. Where that matters, repeating costs
    # little; a run as long as a whole timing is one.
    if first_s > max(quick_above_s, min_repeat_ms / 1e3):
        del _loaded[library]
        return Timing(first_s, 1, quick=True)
    number = max(1, math.ceil(min_repeat_ms / 1e3 / first_s))
    return next_timing(library, tensors, min_repeat_ms, number)


def next_timing(library: str, tensors: Tensors, min_repeat_ms: float, number: int) -> Timing:
    """Times a candidate once more, ``number`` runs or as many as fill ``min_repeat_ms``."""
    if library not in _loaded:
        # The worker was restarted since the first timing: another candidate crashed it.
        _loaded[library] = tvm.runtime.load_module(library)
    evaluator = _loaded[library].time_evaluator(
        "main", tvm.cpu(), number=number, repeat=1, min_repeat_ms=math.ceil(min_repeat_ms)
    )
    seconds = float(evaluator(*_arguments(tensors)).results[0])
    return Timing(seconds, max(number, math.ceil(min_repeat_ms / 1e3 / seconds)))


def unload() -> None:
    """Forgets all candidates."""
    _loaded.clear()


FINAL_ROUNDS = 5
"""Turns that each finalist takes; what disturbs the machine meanwhile hits all of them alike."""
MOST_COPIES, MOST_BYTES = 256, 512 << 20
"""Limits of what `final_timings` allocates: no shared cache is larger."""


def final_timings(
    libraries: list[str], tensors: list[Tensors], network_bytes: int, min_repeat_ms: float
) -> list[list[float]]:
    """Run times [s] of candidates as a network runs them, one for each turn that they took.

    A network passes by all its other weights before it comes back to those of a layer, which by
    then lie in whatever cache holds so much, or in memory. So every run takes another copy of its
    weights, as many in turn as come to the size of all. Input and output stay where they are, as
    fresh as the layers before and after keep them.

    Args:
        libraries: of the candidates.
        tensors: their arguments: input, weights, output.
        network_bytes: size of all weights of the network [bytes].
        min_repeat_ms: least duration of a turn; at least three runs, of which the median counts.
    """
    kernels = [tvm.runtime.load_module(library)["main"] for library in libraries]
    size = sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in tensors[0][1:-1])
    copies = math.ceil(min(network_bytes, MOST_BYTES) / max(size, 1))
    copies = max(1, min(copies, MOST_COPIES))
    buffers: dict[tuple[int, int, int, str], tvm.runtime.Tensor] = {}
    block = np.random.default_rng(0).random(1 << 18)

    def argument(
        position: int, copy: int, shape: tuple[int, ...], dtype: str
    ) -> tvm.runtime.Tensor:
        key = (position, copy, math.prod(shape), dtype)
        if key not in buffers:
            buffers[key] = tvm.runtime.tensor(np.resize(block.astype(dtype), key[2]))
        return buffers[key]._create_view(shape, dtype)

    calls = []
    for kernel, own in zip(kernels, tensors, strict=True):
        last = len(own) - 1
        arguments = [
            [argument(i, copy if 0 < i < last else 0, *tensor) for i, tensor in enumerate(own)]
            for copy in range(copies)
        ]
        calls.append((kernel, arguments))
    times: list[list[float]] = [[] for _ in calls]
    turn = itertools.cycle(range(copies))
    for _ in range(FINAL_ROUNDS):
        for (kernel, arguments), found in zip(calls, times, strict=True):
            seconds: list[float] = []
            until = time.perf_counter() + min_repeat_ms / 1e3
            while len(seconds) < 3 or time.perf_counter() < until:
                seconds.append(_seconds(kernel, arguments[next(turn)]))
            found.append(statistics.median(seconds))
    return times


def _seconds(kernel, arguments: list) -> float:
    begin = time.perf_counter()
    kernel(*arguments)
    return time.perf_counter() - begin


def check(mod_file: str, target: str, config: str, tolerance: float = 1e-3) -> float:
    """Largest error of a schedule against the unscheduled function, relative to the output's scale.

    Random inputs from a fixed seed; the weight layout rewriting is part of what is checked.
    """
    space = _space(mod_file, target)
    sch = space.schedule(space.space.parse(config))
    rng = np.random.default_rng(0)
    tensors = _tensors(space.mod, remove_preproc=False)
    inputs = [rng.standard_normal(shape, dtype=np.float32) for shape, _ in tensors[:-1]]
    outputs = []
    for mod in (space.mod, sch.mod):
        arguments = [tvm.runtime.tensor(value) for value in inputs]
        output = tvm.runtime.tensor(np.full(tensors[-1][0], np.nan, np.float32))
        tvm_build(mod, target=space.target)["main"](*arguments, output)
        outputs.append(output.numpy())
    return relative_error(outputs[0], outputs[1])


def relative_error(expected: np.ndarray, actual: np.ndarray) -> float:
    """Largest absolute difference over the largest absolute value expected; inf for a nan."""
    scale = max(float(np.abs(expected).max()), 1e-30)
    error = float(np.abs(expected - actual).max()) / scale
    return error if np.isfinite(error) else math.inf


PASSES, APART_S = 10, 0.3
"""A network is timed in so many passes, so long apart: a burst of other users of the machine, which
spoils all timings made in one go, is then not what their median sees."""


def time_network(
    library: str, inputs: dict[str, tuple[int, ...]], repeats: int, seed: int
) -> tuple[list[float], list[np.ndarray]]:
    """Run times [s] of a whole network and its outputs on a seeded random input."""
    vm = relax.VirtualMachine(tvm.runtime.load_module(library), tvm.cpu())
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(shape, dtype=np.float32) for shape in inputs.values()]
    arguments = [tvm.runtime.tensor(value) for value in values]
    result = vm["main"](*arguments)
    outputs = [result] if hasattr(result, "numpy") else list(result)
    computed = [output.numpy().copy() for output in outputs]
    times = []
    for number in range(repeats):
        if number and number % max(repeats // PASSES, 1) == 0:
            time.sleep(APART_S)
        times.append(_seconds(vm["main"], arguments))
    return times, computed
