"""CPU features are a contract: trained models and running campaigns depend on names and values.

The expected columns were written by ``python tests/autotvm/test_llvm_columns.py`` before features
of other hardware were added; write them anew only together with a new `FEATURES_SCHEMA`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dgtl.core.knob import Knob
from dgtl.core.records import Access, Axis, Hardware, Task
from dgtl.core.space import DesignSpace
from dgtl.features.loop_nest import FEATURES_SCHEMA, FeatureMap

EXPECTED = Path(__file__).parent / "llvm_columns.json"
# With AVX-512, as the processors of all trained models have.
CPU = Hardware("cpu", '{"kind": "llvm", "mcpu": "znver4", "num-cores": 4}', 4)
INLINE, ROOT = -2, -1


def _convolution(channels: int, outputs: int, size: int, kernel: int, stride: int) -> Task:
    names = ("nn", "yy", "xx", "ff", "ry", "rx", "rc")
    extents = (1, size, size, outputs, kernel, kernel, channels)
    axes = tuple(
        Axis(n, e, "R" if n[0] == "r" else "S") for n, e in zip(names, extents, strict=True)
    )
    padded = (size - 1) * stride + kernel
    rows = {name: tuple(int(name == other) for other in names) for name in names}
    data = (
        rows["nn"],
        (0, stride, 0, 0, 1, 0, 0),
        (0, 0, stride, 0, 0, 1, 0),
        rows["rc"],
    )
    weight = (rows["ry"], rows["rx"], rows["rc"], rows["ff"])
    out = (rows["nn"], rows["yy"], rows["xx"], rows["ff"])
    accesses = (
        Access("data", (1, padded, padded, channels), data, 4, False, False),
        Access("weight", (kernel, kernel, channels, outputs), weight, 4, True, False),
        Access("out", (1, size, size, outputs), out, 4, False, True),
    )
    flops = 2.0 * np.prod(extents)
    return Task("conv", "conv", "conv2d", axes, accesses, float(flops), CPU)


def _dense(rows: int, inputs: int, outputs: int) -> Task:
    axes = (Axis("i0", rows, "S"), Axis("i1", outputs, "S"), Axis("k", inputs, "R"))
    accesses = (
        Access("data", (rows, inputs), ((1, 0, 0), (0, 0, 1)), 4, False, False),
        Access("weight", (inputs, outputs), ((0, 0, 1), (0, 1, 0)), 4, True, False),
        Access("out", (rows, outputs), ((1, 0, 0), (0, 1, 0)), 4, False, True),
    )
    return Task("dense", "dense", "dense", axes, accesses, 2.0 * rows * inputs * outputs, CPU)


def _space(task: Task, location: bool) -> DesignSpace:
    tiles = tuple(
        Knob.tile(f"tile_{axis.name}", a, axis.extent, 4 if axis.kind == "S" else 2, 64)
        for a, axis in enumerate(task.axes)
    )
    knobs = (Knob.choice("sketch", "sketch", (0, 1, 2)), *tiles)
    knobs = (*knobs, Knob.choice("unroll", "unroll", (0, 16, 64, 512)))
    if location:
        knobs = (*knobs, Knob.choice("location", "location", (INLINE, ROOT, 1, 2, 3)))
    return DesignSpace(knobs, "SSRSRS")


def _cases() -> dict[str, FeatureMap]:
    tasks = {
        "conv": (_convolution(24, 48, 14, 3, 1), True),
        "strided": (_convolution(8, 20, 7, 3, 2), False),
        "dense": (_dense(4, 96, 60), False),
    }
    return {name: FeatureMap(t, _space(t, location)) for name, (t, location) in tasks.items()}


def _columns(features: FeatureMap) -> dict:
    configs = features.space.sample(np.random.default_rng(0), 5)
    return {
        "names": list(features.names),
        "configs": configs.tolist(),
        "values": [[float(v) for v in row] for row in features(configs)],
    }


@pytest.mark.parametrize("name", sorted(_cases()))
def test_cpu_columns_are_those_of_schema_4(name: str) -> None:
    assert FEATURES_SCHEMA == 4, "schema 4 added columns of GPUs: none here"
    expected = json.loads(EXPECTED.read_text())[name]
    features = _cases()[name]
    assert list(features.names) == expected["names"]
    values = features(np.array(expected["configs"], dtype=np.int32))
    np.testing.assert_allclose(values, np.array(expected["values"]), rtol=1e-6, atol=1e-6)


if __name__ == "__main__":
    content = {name: _columns(features) for name, features in _cases().items()}
    EXPECTED.write_text(json.dumps(content, separators=(",", ":")) + "\n")
