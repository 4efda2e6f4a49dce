"""Times what a visit folder holds, on the machine that has the device.

Kernels are built where TVM's compiler is and timed where the device is: a folder travels, with a
copy of this file in it. So it imports nothing of dgtl, nor the package `tvm`, which loads the
compiler: the standard library, numpy, `tvm_ffi` and TVM's runtime libraries are enough.

    python -m dgtl.device FOLDER          or          python FOLDER/device.py FOLDER

It reads ``manifest.json`` (schema 1), appends to ``results.jsonl``, and goes on where it was
stopped. One worker process runs the kernels; whatever a kernel does to it is that kernel's result.
Exit codes: 0 everything has a result, 1 refused, 3 `--seconds` are over, 130 or 143 stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import fcntl
import hashlib
import importlib.util
import itertools
import json
import lzma
import math
import os
import platform
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

SCHEMA = 1
MARGIN_S = 2.0
"""So much longer than ``run_timeout_s`` a worker may take: it loads libraries and fills buffers."""
START_TIMEOUT_S, NETWORK_TIMEOUT_S, END_TIMEOUT_S = 120.0, 600.0, 60.0
WRONG_ABOVE = 1e-3
"""Relative error from which a result counts as wrong, as in `dgtl.tvm.measure.local`."""
MOST_COPIES, MOST_BYTES = 256, 512 << 20
"""Limits of the copies of the weights, as in `dgtl.tvm.measure.workers`."""
PASSES, APART_S, WARM_S = 10, 0.3, 0.1
"""A network is timed in so many passes, so long apart [s], each after so long a warm-up [s]."""
POOLED = 2
"""TVM's number of the allocator that a virtual machine takes unless told otherwise."""

Run = Callable[[], Any]


class RefusedError(ValueError):
    """What the user has to mend, in one line."""


class Stopped(BaseException):
    """A signal asks to end."""


class KernelError(Exception):
    """What a kernel did instead of running: a status and one line."""

    def __init__(self, status: str, error: str):
        super().__init__(error)
        self.status = status


# The folder ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A library in a pack; `check`: None, or the seed and the file of expected values."""

    id: str
    library: str
    tensors: list[tuple[list[int], str]]
    check: dict[str, Any] | None

    def __post_init__(self) -> None:
        if self.check and any(dtype != "float32" for _, dtype in self.tensors):
            raise RefusedError(f"the check of kernel {self.id} is not of float32 tensors")

    @property
    def files(self) -> list[str]:
        return [self.library, *([self.check["expected"]] if self.check else [])]


@dataclasses.dataclass(frozen=True)
class Part:
    """A file of the folder: a pack of kernels, or a network (then there are none)."""

    file: str
    sha256: str
    kernels: list[Kernel]
    best_s: float | None = None
    network: dict[str, Any] | None = None

    @property
    def ids(self) -> list[str]:
        return [self.network["id"]] if self.network else [kernel.id for kernel in self.kernels]


class Visit:
    """The manifest of a folder.

    Raises:
        RefusedError: it is not there, not ours, newer than this file, or damaged.
    """

    OPTIONS = ("repeats", "min_repeat_ms", "run_timeout_s", "quick_factor", "cache_flush_mb")

    def __init__(self, folder: Path):
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise RefusedError(f"{folder} has no manifest.json: not a visit folder") from None
        except ValueError:
            raise RefusedError(f"{path} is not JSON: copy the folder again") from None
        if not isinstance(manifest, dict) or manifest.get("type") != "dgtl-visit":
            raise RefusedError(f"{path} is of another program")
        if isinstance(manifest.get("schema"), int) and manifest["schema"] > SCHEMA:
            raise RefusedError(
                f"{path} has schema {manifest['schema']}, newer than {Path(__file__).name}: "
                "take that of the dgtl that made the folder"
            )
        try:
            self.id, self.kind, self.arch = manifest["id"], manifest["device"], manifest["arch"]
            self.threads = int(manifest["threads"]) if self.kind == "cpu" else None
            self.options = {name: float(manifest["options"][name]) for name in self.OPTIONS}
            self.parts = []
            for pack in manifest["packs"]:
                kernels = [Kernel(**kernel) for kernel in pack["kernels"]]
                self.parts.append(Part(pack["file"], pack["sha256"], kernels, pack["best_s"]))
            for network in manifest["networks"]:
                _ = network["id"], network["inputs"], network["repeats"]
                self.parts.append(Part(network["file"], network["sha256"], [], network=network))
            ids = [id for part in self.parts for id in part.ids]
        except (KeyError, TypeError, AttributeError) as error:
            raise RefusedError(f"{path} is damaged: {error!r}") from None
        if self.kind not in ("cpu", "cuda"):
            raise RefusedError(f"{path} is for a device '{self.kind}': this runs cpu and cuda")
        if len(set(ids)) < len(ids):
            raise RefusedError(f"{path} is damaged: an id is there twice")
        self.count = len(ids)

    def verify(self, folder: Path, part: Part) -> None:
        """Refuses a file that is missing or not what was packed."""
        path = folder / part.file
        inputs = folder / part.network["inputs"] if part.network else path
        for file in (path, inputs):
            if not file.is_file():
                raise RefusedError(f"{file} is missing: copy the folder again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != part.sha256:
            raise RefusedError(f"{path} is not what was packed, its hash differs: copy it again")


class Results:
    """``results.jsonl``: what is done already, and where more is appended.

    Raises:
        RefusedError: it belongs to another visit, is damaged, or another process appends to it.
    """

    def __init__(self, folder: Path, visit_id: str):
        self._visit_id = visit_id
        self.path = folder / "results.jsonl"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"another run is at work on {folder}") from None
        except OSError:
            pass  # a file system without locks
        self.done: dict[str, dict[str, Any]] = {}
        self.complete = False
        kept = 0
        lines = self.path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                record = None
            if record is None:
                if number < len(lines):
                    raise RefusedError(f"{self.path}, line {number}: not JSON; move the file away")
                break  # torn when the machine or the process was stopped
            if not isinstance(record, dict) or record.get("visit") != visit_id:
                raise RefusedError(f"{self.path} has results that do not belong to this folder")
            if record.get("type") in ("kernel", "check", "network"):
                self.done[record["id"]] = record
            self.complete = record.get("type") == "done"
            kept += len(line)
        os.truncate(self._file, kept)

    def close(self) -> None:
        os.close(self._file)

    def append(self, *records: dict[str, Any]) -> None:
        """Writes records so that they outlive the process and the machine."""
        stamped = [{**r, "visit": self._visit_id, "timestamp": time.time()} for r in records]
        text = "".join(json.dumps(record) + "\n" for record in stamped).encode()
        while text:
            text = text[os.write(self._file, text) :]
        with contextlib.suppress(OSError):  # a file system without it
            os.fsync(self._file)
        self.done.update({r["id"]: r for r in stamped if "id" in r})


def unpack(archive: Path, kernels: list[Kernel], where: Path) -> None:
    """Unpacks a pack: the files that its kernels name, and no other."""
    expected = {name for kernel in kernels for name in kernel.files}
    found = set()
    try:
        with tarfile.open(archive, mode="r:xz") as tar:
            for member in tar:
                source = tar.extractfile(member) if member.isreg() else None
                if source is None or "/" in member.name or member.name not in expected:
                    raise RefusedError(
                        f"{archive} holds '{member.name}', which its manifest does not"
                    )
                with (where / member.name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                found.add(member.name)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise RefusedError(f"{archive} does not unpack: {error}") from None
    if found != expected:
        raise RefusedError(f"{archive} lacks {min(expected - found)}")


# The device ------------------------------------------------------------------------------------


class Driver:
    """The CUDA driver by ctypes: calls by name; device 0. Numbers are those of cuda.h.

    Raises:
        RefusedError: there is no driver or no device.
    """

    ATTRIBUTES: ClassVar[dict[str, int]] = {
        "processors": 16,
        "clock_mhz": 13,
        "memory_clock_mhz": 36,
        "l2_bytes": 38,
        "shared_bytes_per_block": 8,
        "shared_bytes_per_processor": 81,
        "registers_per_processor": 82,
        "memory_bus_bits": 37,
    }

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError:
            raise RefusedError(
                "the folder is for CUDA, and no driver is here: no libcuda.so.1"
            ) from None
        self.device = ctypes.c_int()
        try:
            self("cuInit", 0)
            self("cuDeviceGet", ctypes.byref(self.device), 0)
        except RuntimeError as error:
            raise RefusedError(f"the folder is for CUDA, and no device is here: {error}") from None

    def __call__(self, name: str, *arguments: Any) -> None:
        """Calls a function of the driver.

        Raises:
            RuntimeError: it does not return CUDA_SUCCESS.
        """
        code = getattr(self._library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            raise RuntimeError(f"{name}: {(text.value or b'error').decode()} ({code})")

    def text(self, name: str) -> str:
        """What a function like cuDeviceGetName writes into a buffer."""
        buffer = ctypes.create_string_buffer(256)
        self(name, buffer, len(buffer), self.device)
        return buffer.value.decode()

    def attribute(self, number: int) -> int | None:
        value = ctypes.c_int()
        try:
            self("cuDeviceGetAttribute", ctypes.byref(value), number, self.device)
        except RuntimeError:
            return None
        return value.value

    def facts(self) -> dict[str, Any]:
        version, memory = ctypes.c_int(), ctypes.c_size_t()
        self("cuDriverGetVersion", ctypes.byref(version))
        self("cuDeviceTotalMem_v2", ctypes.byref(memory), self.device)
        facts = {name: self.attribute(number) for name, number in self.ATTRIBUTES.items()}
        for name in ("clock_mhz", "memory_clock_mhz"):
            khz = facts[name]
            facts[name] = khz // 1000 if khz else None
        return {
            "name": self.text("cuDeviceGetName"),
            "driver": f"CUDA {version.value // 1000}.{version.value % 1000 // 10}",
            "capability": f"{self.attribute(75)}.{self.attribute(76)}",
            "memory_bytes": memory.value,
            **facts,
        }


class Monitor:
    """Clock, temperature and throttling of a GPU from NVML; all None where there is none.

    Args:
        bus: PCI bus id. NVML counts devices that CUDA_VISIBLE_DEVICES hides, so indices differ.
    """

    SLOWED = 0x04 | 0x08 | 0x20 | 0x40 | 0x80
    """NVML's reasons: power cap; hardware, thermal and power brake slowdown. The others (idle,
    clocks that were chosen) are no disturbance."""

    def __init__(self, bus: str | None):
        self._handle = ctypes.c_void_p()
        self._library: ctypes.CDLL | None = None
        if bus is None:
            return
        with contextlib.suppress(OSError, AttributeError):
            nvml = ctypes.CDLL("libnvidia-ml.so.1")
            found = nvml.nvmlDeviceGetHandleByPciBusId_v2
            if nvml.nvmlInit_v2() == 0 and found(bus.encode(), ctypes.byref(self._handle)) == 0:
                self._library = nvml

    def _read(self, name: str, value: Any, *arguments: int) -> int | None:
        function = getattr(self._library, name, None) if self._library else None
        if function is None or function(self._handle, *arguments, ctypes.byref(value)):
            return None
        return value.value

    def now(self) -> dict[str, Any]:
        """SM clock [MHz], temperature [°C], and whether it is slowed down."""
        reasons = self._read("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong())
        return {
            "clock_mhz": self._read("nvmlDeviceGetClockInfo", ctypes.c_uint(), 1),
            "temperature_c": self._read("nvmlDeviceGetTemperature", ctypes.c_uint(), 0),
            "throttled": None if reasons is None else bool(reasons & self.SLOWED),
        }


FACTS = ("name", "driver", "capability", *Driver.ATTRIBUTES, "memory_bytes")


def look(visit: Visit) -> tuple[dict[str, Any], Monitor]:
    """What is known of the device, and how to watch it.

    Raises:
        RefusedError: it is not there, or cannot run the folder's binaries.
    """
    known: dict[str, Any] = {
        "type": "device",
        "kind": visit.kind,
        "python": platform.python_version(),
    }
    bus = None
    if visit.kind == "cuda":
        driver = Driver()
        known |= driver.facts()
        bus = driver.text("cuDeviceGetPCIBusId")
        arch = re.fullmatch(r"sm_(\d+)(\d)[a-z]?", str(visit.arch))
        wanted = f"{arch[1]}.{arch[2]}" if arch else None
        if wanted != known["capability"]:
            raise RefusedError(
                f"the kernels are built for {visit.arch}, and {known['name']} has compute "
                f"capability {known['capability']}: make a folder for it"
            )
    else:
        text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
        known["name"] = model[1] if model else platform.machine()
        known["processors"] = len(os.sched_getaffinity(0))
        known["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {**dict.fromkeys(FACTS), **known}, Monitor(bus)


def find_runtime(folder: Path, given: str | None, kind: str) -> Path:
    """The folder of TVM's runtime libraries."""
    if given is not None:
        place = Path(given)
    elif (folder / "runtime").is_dir():
        place = folder / "runtime"
    else:
        spec = importlib.util.find_spec("tvm")  # an import would load the compiler
        places = list(spec.submodule_search_locations or []) if spec else []
        if not places:
            raise RefusedError("no TVM here: pip install apache-tvm, or give --runtime DIR")
        place = Path(places[0]) / "lib"
    for name in _libraries(kind):
        if not (place / name).is_file():
            raise RefusedError(
                f"{place} has no {name}: give --runtime DIR with TVM's runtime libraries"
            )
    return place.resolve()


def _libraries(kind: str) -> list[str]:
    names = ["runtime", "runtime_extra", *(["runtime_cuda"] if kind == "cuda" else [])]
    return [f"libtvm_{name}.so" for name in names]


# The worker ------------------------------------------------------------------------------------


class Wall:
    """Times by the wall clock: on the processor a kernel has run when its call returns."""

    def sync(self) -> None:
        pass

    def first_s(self, run: Run) -> float:
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin

    def mean_s(self, run: Run, at_least_s: float) -> float:
        """Seconds per run over as many runs as take ``at_least_s``."""
        run()  # not counted: it wakes the threads
        number, elapsed = 0, 0.0
        begin = time.perf_counter()
        while number == 0 or elapsed < at_least_s:
            run()
            number += 1
            elapsed = time.perf_counter() - begin
        return elapsed / number


class Events:
    """Times by the device's own clock: events on the null stream, where TVM launches kernels."""

    def __init__(self) -> None:
        self._driver = Driver()
        context = ctypes.c_void_p()
        # TVM uses the runtime API, whose context is the primary one.
        self._driver("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._driver.device)
        self._driver("cuCtxSetCurrent", context)
        self._begin, self._end = ctypes.c_void_p(), ctypes.c_void_p()
        for event in (self._begin, self._end):
            self._driver("cuEventCreate", ctypes.byref(event), 0)

    def sync(self) -> None:
        self._driver("cuCtxSynchronize")

    def _burst_s(self, run: Run, number: int) -> float:
        elapsed_ms = ctypes.c_float()
        self._driver("cuEventRecord", self._begin, None)
        for _ in range(number):
            run()
        self._driver("cuEventRecord", self._end, None)
        self._driver("cuEventSynchronize", self._end)
        self._driver("cuEventElapsedTime", ctypes.byref(elapsed_ms), self._begin, self._end)
        return max(elapsed_ms.value / 1e3, 1e-7)  # events tell half a microsecond apart

    def first_s(self, run: Run) -> float:
        run()  # not counted: TVM loads the binary into the device at the first call
        self.sync()
        return self._burst_s(run, 1)

    def mean_s(self, run: Run, at_least_s: float) -> float:
        """Seconds per run over about as many runs as take ``at_least_s``."""
        run()
        number, elapsed_s = 1, self._burst_s(run, 1)
        while elapsed_s < at_least_s / 10 and number < 1 << 14:
            number *= 2
            elapsed_s = self._burst_s(run, number)
        number = max(math.ceil(number * at_least_s / elapsed_s), 1)
        return self._burst_s(run, number) / number


class Worker:
    """What runs in the worker process: one method per request, named as there.

    Args:
        kind: ``cpu`` or ``cuda``.
        runtime: folder of TVM's runtime libraries.
    """

    def __init__(self, kind: str, runtime: Path):
        import tvm_ffi
        from tvm_ffi import registry

        # As tvm does without its compiler: the runtime's Python classes are not here.
        registry._SKIP_UNKNOWN_OBJECTS = True
        for name in _libraries(kind):
            _load_library(runtime / name)
        self._ffi: Any = tvm_ffi
        self._device = tvm_ffi.device(kind, 0)
        self._clock: Wall | Events = Events() if kind == "cuda" else Wall()
        self._buffers: dict[tuple[int, int, int, str], Any] = {}
        self._loaded: dict[str, Run] = {}
        self._turn = itertools.count()
        self._numpy(
            self._tensor(np.zeros(1, np.float32))
        )  # a device that does nothing says so here

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._ffi.get_global_func(f"runtime.TVMTensor{name}")(*arguments)

    def _tensor(self, value: np.ndarray) -> Any:
        value = np.ascontiguousarray(value)
        shape, dtype = self._ffi.Shape(value.shape), self._ffi.dtype(str(value.dtype))
        tensor = self._call("AllocWithScope", shape, dtype, self._device, None)
        self._call("CopyFromBytes", tensor, ctypes.c_void_p(value.ctypes.data), value.nbytes)
        return tensor

    def _numpy(self, tensor: Any) -> np.ndarray:
        self._clock.sync()
        value = np.empty(tuple(tensor.shape), str(tensor.dtype))
        self._call("CopyToBytes", tensor, ctypes.c_void_p(value.ctypes.data), value.nbytes)
        return value

    def _buffer(self, position: int, copy: int, size: int, dtype: str) -> Any:
        key = (position, copy, size, dtype)
        if key not in self._buffers:
            # Random numbers, repeated: drawing them all would take longer than all else here.
            block = np.random.default_rng(position).random(1 << 16).astype(dtype)
            self._buffers[key] = self._tensor(np.resize(block, size))
        return self._buffers[key]

    def _arguments(self, tensors: list, cache_flush_mb: float) -> list[list[Any]]:
        """Another copy of the weights run after run: as `dgtl.tvm.measure.workers._arguments`."""
        last = len(tensors) - 1
        sizes = [math.prod(shape) for shape, _ in tensors]
        wanted = {
            (i, n, dtype) for i, (n, (_, dtype)) in enumerate(zip(sizes, tensors, strict=True))
        }
        for key in [k for k in self._buffers if (k[0], k[2], k[3]) not in wanted]:
            del self._buffers[key]
        own = sum(sizes[i] * np.dtype(tensors[i][1]).itemsize for i in range(1, last))
        copies = int(min(cache_flush_mb * 2**20, MOST_BYTES) / max(own, 1))
        return [
            [
                self._call(
                    "CreateView",
                    self._buffer(i, copy if 0 < i < last else 0, sizes[i], dtype),
                    self._ffi.Shape(shape),
                    self._ffi.dtype(dtype),
                    0,
                )
                for i, (shape, dtype) in enumerate(tensors)
            ]
            for copy in range(min(max(copies, 1), MOST_COPIES))
        ]

    def _load(self, library: str, tensors: list, options: dict[str, float]) -> Run:
        if library not in self._loaded:
            kernel = self._ffi.load_module(library, keep_module_alive=False)["main"]
            arguments = self._arguments(tensors, options["cache_flush_mb"])
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
        return {
            "seconds": self._clock.mean_s(run, options["min_repeat_ms"] / 1e3),
            "quick": False,
        }

    def check(self, library: str, tensors: list, seed: int, expected: str) -> dict[str, Any]:
        """Error of a kernel on seeded random inputs, at the elements that the file names."""
        rng = np.random.default_rng(seed)
        inputs = [rng.standard_normal(shape, dtype=np.float32) for shape, _ in tensors[:-1]]
        output = self._tensor(np.full(tensors[-1][0], np.nan, np.float32))
        module = self._ffi.load_module(library, keep_module_alive=False)
        module["main"](*map(self._tensor, inputs), output)
        with np.load(expected, allow_pickle=False) as file:
            actual = self._numpy(output).reshape(-1)[file["index"]]
            return {"relative_error": _error(file["value"], actual, float(file["scale"]))}

    def network(self, library: str, inputs: str, repeats: int) -> dict[str, Any]:
        """Run times [s] of a network and the largest error of its outputs.

        By the wall clock, for what the host does between kernels is part of the latency.
        """
        with np.load(inputs, allow_pickle=False) as file:
            values = dict(file)
        machine = self._ffi.load_module(library)["vm_load_executable"]()
        devices = [
            self._device,
            *([self._ffi.device("cpu", 0)] if self._device.type != "cpu" else []),
        ]
        kinds = [int(device.dlpack_device_type()) for device in devices]
        machine["vm_initialization"](*(n for kind in kinds for n in (kind, 0, POOLED)))
        main = machine["main"]
        arguments = [self._tensor(values[name]) for name in _numbered(values, "input_")]
        result = main(*arguments)
        outputs = [result] if hasattr(result, "shape") else list(result)
        expected = [values[name] for name in _numbered(values, "output_")]
        if len(outputs) != len(expected):
            raise ValueError(f"the network has {len(outputs)} outputs, expected {len(expected)}")
        errors = [
            _error(e, self._numpy(o), float(np.abs(e).max()))
            for e, o in zip(expected, outputs, strict=True)
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


def _numbered(values: dict[str, np.ndarray], prefix: str) -> list[str]:
    names = (f"{prefix}{number}" for number in itertools.count())
    return list(itertools.takewhile(values.__contains__, names))


def _error(expected: np.ndarray, actual: np.ndarray, scale: float) -> float:
    error = float(np.abs(expected - actual).max()) / max(scale, 1e-30)
    return error if math.isfinite(error) else math.inf


def _load_library(path: Path) -> None:
    try:
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    except OSError as error:
        # The wheel of TVM has no CUDA runtime: take it from NVIDIA's wheel or toolkit.
        name = str(error).partition(":")[0]
        places = [*(Path(entry) / "nvidia" for entry in sys.path), Path("/usr/local")]
        found = [f for place in places for f in place.glob(f"*/lib*/{name}")]
        if not name.startswith("libcudart") or not found:
            raise
        ctypes.CDLL(str(found[0]), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


def _line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return lines[-1].strip()[:300]


def work(kind: str, runtime: Path) -> int:
    """The worker process: requests come as JSON lines, each gets one as its answer."""
    # A parent that is killed takes the worker along, which may never read again: PR_SET_PDEATHSIG.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    # What kernels print must not look like an answer.
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    worker: Worker | None = None
    for request in itertools.chain(["{}"], requests):
        answer: dict[str, Any]
        try:
            if worker is None:
                worker, answer = Worker(kind, runtime), {}
            else:
                content = json.loads(request)
                answer = getattr(worker, content.pop("do"))(**content)
        except Exception as error:
            answer = {"error": _line(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if worker is None:
            break
    return 0


# The parent ------------------------------------------------------------------------------------


class Runner:
    """The worker process: asks it, ends it when it is no use any more, starts another."""

    def __init__(self, visit: Visit, runtime: Path):
        self._visit = visit
        arguments = [str(Path(__file__).resolve()), "--worker", visit.kind, str(runtime)]
        self._command = [sys.executable, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts a worker unless there is one.

        Raises:
            RefusedError: it does not start.
        """
        if self._process is not None:
            return
        threads = self._visit.threads
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **({"TVM_NUM_THREADS": str(threads)} if threads else {})},
            start_new_session=True,  # Ctrl-C is for the parent
        )
        try:
            answer = self._answer(START_TIMEOUT_S)
        except KernelError as error:
            answer = {"error": str(error)}
        if "error" in answer:
            self.end()
            raise RefusedError(f"the {self._visit.kind} runtime does not start: {answer['error']}")

    def ask(self, do: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """The worker's answer to a request.

        Raises:
            KernelError: it has none.
        """
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        request = json.dumps({"do": do, **arguments}) + "\n"
        try:
            with contextlib.suppress(BrokenPipeError):  # then the answer tells
                self._process.stdin.write(request.encode())
                self._process.stdin.flush()
            answer = self._answer(timeout_s)
        except KernelError:
            self.end()
            raise
        if "error" in answer:
            if self._visit.kind == "cuda":
                self.end()  # after an error of CUDA its context runs nothing any more
            raise KernelError("run_error", answer["error"])
        return answer

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise KernelError("run_timeout", f"no answer within {timeout_s:g} s")
        line = self._process.stdout.readline()
        try:
            return json.loads(line)
        except ValueError:
            code = 0
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = code if line else self._process.wait(END_TIMEOUT_S)
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise KernelError("run_error", f"its process died: {name}") from None

    def end(self) -> None:
        """Kills the worker. If not even that helps, the next one tells by not starting."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError, AttributeError):
                    pipe.close()  # type: ignore[union-attr]
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_TIMEOUT_S)


@dataclasses.dataclass
class Trial:
    """A kernel on its way through the passes, or after."""

    kernel: Kernel
    status: str = "ok"
    times_s: list[float] = dataclasses.field(default_factory=list)
    quick: bool = False
    run_s: float = 0.0
    error: str = ""
    condition: dict[str, Any] = dataclasses.field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        values = {
            name: getattr(self, name) for name in ("status", "times_s", "quick", "run_s", "error")
        }
        return {"type": "kernel", "id": self.kernel.id, **values, **self.condition}


class Session:
    """One start of this program: a folder, its results so far, a worker."""

    def __init__(self, visit: Visit, results: Results, runner: Runner, monitor: Monitor):
        self._visit, self._results = visit, results
        self._runner, self._monitor = runner, monitor
        self._timeout_s = visit.options["run_timeout_s"] + MARGIN_S

    def pack(self, pack: Part, archive: Path) -> str:
        """Runs what of a pack has no result yet; a line of what came out.

        One timing of each kernel per pass: other users of a machine come in bursts, which would
        spoil all timings of a kernel that are made in one go.
        """
        options, done = self._visit.options, self._results.done
        with temporary_folder() as where:
            unpack(archive, pack.kernels, where)
            kernels = [kernel for kernel in pack.kernels if kernel.id not in done]
            self._results.append(*[self._check(k, where) for k in kernels if k.check])
            trials = [Trial(k) for k in kernels if not k.check]
            times_s = [t for id in pack.ids for t in done.get(id, {}).get("times_s", [])]
            best_s = min([math.inf if pack.best_s is None else pack.best_s, *times_s])
            try:
                for number in range(int(options["repeats"])):
                    for trial in trials:
                        if trial.status == "ok" and not trial.quick:
                            self._time(trial, number, best_s, where)
                            best_s = min([best_s, *trial.times_s])
                with contextlib.suppress(KernelError):
                    self._runner.ask("unload", self._timeout_s)
            except RefusedError:
                # The device is gone, perhaps through one of those that failed: not again.
                self._results.append(*[t.record() for t in trials if t.status != "ok"])
                raise
            self._results.append(*[trial.record() for trial in trials])
        failed = sum(done[id]["status"] != "ok" for id in pack.ids)
        times_s = [statistics.median(t) for id in pack.ids if (t := done[id].get("times_s"))]
        best = f"best {min(times_s) * 1e3:.4g} ms" if times_s else "none timed"
        return f"{len(pack.ids)} kernels, {failed} failed, {best}"

    def _time(self, trial: Trial, number: int, best_s: float, where: Path) -> None:
        """One more timing of a kernel, or the failure that ends its trial."""
        begin = time.perf_counter()
        options = self._visit.options
        first = {"quick_above_s": options["quick_factor"] * best_s} if number == 0 else {}
        try:
            answer = self._runner.ask(
                "next" if number else "first",
                self._timeout_s,
                library=str(where / trial.kernel.library),
                tensors=trial.kernel.tensors,
                options=options,
                **first,
            )
        except KernelError as error:
            trial.status, trial.error, trial.times_s = error.status, str(error), []
        else:
            trial.times_s.append(answer["seconds"])
            trial.quick = answer["quick"]
        trial.run_s += time.perf_counter() - begin
        throttled = trial.condition.get("throttled")
        trial.condition = self._monitor.now()
        if throttled:
            trial.condition["throttled"] = True

    def _check(self, kernel: Kernel, where: Path) -> dict[str, Any]:
        assert kernel.check is not None
        return self._judged(
            {"type": "check", "id": kernel.id},
            do="check",
            timeout_s=self._timeout_s,
            library=str(where / kernel.library),
            tensors=kernel.tensors,
            seed=kernel.check["seed"],
            expected=str(where / kernel.check["expected"]),
        )

    def network(self, part: Part, folder: Path) -> str:
        """Runs a network; a line of what came out."""
        assert part.network is not None
        record = self._judged(
            {"type": "network", "id": part.network["id"], "times_s": []},
            do="network",
            timeout_s=NETWORK_TIMEOUT_S,
            library=str(folder / part.file),
            inputs=str(folder / part.network["inputs"]),
            repeats=part.network["repeats"],
        )
        self._results.append(record)
        if record["status"] != "ok":
            return f"{record['status']}: {record['error']}"
        return f"{statistics.median(record['times_s']) * 1e3:.4g} ms"

    def _judged(self, record: dict[str, Any], **request: Any) -> dict[str, Any]:
        record |= {"status": "ok", "relative_error": None, "error": ""}
        try:
            record |= self._runner.ask(**request)
        except KernelError as failure:
            record |= {"status": failure.status, "error": str(failure)}
        else:
            if record["relative_error"] > WRONG_ABOVE:
                error = f"relative error {record['relative_error']:.2g}"
                record |= {"status": "wrong_result", "error": error}
        return record


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed after, as are those of processes that were killed."""
    for old in Path(tempfile.gettempdir()).glob("dgtl-visit-*-*"):
        number = old.name.split("-")[2]
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"dgtl-visit-{os.getpid()}-") as where:
        yield Path(where)


def run(folder: Path, runtime: str | None, seconds: float) -> int:
    """Runs what has no result yet; the exit code."""
    begin = time.monotonic()
    visit = Visit(folder)
    with contextlib.closing(Results(folder, visit.id)) as results:
        return _run(folder, visit, results, runtime, begin + seconds)


def _run(folder: Path, visit: Visit, results: Results, runtime: str | None, deadline: float) -> int:
    todo = [part for part in visit.parts if any(id not in results.done for id in part.ids)]
    for part in todo:  # before hours of measuring, not after
        visit.verify(folder, part)
    runner = None
    try:
        if todo:
            facts, monitor = look(visit)
            runner = Runner(visit, find_runtime(folder, runtime, visit.kind))
            runner.start()
            results.append(facts)
            session = Session(visit, results, runner, monitor)
        for number, part in enumerate(todo, start=1):
            if time.monotonic() > deadline:
                print(f"time is over: {_progress(visit, results)}", flush=True)
                return 3
            if part.network:
                line = f"network: {session.network(part, folder)}"
            else:
                line = f"pack {number}/{len(todo)}: {session.pack(part, folder / part.file)}"
            print(line, flush=True)
    except Stopped:
        print(f"stopped: {_progress(visit, results)}", flush=True)
        raise
    finally:
        if runner is not None:
            runner.end()
    if not results.complete:
        results.append({"type": "done"})
    print("all done: copy the folder back and run the same run.py command again", flush=True)
    return 0


def _progress(visit: Visit, results: Results) -> str:
    return f"{len(results.done)} of {visit.count} done; the same command goes on"


def _stop(signum: int, frame: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise Stopped(signum)


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code."""
    if arguments is None:
        arguments = sys.argv[1:]
    if arguments[:1] == ["--worker"]:
        return work(arguments[1], Path(arguments[2]))
    parser = argparse.ArgumentParser(prog="device.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the visit folder")
    parser.add_argument("--runtime", metavar="DIR", help="folder of TVM's runtime libraries")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="start no other pack when they are over"
    )
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        return run(options.folder, options.runtime, options.seconds)
    except Stopped as stop:
        return 128 + int(stop.args[0])
    except (RefusedError, OSError) as error:
        print(f"error: {_line(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    # What lies beside this file hides no package: dgtl has a folder `tvm`.
    sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).resolve().parent]
    sys.exit(main())
