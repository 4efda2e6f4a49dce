"""CUDA source in a library: its binary is there already, and nothing is compiled."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest
from toy_devices import SOURCE, compile_c, network_of
from visit_folders import OPTIONS, by_id, cuda_folder, expected, pack, run, sha256

from dgtl.device.cubins import Cubins

DOUBLES, TRIPLES = b"2, so it doubles", b"3, so it triples"
CUBINS = {
    "own": {"another": TRIPLES, SOURCE: DOUBLES},
    "only": {"another": DOUBLES},
    "lost": {"another": DOUBLES, "a third": DOUBLES},
    "none": {},
}
ERROR = f"no binary for CUDA source {sha256(SOURCE.encode())[:16]} was built beforehand"


@pytest.mark.parametrize("name", CUBINS)
def test_the_binary_of_a_source_or_the_only_one(tmp_path, name):
    cubins = Cubins()
    for number, (source, binary) in enumerate(CUBINS[name].items()):
        file = tmp_path / str(number)
        file.write_bytes(binary)
        cubins.files[hashlib.sha256(source.encode("utf-8")).hexdigest()] = str(file)
    if name in ("own", "only"):
        assert cubins(SOURCE) == DOUBLES
    else:
        with pytest.raises(LookupError, match=ERROR):
            cubins(SOURCE)


def test_each_kernel_of_a_pack_runs_its_own_binary(tmp_path, deeds, toy_cuda):
    driver, runtime = toy_cuda
    kernels = dict.fromkeys(CUBINS, deeds("compiled"))
    checked = pack(kernels, cubins=CUBINS, checks=dict.fromkeys(CUBINS, expected(2)))
    # `refuse` ends the worker between the first and the second pass: a new one loads them again.
    timed = {f"timed {name}": library for name, library in kernels.items()}
    timed["refuse"] = deeds("refuse")
    cubins = {f"timed {name}": cubins for name, cubins in CUBINS.items()}
    folder = cuda_folder(tmp_path / "visit", checked, pack(timed, cubins=cubins))
    run(folder, "--runtime", runtime, environment={"LD_LIBRARY_PATH": str(driver)})
    records = by_id(folder)
    for name in CUBINS:
        status = "ok" if name in ("own", "only") else "run_error"
        error = "" if status == "ok" else ERROR
        for record in (records[name], records[f"timed {name}"]):
            assert [record["status"], record["error"]] == [status, error]
    assert len(records["timed own"]["times_s"]) == OPTIONS["repeats"]


def test_a_network_runs_its_binaries(tmp_path, toy_cuda):
    driver, runtime = toy_cuda
    place = tmp_path / "visit" / "networks"
    place.mkdir(parents=True)
    library = compile_c(network_of("compiled"), tmp_path / "network.so")
    value = np.arange(64, dtype=np.float32)
    np.savez(place / "values.npz", input_0=value, output_0=2 * value)
    entry = {
        "sha256": sha256(library.read_bytes()),
        "inputs": "networks/values.npz",
        "repeats": 3,
    }
    networks = []
    for name, binaries in CUBINS.items():
        shutil.copy(library, place / f"{name}.so")
        cubins = {}
        for number, (source, binary) in enumerate(binaries.items()):
            file = f"networks/{name}.{number}.cubin"
            (tmp_path / "visit" / file).write_bytes(binary)
            cubins[sha256(source.encode())] = [file, sha256(binary)]
        networks.append({**entry, "id": name, "file": f"networks/{name}.so", "cubins": cubins})
    folder = cuda_folder(tmp_path / "visit", networks=networks)
    run(folder, "--runtime", runtime, environment={"LD_LIBRARY_PATH": str(driver)})
    records = by_id(folder)
    assert [len(records[name]["times_s"]) for name in CUBINS] == [3, 3, 0, 0]
    assert [records[name]["error"] for name in CUBINS] == ["", "", ERROR, ERROR]
