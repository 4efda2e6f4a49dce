"""What runs in the worker process."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm_ffi
from tvm_ffi import registry

from .cubins import Cubins
from .memory import Memory
from .runtime import load_runtime
from .timing import Events, Run, Wall
from .values import error_of, random_values, unwritten

if TYPE_CHECKING:
    from pathlib import Path

PASSES, APART_S, WARM_S = 10, 0.3, 0.1
"""A network is timed in so many passes, so long apart [s], each after so long a warm-up [s]."""
POOLED = 2
"""TVM's number of the allocator that a virtual machine takes unless told otherwise."""


class Worker:
    """Runs kernels and networks: one method per request, named as there.

    Args:
        kind: ``cpu`` or ``cuda``.
        runtime: folder of TVM's runtime libraries.
    """

    def __init__(self, kind: str, runtime: Path):
        # As tvm does without its compiler: the runtime's Python classes are not here.
        registry._SKIP_UNKNOWN_OBJECTS = True
        load_runtime(runtime, kind)
        self._cubins = Cubins()
        tvm_ffi.register_global_func(Cubins.CALLBACK, self._cubins, override=True)
        self._clock: Wall | Events = Events() if kind == "cuda" else Wall()
        self._memory = Memory(kind, self._clock.sync)
        self._loaded: dict[str, Run] = {}
        self._turn = itertools.count()
        # A device that does nothing says so here.
        self._memory.numpy(self._memory.tensor(np.zeros(1, np.float32)))

    def answer(
        self, do: str, cubins: dict[str, str] | None = None, **request: Any
    ) -> dict[str, Any]:
        """Does what a request asks; one that runs a library names its binaries, see `Cubins`."""
        self._cubins.files = cubins or {}
        return getattr(self, do)(**request)

    def _load(self, library: str, tensors: list, options: dict[str, float]) -> Run:
        if library not in self._loaded:
            kernel = tvm_ffi.load_module(library, keep_module_alive=False)["main"]
            arguments = self._memory.arguments(tensors, options["cache_flush_mb"])
            self._loaded[library] = lambda: kernel(*arguments[next(self._turn) % len(arguments)])
        return self._loaded[library]

    def unload(self) -> dict[str, Any]:
        """Forgets the kernels of a pack."""
        self._loaded.clear()
        return {}

    def first(
        self, library: str, tensors: list, options: dict[str, float], quick_above_s: float
    ) -> dict[str, Any]:
        """Loads a kernel and times it: its first run alone where that is slow enough."""
        first_s = self._clock.first_s(self._load(library, tensors, options))
        if first_s > max(quick_above_s, options["min_repeat_ms"] / 1e3):
            del self._loaded[library]
            return {"seconds": first_s, "quick": True}
        return self.next(library, tensors, options)

    def next(self, library: str, tensors: list, options: dict[str, float]) -> dict[str, Any]:
        """Times a kernel once more; a worker that is new loads it first."""
        run = self._load(library, tensors, options)
        seconds = self._clock.mean_s(run, options["min_repeat_ms"] / 1e3)
        return {"seconds": seconds, "quick": False}

    def check(self, library: str, tensors: list, seed: int, expected: str) -> dict[str, Any]:
        """Error of a kernel on seeded random inputs, at the elements that the file names."""
        rng = np.random.default_rng(seed)
        inputs = [random_values(rng, shape, dtype) for shape, dtype in tensors[:-1]]
        output = self._memory.tensor(unwritten(*tensors[-1]))
        module = tvm_ffi.load_module(library, keep_module_alive=False)
        module["main"](*map(self._memory.tensor, inputs), output)
        with np.load(expected, allow_pickle=False) as file:
            actual = self._memory.numpy(output).reshape(-1)[file["index"]]
            return {"relative_error": error_of(file["value"], actual, float(file["scale"]))}

    def network(self, library: str, inputs: str, repeats: int) -> dict[str, Any]:
        """Run times [s] of a network and the largest error of its outputs.

        By the wall clock, for what the host does between kernels is part of the latency.
        """
        with np.load(inputs, allow_pickle=False) as file:
            values = dict(file)
        machine = self._machine(library)
        main = machine["main"]
        arguments = [self._memory.tensor(value) for value in _numbered(values, "input_")]
        result = main(*arguments)
        outputs = [result] if hasattr(result, "shape") else list(result)
        expected = _numbered(values, "output_")
        if len(outputs) != len(expected):
            raise ValueError(f"the network has {len(outputs)} outputs, expected {len(expected)}")
        errors = [
            error_of(e, self._memory.numpy(o)) for e, o in zip(expected, outputs, strict=True)
        ]

        def run_s() -> float:
            begin = time.perf_counter()
            main(*arguments)
            self._clock.sync()
            return time.perf_counter() - begin

        times = []
        for number in range(repeats):
            if number % max(repeats // PASSES, 1) == 0:
                time.sleep(APART_S if number else 0)
                warm_s = 0.0
                while warm_s < WARM_S:
                    warm_s += run_s()
            times.append(run_s())
        return {"times_s": times, "relative_error": max(errors)}

    def _machine(self, library: str) -> Any:
        machine = tvm_ffi.load_module(library)["vm_load_executable"]()
        device = self._memory.device
        devices = [device, *([tvm_ffi.device("cpu", 0)] if device.type != "cpu" else [])]
        kinds = [int(device.dlpack_device_type()) for device in devices]
        machine["vm_initialization"](*(n for kind in kinds for n in (kind, 0, POOLED)))
        return machine


def _numbered(values: dict[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    names = (f"{prefix}{number}" for number in itertools.count())
    return [values[name] for name in itertools.takewhile(values.__contains__, names)]
