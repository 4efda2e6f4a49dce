"""From a scheduled function to a library: TVM's own way, without what a search need not pay for.

The machine code is that of `tvm.compile`, byte for byte but for exponentials
(`docs/decisions/0017-builds-without-what-changes-nothing.md`, `dgtl.tvm.arithmetic`): left out are
passes that change nothing in functions for a CPU, and the start of the compiler driver, which takes
eight times as long as the linker that it calls.
"""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import tvm
from tvm.support import cc

from dgtl.tvm import arithmetic, cuda

if TYPE_CHECKING:
    from collections.abc import Sequence

OF_GPUS = (
    "LiftThreadBinding",
    "LowerCrossThreadReduction",
    "ManifestSharedMemoryLocalStage",
    "LowerAutoCopy",
    "UnifyThreadBinding",
    "InjectPermutedLayout",
    "InjectSoftwarePipeline",
    "TransformMmaBufferLayout",
    "InjectVirtualThread",
    "InjectDoubleBuffer",
    "VerifyVTCMLimit",
    "LowerVtcmAlloc",
    "ThreadSync",
    "InferFragment",
    "LowerThreadAllreduce",
    "MergeSharedMemoryAllocations",
)
"""Passes for threads and memories that a CPU does not have."""

IDLE = (*(f"s_tir.{name}" for name in OF_GPUS), "tirx.RemoveNoOp")
"""Passes that are left out on CPUs. What `RemoveNoOp` would remove, LLVM removes too, in a tenth of
the time: it asks the prover of TVM about every statement of an unrolled loop."""


def compiled(mod: tvm.ir.IRModule, target: tvm.target.Target) -> tvm.runtime.Module:
    """The machine code of a scheduled function."""
    idle = IDLE if target.kind.name == "llvm" else ()
    with arithmetic.vectorised(), tvm.transform.PassContext(disabled_pass=list(idle)):
        return tvm.tirx.build(mod, target=target)


def export(module: tvm.runtime.Module, target: tvm.target.Target, library: str) -> dict[str, str]:
    """Writes a built module as a library; for CUDA its binaries beside it, by their sources."""
    module.export_library(library, fcompile=link)
    if target.kind.name != "cuda":
        return {}
    return cuda.write_binaries(module, str(target.attrs["arch"]), Path(library).with_suffix(""))


def link(library: str, objects: Sequence[str], **_: object) -> None:
    """Makes a shared library of object files.

    Raises:
        RuntimeError: the linker fails; the message is its own.
    """
    linker, arithmetic = _linker()
    command = [linker, "-shared", "-o", library, *objects, *arithmetic]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{linker} failed: {done.stdout.strip()}")


@functools.cache
def _linker() -> tuple[str, tuple[str, ...]]:
    """The linker that the system's compiler calls, and the compiler's own library, if it has one.

    In that is arithmetic that a processor may lack, such as that of half-precision numbers. The C
    library and its mathematics need no naming, which would double the time: Python has loaded them.
    """

    def said(question: str) -> str:
        done = subprocess.run([cc.get_cc(), question], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    arithmetic = said("-print-libgcc-file-name")
    return said("-print-prog-name=ld"), (arithmetic,) if Path(arithmetic).exists() else ()
