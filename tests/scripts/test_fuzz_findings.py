"""What fuzzing found, once and for all: each of these broke a reader, and is refused."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from fuzz_targets import TARGETS, attempt

from dgtl.models.arrays import read_npz

FINDINGS = {
    "an infinite index": ("autotvm", b'"index": 0', b'"index": Infinity'),
    "a card without a version": ("card", b'"tvm_ffi": "0"', b'"other": "0"'),
    "a card without outputs": ("card", b'"outputs": [', b'"outputs": [], "other": ['),
    "a card of no time": ("card", b'"latency_ms": 1.0', b'"latency_ms": 0.0'),
    "a long name": ("manifest", b"packs/000.tar.xz", b"x" * 2000),
    "a name that leads out": ("manifest", b"packs/000.tar.xz", b"../000.tar.xz"),
    "a kernel that leads out": ("manifest", b'"000-0000.so"', b'"../0000.so"'),
    "an id that is a list": ("manifest", b'"id": "000-0000"', b'"id": []'),
    "weights in a file that is no text": ("onnx", b"weights.bin", b"weights\xff\xfein"),
    "weights with keys of which one is no text": (
        "onnx",
        b"location\x12\x0bweights.binj\x0b\n\x06offset",
        b"l_cation\x12\x0bweights.binj\x0b\n\x06\xffffset",
    ),
    "weights outside": ("onnx", b"weights.bin", b"../ghts.bin"),
}
"""Target, and what is replaced by what in its good file; the whole file where that must be."""

PARTLY = ("autotvm",)
"""Targets that leave out a bad line and take the others."""


@pytest.mark.parametrize("name", FINDINGS)
def test_it_is_refused(name, tmp_path):
    target, before, after = FINDINGS[name]
    data = TARGETS[target].seeds()[0]
    assert before in data
    taken = attempt(TARGETS[target], tmp_path / "folder", data.replace(before, after))
    assert taken == (target in PARTLY)


def test_a_model_with_an_array_whose_header_ends_early_is_refused(tmp_path):
    """NumPy reads it as Python, whose tokens end in an error of their own."""
    path = tmp_path / "model.npz"
    np.savez(path, weights=np.zeros(3))
    assert set(read_npz(path)) == {"weights"}
    data = path.read_bytes()
    with zipfile.ZipFile(path) as good:
        member = good.read("weights.npy").replace(b")", b" ").replace(b"}", b" ")
    with zipfile.ZipFile(path, "w") as bad:
        bad.writestr("weights.npy", member)
    assert path.read_bytes() != data
    with pytest.raises(ValueError, match="no arrays of a model"):
        read_npz(path)


def test_inputs_of_which_one_is_no_array_are_refused(tmp_path):
    """NumPy hands on the bytes of a member that is none."""
    good, data = TARGETS["inputs"].seeds()[0], io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as before, zipfile.ZipFile(data, "w") as after:
        for name in before.namelist():
            after.writestr(name, b"text")
    assert not attempt(TARGETS["inputs"], tmp_path / "folder", data.getvalue())
