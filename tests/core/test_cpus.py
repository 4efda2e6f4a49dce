"""Registers of processors, by the names that LLVM has for them."""

from __future__ import annotations

import json

import pytest
import tvm
from tvm.target import codegen

from dgtl.core.cpus import AVX, AVX512, NEON, SSE, vector_registers

pytestmark = pytest.mark.tvm  # Its LLVM knows the processors.


def of(mcpu: str) -> str:
    return json.dumps({"kind": "llvm", "mcpu": mcpu, "num-cores": 4})


def names(triple: str) -> list[str]:
    return [str(n) for n in codegen.llvm_get_cpu_archlist(llvm(mtriple=triple))]


def llvm(**attributes: str) -> tvm.target.Target:
    return tvm.target.Target({"kind": "llvm", **attributes})


def test_every_processor_of_64_bits_that_llvm_knows_has_its_registers():
    triple = "x86_64-linux-gnu"
    for name in names(triple):
        target = llvm(mtriple=triple, mcpu=name)
        if not codegen.target_has_features(["64bit"], target):
            continue
        wide, narrow = (codegen.target_has_features([f], target) for f in ("avx512f", "avx"))
        expected = AVX512 if wide else AVX if narrow else SSE
        assert vector_registers(of(name)) == expected, name


def test_every_processor_of_arm_that_llvm_knows_has_its_registers():
    for name in names("aarch64-linux-gnu"):
        if name != "generic":
            assert vector_registers(of(name)) == NEON, name


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("llvm -mcpu=skylake-avx512 -num-cores=4", AVX512),
        ("llvm -mcpu=core-avx2", AVX),
        ('{"kind": "llvm", "mcpu": "haswell", "mattr": ["+avx512f"]}', AVX512),
        ("llvm -mtriple=aarch64-linux-gnu -mattr=+neon", NEON),
        ("llvm", SSE),
        (of("a-processor-of-next-year"), AVX),
    ],
)
def test_targets_of_the_command_line_and_what_is_not_known(target, expected):
    assert vector_registers(target) == expected
