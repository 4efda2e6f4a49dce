"""README.md and example.cpp of a tuned network, from its card alone."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess

import pytest
from tvm_ffi import libinfo

from dgtl.front import package
from dgtl.results.card import Card, Value

CARD = Card(
    inputs=(Value("x", "float32", (1, 3)),),
    outputs=(Value("y", "float32", (1, 2)),),
    results=("y",),
    hardware="toy-cpu",
    target="llvm",
    num_cores=3,
    cpu_features=("avx2",),
    versions={"dgtl": "0.1", "tvm": "0.27", "tvm_ffi": "0.1"},
    relative_error=2e-7,
    untuned_latency_ms=4.0,
    latency_ms=2.0,
    search_s=12.0,
    trials=34,
    command="dgtl tune model.onnx",
    date="2026-01-02",
)


def test_a_card_is_read_as_it_was_written(tmp_path):
    CARD.write(tmp_path)
    assert Card.read(tmp_path) == CARD


def test_a_damaged_card_is_named(tmp_path):
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(ValueError, match=r"card\.json cannot be used"):
        Card.read(tmp_path)


def test_the_page_says_what_is_known():
    text = package.readme(CARD, tail=False)
    for said in (
        "2.000 ms; untuned 4.000 ms, 2.0 times",
        "2e-07",
        "34 trials",
        "`x: float32 [1, 3]`",
    ):
        assert said in text
    unknown = dataclasses.replace(CARD, relative_error=None, untuned_latency_ms=None)
    text = package.readme(unknown, tail=True)
    assert "not known: ONNX Runtime" in text
    assert "untuned" not in text
    assert "tail.onnx" in text


@pytest.mark.slow
def test_the_example_compiles_for_every_type_and_shape(tmp_path):
    """Scalars and empty names included; each type once as an input, once as the output."""
    values = [
        Value(f"in/{i}:*/", dtype, shape)
        for i, dtype in enumerate(package.C_TYPES)
        for shape in ((), (2, 3))
    ]
    compiler = shutil.which("g++") or pytest.skip("no g++")
    for number, output in enumerate(("float32", "uint8", "int64")):
        card = dataclasses.replace(CARD, inputs=tuple(values), outputs=(Value("y", output, (2,)),))
        source = tmp_path / f"{number}.cpp"
        source.write_text(package.example(card))
        command = [compiler, "-std=c++17", "-fsyntax-only", str(source)]
        command += [f"-I{libinfo.find_include_path()}"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["run.json", "card.json"])
def test_an_earlier_folder_of_ours_is_free(tmp_path, name):
    package.check_free(tmp_path)
    package.check_free(tmp_path / "absent")
    (tmp_path / "letter").write_text("")
    with pytest.raises(ValueError, match="holds other files"):
        package.check_free(tmp_path)
    (tmp_path / name).write_text("")
    package.check_free(tmp_path)
