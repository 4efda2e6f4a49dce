"""This machine: its name, its target, and what it can run."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import tvm

from dgtl.core.records import Hardware


def detect(num_cores: int | None = None, kind: str = "llvm") -> Hardware:
    """The processor that this process runs on.

    Args:
        num_cores: cores that kernels may use; all that this process may use if None.
        kind: ``llvm``.

    Raises:
        ValueError: a kind that cannot be run here, or more cores than the machine has.
    """
    if kind != "llvm":
        raise ValueError(
            f"hardware.kind={kind}: this machine cannot be measured for it; use hardware.kind=llvm"
        )
    available = len(os.sched_getaffinity(0))
    cores = available if num_cores is None else num_cores
    if not 1 <= cores <= available:
        raise ValueError(f"hardware.num_cores={cores}: this machine offers 1 to {available}")
    mcpu = tvm.target.codegen.llvm_get_system_cpu()
    target = json.dumps({"kind": "llvm", "mcpu": mcpu, "num-cores": cores})
    return Hardware(f"{_cpu_model()}-{mcpu}", target, cores)


def require_linker() -> str:
    """The C++ compiler, which TVM needs to link kernels.

    Raises:
        ValueError: none is found.
    """
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return name
    raise ValueError("no C++ compiler found: TVM links kernels with g++ or clang++, install one")


def versions() -> dict[str, str]:
    """Versions that a measurement depends on."""
    llvm = tvm.target.codegen.llvm_version_major()
    return {"tvm": tvm.__version__, "llvm": str(llvm)}


def _cpu_model() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    name = match.group(1) if match else "cpu"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
