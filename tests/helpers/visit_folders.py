"""Visit folders with toy kernels, the program at work on them, and what came out."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import psutil

SHAPE = [[[64], "float32"], [[64], "float32"]]
OPTIONS = {
    "repeats": 3,
    "min_repeat_ms": 1.0,
    "run_timeout_s": 1.0,
    "quick_factor": 1e9,
    "cache_flush_mb": 0.01,
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pack(kernels: dict[str, Path], **changes) -> dict:
    """A pack of kernels by id, with their files; `cubins`: of each, binaries by source."""
    values = {"kernels": kernels, "tensors": SHAPE, "checks": {}, "best_s": None, "cubins": {}}
    return {**values, **changes}


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def make(folder: Path, *packs: dict, networks=(), options=OPTIONS, **manifest) -> Path:
    """A visit folder."""
    (folder / "packs").mkdir(parents=True)
    entries = []
    for number, content in enumerate(packs):
        file, entry = f"packs/{number:03}.tar.xz", {"best_s": content["best_s"], "kernels": []}
        with tarfile.open(folder / file, "w:xz", preset=0) as tar:
            for name, library in content["kernels"].items():
                tar.add(library, f"{name}.so")
                check = None
                if name in content["checks"]:
                    data = io.BytesIO()
                    np.savez(data, **content["checks"][name])
                    add(tar, f"{name}.npz", data.getvalue())
                    check = {"seed": 3, "expected": f"{name}.npz"}
                cubins = {}
                for source, binary in content["cubins"].get(name, {}).items():
                    cubins[sha256(source.encode())] = f"{name}.{len(cubins)}.cubin"
                    add(tar, f"{name}.{len(cubins) - 1}.cubin", binary)
                entry["kernels"].append(
                    {
                        "id": name,
                        "library": f"{name}.so",
                        "tensors": content["tensors"],
                        "check": check,
                        "cubins": cubins,
                    }
                )
        entries.append({"file": file, "sha256": sha256((folder / file).read_bytes()), **entry})
    text = {
        "type": "dgtl-visit",
        "schema": 1,
        "id": "0123abcd",
        "device": "cpu",
        "arch": None,
        "threads": 1,
        "options": options,
        "packs": entries,
        "networks": list(networks),
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(text))
    return folder


def cuda_folder(path: Path, *packs: dict, **manifest) -> Path:
    return make(path, *packs, device="cuda", arch="sm_90", threads=None, **manifest)


def slow_folder(path: Path, deeds) -> Path:
    packs = [pack({f"k{i}a": deeds("sleep"), f"k{i}b": deeds("nap")}) for i in range(6)]
    return make(path, *packs, options={**OPTIONS, "repeats": 1})


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def edited(folder: Path, **changes) -> None:
    """Changes entries of the manifest."""
    (folder / "manifest.json").write_text(json.dumps({**manifest(folder), **changes}))


def start(folder: Path, *arguments, environment=None, program=("-m", "dgtl.device")):
    command = [sys.executable, *program, folder, *arguments]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )


def run(folder: Path, *arguments, code: int = 0, **how) -> list[str]:
    """Lines that the program printed: all of stdout, or of stderr if it refused."""
    process = start(folder, *arguments, **how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, out + err
    assert (err != "") == (code == 1), err
    return (err if code == 1 else out).splitlines()


def results(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def folder_has(folder: Path) -> bool:
    return (folder / "results.jsonl").exists()


def by_id(folder: Path) -> dict[str, dict]:
    """Results by id, each of which is there once."""
    records = [record for record in results(folder) if "id" in record]
    assert len({record["id"] for record in records}) == len(records)
    return {record["id"]: record for record in records}


def expected(factor: float) -> dict:
    """Values of a check of a kernel that multiplies by ``factor``, at some elements."""
    values = factor * np.random.default_rng(3).standard_normal([64], dtype=np.float32)
    index = np.array([0, 5, 63])
    return {"index": index, "value": values[index], "scale": np.abs(values).max()}


def wait_for_results(folder: Path, process) -> None:
    end = time.monotonic() + 30
    while '"kernel"' not in ((folder / "results.jsonl").read_text() if folder_has(folder) else ""):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def worker_with(library: str, process) -> psutil.Process:
    """The worker of a run once it has loaded a library."""
    while True:
        assert process.poll() is None, process.communicate()
        for worker in psutil.Process(process.pid).children():
            if library in Path(f"/proc/{worker.pid}/maps").read_text():
                return worker
        time.sleep(0.01)
