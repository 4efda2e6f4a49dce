"""What cannot be run is refused in one line."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest
from toy_devices import DRIVER, compile_c
from visit_folders import (
    cuda_folder,
    edited,
    folder_has,
    make,
    manifest,
    pack,
    results,
    run,
    sha256,
)

if TYPE_CHECKING:
    from pathlib import Path


def bad_member(folder: Path, member: tarfile.TarInfo) -> None:
    path = folder / "packs/000.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        tar.addfile(member)
    packs = manifest(folder)["packs"]
    packs[0]["sha256"] = sha256(path.read_bytes())
    edited(folder, packs=packs)


def link(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


def no_cubin(folder: Path) -> None:
    packs = manifest(folder)["packs"]
    packs[0]["kernels"][0]["cubins"] = {"0" * 64: "a.cubin"}
    edited(folder, packs=packs)


def network(folder: Path, cubins: object) -> None:
    (folder / "networks").mkdir()
    for name in ("a.so", "a.npz", "a.cubin"):
        (folder / "networks" / name).write_bytes(b"")
    entry = {"file": "networks/a.so", "sha256": sha256(b""), "inputs": "networks/a.npz"}
    edited(folder, networks=[{**entry, "id": "whole", "repeats": 1, "cubins": cubins}])


def half_float(folder: Path) -> None:
    packs = manifest(folder)["packs"]
    packs[0]["kernels"][0] |= {
        "tensors": [[[64], "float16"]] * 2,
        "check": {"seed": 0, "expected": "a.npz"},
    }
    edited(folder, packs=packs)


SPOILED = {
    "no manifest.json": lambda f: (f / "manifest.json").unlink(),
    "is not JSON": lambda f: (f / "manifest.json").write_text("{"),
    "another program": lambda f: edited(f, type="toy"),
    "has schema 2": lambda f: edited(f, schema=2),
    "damaged: KeyError('min_repeat_ms')": lambda f: edited(f, options={"repeats": 1}),
    "000.tar.xz is missing": lambda f: (f / "packs/000.tar.xz").unlink(),
    "its hash differs": lambda f: (f / "packs/000.tar.xz").write_bytes(b"x"),
    "do not belong": lambda f: (f / "results.jsonl").write_text('{"visit": "other"}\n'),
    "line 1: not JSON": lambda f: (f / "results.jsonl").write_text("{\n{}\n"),
    "a device 'metal'": lambda f: edited(f, device="metal"),
    "no libtvm_runtime.so": lambda f: (f / "runtime").mkdir(),
    "holds '../a.so'": lambda f: bad_member(f, tarfile.TarInfo("../a.so")),
    "holds 'a.so'": lambda f: bad_member(f, link("a.so")),
    "holds 'b.so'": lambda f: bad_member(f, tarfile.TarInfo("b.so")),
    "an id is there twice": lambda f: edited(f, packs=manifest(f)["packs"] * 2),
    "not of float32": half_float,
    "000.tar.xz lacks a.cubin": no_cubin,
    "damaged: ValueError": lambda f: network(f, {"0": "networks/a.cubin"}),
    "b.cubin is missing": lambda f: network(f, {"0": ["networks/b.cubin", sha256(b"")]}),
    "a.cubin is not what was packed": lambda f: network(f, {"0": ["networks/a.cubin", "00"]}),
    "no driver is here": lambda f: edited(f, device="cuda", arch="sm_90"),
}


@pytest.mark.parametrize("message", SPOILED)
def test_bad_input_is_refused_in_one_line(tmp_path, deeds, message):
    folder = make(tmp_path / "visit", pack({"a": deeds("double")}))
    SPOILED[message](folder)
    (line,) = run(folder, code=1, environment={"LD_LIBRARY_PATH": ""})
    assert line.startswith("error: ")
    assert message in line
    if message not in ("do not belong", "line 1: not JSON") and folder_has(folder):
        assert all(record["type"] == "device" for record in results(folder))


def test_another_architecture_or_no_device_is_refused(tmp_path, deeds, toy_cuda):
    driver, runtime = toy_cuda
    folder = cuda_folder(tmp_path / "visit", pack({"a": deeds("nap")}))
    edited(folder, arch="sm_80")
    environment = {"LD_LIBRARY_PATH": str(driver)}
    (line,) = run(folder, "--runtime", runtime, code=1, environment=environment)
    assert "built for sm_80, and Toy GPU has compute capability 9.0" in line
    compile_c(DRIVER, tmp_path / "libcuda.so.1", "-DNO_DEVICE=1")
    environment = {"LD_LIBRARY_PATH": str(tmp_path)}
    (line,) = run(folder, "--runtime", runtime, code=1, environment=environment)
    assert "no device is here" in line
