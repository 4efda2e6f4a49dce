"""What kernels are built for: this machine, or a GPU here or elsewhere."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
from pathlib import Path

import tvm

import dgtl
from dgtl.core import gpus
from dgtl.core.cores import available_cores
from dgtl.core.records import Hardware
from dgtl.tvm import cuda


def detect(num_cores: int | None = None) -> Hardware:
    """The processor that this process runs on.

    Args:
        num_cores: cores that kernels may use; all that this process may use if None.

    Raises:
        ValueError: more cores than the machine has.
    """
    available = available_cores()
    cores = available if num_cores is None else num_cores
    if not 1 <= cores <= available:
        raise ValueError(f"hardware.num_cores={cores}: this machine offers 1 to {available}")
    mcpu = tvm.target.codegen.llvm_get_system_cpu()
    return Hardware(cpu_name(), cpu_target(mcpu, cores), cores)


def cpu_target(mcpu: str, num_cores: int) -> str:
    """TVM's target for a processor, by LLVM's name of it."""
    return json.dumps({"kind": "llvm", "mcpu": mcpu, "num-cores": num_cores})


def unvectorised(hardware: Hardware) -> Hardware:
    """A processor whose kernels LLVM does not vectorise by itself: its optimisation level 1.

    LLVM 22 vectorises loops wrongly in which an index is taken modulo a power of two, as those of
    Tile: of 75 random ones, 4 read beyond their ends (AVX2 and AVX-512), none at level 1. Vectors
    that a schedule asks for are right, and stay.
    """
    target = json.dumps({**json.loads(hardware.target), "opt-level": 1})
    return dataclasses.replace(hardware, target=target)


@dataclasses.dataclass(frozen=True)
class FoundGPU:
    """A GPU to tune for, and what was guessed about it (one line each)."""

    hardware: Hardware
    remarks: tuple[str, ...] = ()


def gpu(device: str | None = None, arch: str | None = None) -> FoundGPU:
    """The GPU that is named, or the one of this machine.

    Args:
        device: one of `dgtl.core.gpus.GPUS`, or another name where ``arch`` is given; None: what
            this machine has, or the first device known of the architecture.
        arch: what to compile for, e.g. ``sm_90``; None: the device's.

    Raises:
        ValueError: neither is given and none is here; an architecture that the installed compiler
            does not know; a name that says nothing without ``arch``.
    """
    remarks = []
    if device is None and arch is None:
        here = tvm.cuda()
        if not here.exist:
            raise ValueError(
                "hardware=cuda: no NVIDIA GPU is found here; name what to build for, such as "
                "hardware.arch=sm_90 measure=folder"
            )
        device = gpus.name_of(here.device_name)
        arch = f"sm_{str(here.compute_version).replace('.', '')}"
    if device is None:
        cuda.check_architecture(str(arch))
        device = next((name for name, known in gpus.GPUS.items() if known.arch == arch), arch)
        remarks.append(
            f"hardware.arch={arch} is taken to be of an {device}: hardware.device=NAME says another"
        )
    known = gpus.GPUS.get(str(device))
    if arch is None:
        if known is None:
            names = ", ".join(gpus.GPUS)
            raise ValueError(f"hardware.device={device}: give hardware.arch too, or one of {names}")
        arch = known.arch
    cuda.check_architecture(arch)
    if known is None:
        remarks.append(f"nothing is known of {device}: features leave out its clock and caches")
    target = json.dumps({"kind": "cuda", "arch": arch, **_limits(str(device))})
    return FoundGPU(Hardware(str(device), target, known.processors if known else 1), tuple(remarks))


def _limits(device: str) -> dict[str, int]:
    """Limits of a device from TVM's target tags; those that all devices since sm_30 share else."""
    limits = {
        "max_threads_per_block": 1024,
        "max_num_threads": 1024,
        "max_shared_memory_per_block": 49152,
        "registers_per_block": 65536,
        "thread_warp_size": 32,
    }
    tag = f"nvidia/nvidia-{device}"
    if tag in tvm.target.list_tags():
        attributes = tvm.target.Target(tag).attrs
        limits = {name: int(attributes.get(name, value)) for name, value in limits.items()}
    return limits


def versions() -> dict[str, str]:
    """Versions that a measurement depends on."""
    llvm = tvm.target.codegen.llvm_version_major()
    return {"tvm": tvm.__version__, "llvm": str(llvm)}


def runtime_versions() -> dict[str, str]:
    """Versions that a built network depends on where it is loaded."""
    return {
        "dgtl": dgtl.__version__,
        "tvm": tvm.__version__,
        "tvm_ffi": importlib.metadata.version("apache-tvm-ffi"),
    }


VECTOR = re.compile(r"(avx|amx|sse|fma|f16c|bmi|vaes|gfni|vpclmul|asimd|sve|fp16|bf16|i8mm)")
"""What compiled kernels may need of a processor, by the names that Linux gives it."""


def cpu_features() -> tuple[str, ...]:
    """Features of this processor that kernels built for it may use, as Linux calls them."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)", text, flags=re.MULTILINE)
    names = match.group(1).split() if match else []
    return tuple(sorted(name for name in names if VECTOR.match(name)))


def cpu_name() -> str:
    """Name of this processor, as `detect` has it."""
    return f"{_cpu_model()}-{tvm.target.codegen.llvm_get_system_cpu()}"


def _cpu_model() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    name = match.group(1) if match else "cpu"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
