"""Tensors in the device's memory, by functions of TVM's runtime."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm_ffi

from .values import random_values

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_COPIES, MOST_BYTES = 256, 512 << 20
"""Limits of the copies of the weights, as in `dgtl.tvm.measure.workers`."""


class Memory:
    """Copies arrays to and from a device, and makes the arguments of timed kernels.

    Args:
        kind: ``cpu`` or ``cuda``.
        sync: waits until the device has done what it was given.
    """

    def __init__(self, kind: str, sync: Callable[[], None]):
        self.device = tvm_ffi.device(kind, 0)
        self._sync = sync
        self._buffers: dict[tuple[int, int, int, str], Any] = {}

    @staticmethod
    def _call(name: str, *arguments: Any) -> Any:
        return tvm_ffi.get_global_func(f"runtime.TVMTensor{name}")(*arguments)

    def tensor(self, value: np.ndarray) -> Any:
        """A tensor on the device, with the values of an array."""
        value = np.asarray(value, order="C")
        shape, dtype = tvm_ffi.Shape(value.shape), tvm_ffi.dtype(str(value.dtype))
        tensor = self._call("AllocWithScope", shape, dtype, self.device, None)
        self._call("CopyFromBytes", tensor, ctypes.c_void_p(value.ctypes.data), value.nbytes)
        return tensor

    def numpy(self, tensor: Any) -> np.ndarray:
        """The values of a tensor once the device is done."""
        self._sync()
        value = np.empty(tuple(tensor.shape), str(tensor.dtype))
        self._call("CopyToBytes", tensor, ctypes.c_void_p(value.ctypes.data), value.nbytes)
        return value

    def _buffer(self, position: int, copy: int, size: int, dtype: str) -> Any:
        key = (position, copy, size, dtype)
        if key not in self._buffers:
            # Random numbers, repeated: drawing them all would take longer than all else here.
            block = random_values(np.random.default_rng(position), (1 << 16,), dtype)
            self._buffers[key] = self.tensor(np.resize(block, size))
        return self._buffers[key]

    def arguments(self, tensors: list, cache_flush_mb: float) -> list[list[Any]]:
        """Another copy of the weights run after run: as `dgtl.tvm.measure.workers._arguments`.

        Buffers are kept for the next kernel whose tensors are of the same sizes.
        """
        last = len(tensors) - 1
        sizes = [math.prod(shape) for shape, _ in tensors]
        wanted = {
            (i, n, dtype) for i, (n, (_, dtype)) in enumerate(zip(sizes, tensors, strict=True))
        }
        for key in [k for k in self._buffers if (k[0], k[2], k[3]) not in wanted]:
            del self._buffers[key]
        own = sum(sizes[i] * np.dtype(tensors[i][1]).itemsize for i in range(1, last))
        copies = int(min(cache_flush_mb * 2**20, MOST_BYTES) / max(own, 1))
        return [
            [
                self._call(
                    "CreateView",
                    self._buffer(i, copy if 0 < i < last else 0, sizes[i], dtype),
                    tvm_ffi.Shape(shape),
                    tvm_ffi.dtype(dtype),
                    0,
                )
                for i, (shape, dtype) in enumerate(tensors)
            ]
            for copy in range(min(max(copies, 1), MOST_COPIES))
        ]
