"""CUDA kernels compiled beforehand: from the source that TVM generates to what a device loads.

Where no driver is, TVM keeps a kernel's source in its library and compiles it when the kernel is
first called, on the machine that has the device. Here that is done by NVRTC where the kernel is
built; the runner of `dgtl.device` hands TVM the binary instead. Both come as wheels (``pip install
dgtl[cuda]``): no driver, no toolkit.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import tvm

# What TVM's sources include of CUDA's C++ library. Parsing the library takes 1.5 s a kernel.
_HEADERS = {
    "cuda/std/cstdint": """
namespace cuda { namespace std {
typedef signed char int8_t; typedef unsigned char uint8_t;
typedef short int16_t; typedef unsigned short uint16_t;
typedef int int32_t; typedef unsigned int uint32_t;
typedef long long int64_t; typedef unsigned long long uint64_t;
} }
#define INFINITY __int_as_float(0x7f800000)
""",
    "cuda/std/type_traits": """
namespace cuda { namespace std {
template <bool V> struct truth { static constexpr bool value = V; };
template <class A, class B> struct is_same : truth<false> {};
template <class A> struct is_same<A, A> : truth<true> {};
template <class A, class B> constexpr bool is_same_v = is_same<A, B>::value;
template <class T> struct is_floating_point
    : truth<is_same_v<T, float> || is_same_v<T, double>> {};
template <class T> struct is_signed : truth<(T(-1) < T(0))> {};
template <class T> struct is_unsigned : truth<!(T(-1) < T(0))> {};
template <class T> struct is_integral : truth<!is_floating_point<T>::value> {};
template <bool B, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool B, class T, class F> struct conditional { typedef T type; };
template <class T, class F> struct conditional<false, T, F> { typedef F type; };
} }
""",
}

# TVM's own options for NVRTC (tvm/support/nvcc.py).
_OPTIONS = (
    "-default-device",
    "--device-int128",
    "--use_fast_math",
    "--ptxas-options=--register-usage-level=10",
)


class CompileError(ValueError):
    """NVRTC does not compile a kernel."""


def check_architecture(arch: str) -> None:
    """Checks that kernels can be compiled for an architecture such as ``sm_90``.

    Raises:
        ValueError: the compiler is not installed or does not know it.
    """
    code, numbers = _nvrtc().nvrtcGetSupportedArchs()
    _check(code)
    known = [f"sm_{number}" for number in numbers]
    # Variants such as sm_90a are known where their number is.
    if re.sub(r"[af]$", "", arch) not in known:
        raise ValueError(f"hardware.arch={arch}: the installed compiler knows {', '.join(known)}")


@functools.cache
def _nvrtc():
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            "no compiler for CUDA kernels: pip install 'dgtl[cuda]' (NVRTC as wheels)"
        ) from error
    return nvrtc


def compile_source(source: str, arch: str) -> bytes:
    """The binary (cubin) of CUDA source for an architecture.

    Raises:
        CompileError: with the compiler's first error.
    """
    nvrtc = _nvrtc()
    names = [name.encode() for name in _HEADERS]
    texts = [text.encode() for text in _HEADERS.values()]
    code, program = nvrtc.nvrtcCreateProgram(
        source.encode(), b"kernel.cu", len(names), texts, names
    )
    _check(code)
    try:
        options = [option.encode() for option in (f"--gpu-architecture={arch}", *_OPTIONS)]
        (code,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if int(code) != 0:
            raise CompileError(_first_error(program))
        code, size = nvrtc.nvrtcGetCUBINSize(program)
        _check(code)
        binary = bytearray(size)
        _check(*nvrtc.nvrtcGetCUBIN(program, binary))
        return bytes(binary)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _first_error(program: object) -> str:
    nvrtc = _nvrtc()
    _, size = nvrtc.nvrtcGetProgramLogSize(program)
    log = bytearray(size)
    nvrtc.nvrtcGetProgramLog(program, log)
    lines = bytes(log).decode(errors="replace").strip("\0").splitlines()
    return next((line for line in lines if "error" in line), "NVRTC gives no reason")


def _check(code: object) -> None:
    if int(code) != 0:  # type: ignore[call-overload]
        raise CompileError(f"NVRTC: {code}")


def write_binaries(module: tvm.runtime.Module, arch: str, stem: Path) -> dict[str, str]:
    """Compiles the CUDA sources in a built module.

    Args:
        module: from TVM's build.
        arch: what to compile for.
        stem: files are called so, with a number and ``.cubin``.

    Returns:
        By the SHA-256 of each source the file of its binary.
    """
    found: dict[str, str] = {}
    for source in _sources(module):
        file = stem.with_name(f"{stem.name}.{len(found)}.cubin")
        file.write_bytes(compile_source(source, arch))
        found[hashlib.sha256(source.encode()).hexdigest()] = str(file)
    return found


def _sources(module: tvm.runtime.Module) -> list[str]:
    found = [module.inspect_source()] if module.kind == "cuda" else []
    for imported in module.imports:
        found += _sources(imported)
    return found
