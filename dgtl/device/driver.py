"""What is known of the device: by the CUDA driver, by NVML, by the system."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import RefusedError

if TYPE_CHECKING:
    from .folder import Visit


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
