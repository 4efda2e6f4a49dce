"""Whether TVM works here: a kernel is built, written as a library, loaded and run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tvm
from tvm import te

from dgtl.tvm import hardware

SIZE = 1024


def run() -> str:
    """What was found, in a few words.

    Raises:
        RuntimeError: the kernel computes something else.
    """
    machine = hardware.detect()
    a = te.placeholder((SIZE,), name="a")
    b = te.compute((SIZE,), lambda i: a[i] + 1.0, name="b")
    kernel = tvm.compile(te.create_prim_func([a, b]), target=tvm.target.Target(machine.target))
    with tempfile.TemporaryDirectory(prefix="dgtl-selftest-") as folder:
        library = str(Path(folder) / "kernel.so")
        kernel.export_library(library)
        function = tvm.runtime.load_module(library)["main"]
        output = tvm.runtime.tensor(np.zeros(SIZE, np.float32))
        function(tvm.runtime.tensor(np.arange(SIZE, dtype=np.float32)), output)
        if not np.array_equal(output.numpy(), np.arange(SIZE, dtype=np.float32) + 1.0):
            raise RuntimeError("a kernel that adds one adds something else")
    return f"{tvm.__version__} builds and runs kernels for {machine.name}"
