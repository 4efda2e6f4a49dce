"""A built network in this process: NumPy in, NumPy out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


class Library:
    """A network that `dgtl.tvm.deploy.network.build` built, loaded for this CPU.

    Args:
        path: of ``model.so``.
        num_cores: threads that it uses, unless TVM_NUM_THREADS says otherwise. Of several
            libraries in one process the first decides, for TVM starts its threads once.
    """

    def __init__(self, path: Path, num_cores: int):
        os.environ.setdefault("TVM_NUM_THREADS", str(num_cores))
        self._main = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())["main"]

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs for values of all inputs, in their order; they are not checked."""
        result = self._main(*(tvm.runtime.tensor(np.asarray(v, order="C")) for v in inputs))
        outputs = [result] if hasattr(result, "numpy") else list(result)
        return [output.numpy() for output in outputs]
