"""Libraries that are compiled once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from toy_devices import C_KERNEL, DEEDS, DRIVER, NVML, TOY_RUNTIME, TVM, compile_c

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def deeds(tmp_path_factory):
    """A library by deed, compiled when it is first asked for."""
    folder = tmp_path_factory.mktemp("deeds")

    def library(deed: str) -> Path:
        path = folder / f"{deed}.so"
        return path if path.exists() else compile_c(C_KERNEL % DEEDS[deed], path)

    return library


@pytest.fixture(scope="session")
def toy_cuda(tmp_path_factory):
    """Two folders: of a driver and NVML, and of runtime libraries."""
    driver, runtime = tmp_path_factory.mktemp("driver"), tmp_path_factory.mktemp("runtime")
    compile_c(DRIVER, driver / "libcuda.so.1", "-DNO_DEVICE=0")
    compile_c(NVML, driver / "libnvidia-ml.so.1", "-DREASONS=0x21")
    for name in ("libtvm_runtime.so", "libtvm_runtime_extra.so"):
        (runtime / name).symlink_to(TVM / name)
    compile_c(TOY_RUNTIME, runtime / "libtvm_runtime_cuda.so")
    return driver, runtime
