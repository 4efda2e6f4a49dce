"""What is known of CPUs: the vector registers that they have, by LLVM's names of processors.

From LLVM's tables of processors (X86.td, AArch64Processors.td), which a test asks for each name.
"""

from __future__ import annotations

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class VectorRegisters:
    """Those that a kernel can use.

    Args:
        count: how many.
        n_bytes: width of one.
    """

    count: int
    n_bytes: int


SSE = VectorRegisters(16, 16)
AVX = VectorRegisters(16, 32)
AVX512 = VectorRegisters(32, 64)
NEON = VectorRegisters(32, 16)
"""Vectors of SVE are as wide where it is not asked for."""

_AVX512 = {
    *("skylake-avx512", "skx", "cascadelake", "cooperlake", "cannonlake", "icelake-client"),
    *("icelake-server", "tigerlake", "rocketlake", "sapphirerapids", "emeraldrapids"),
    *("graniterapids", "graniterapids-d", "diamondrapids", "novalake", "knl", "knm", "mic-avx512"),
    *("znver4", "znver5", "x86-64-v4"),
}
_SSE = {
    *("generic", "x86-64", "x86-64-v2", "atom", "bonnell", "silvermont", "slm", "goldmont"),
    *("goldmont-plus", "tremont", "nocona", "core2", "penryn", "nehalem", "corei7", "westmere"),
    *("k8", "k8-sse3", "athlon64", "athlon64-sse3", "athlon-fx", "opteron", "opteron-sse3"),
    *("amdfam10", "barcelona", "btver1", "atom-sse4-2", "atom-sse4-2-movbe", "core-2-duo-ssse3"),
    *("core-2-duo-sse4-1", "core-i7-sse4-2", "core-aes-pclmulqdq"),
}
_NEON = re.compile(
    r"cortex|neoverse|apple-|ampere|thunderx|exynos|kryo|falkor|saphira|carmel|tsv110|a64fx|grace$|"
    r"oryon|olympus|fujitsu|gb10|c1-"
)


def vector_registers(target: str) -> VectorRegisters:
    """Of the processor that a TVM target names.

    Without a name kernels are built for what every processor has; a name that is not known is
    taken for one with AVX.

    Args:
        target: as text, JSON or of the command line.
    """
    named = re.search(r'mcpu"?[=:]\s*"?([\w.-]+)', target)
    if "aarch64" in target:
        return NEON
    if named is None:
        return SSE
    name = named[1].replace("_", "-")
    if name in _AVX512 or "+avx512f" in target:
        return AVX512
    if name in _SSE:
        return SSE
    return NEON if _NEON.match(name) else AVX
