"""On what TVM built."""

from __future__ import annotations

import numpy as np
import pytest
from visit_folders import by_id, make, pack, run, sha256


@pytest.mark.tvm
def test_kernels_of_tvm_and_a_whole_network(tmp_path, hardware):
    import tvm
    from tvm_layers import LAYERS, schedules, tuned_function

    from dgtl.tvm.deploy import network as deploy
    from dgtl.tvm.measure import workers
    from dgtl.tvm.workload.networks import load
    from dgtl.tvm.workload.tasks import lower

    layer = LAYERS["conv2d"]
    mod_file, library = tmp_path / "mod.json", tmp_path / "kernel.so"
    mod_file.write_text(tvm.ir.save_json(tuned_function(layer).mod))
    space = schedules(layer).space
    (config,) = space.keys(space.sample_distinct(np.random.default_rng(0), 1))
    built = workers.build(str(mod_file), hardware.target, config, str(library))
    timed = pack({"timed": library}, tensors=[[list(s), d] for s, d in built.tensors])

    network = lower(load("tiny", 0).model, tvm.target.Target(hardware.target))
    file = tmp_path / "visit" / "networks" / "network.so"
    file.parent.mkdir(parents=True)
    deploy.build(network, hardware, file)
    value = np.random.default_rng(0).standard_normal([1, 3, 32, 32], dtype=np.float32)
    machine = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(file)), tvm.cpu())
    output = machine["main"](tvm.runtime.tensor(value)).numpy()
    entry = {
        "file": "networks/network.so",
        "sha256": sha256(file.read_bytes()),
        "repeats": 4,
        "cubins": {},
    }
    networks = [
        {**entry, "id": name, "inputs": f"networks/{name}.npz"} for name in ("right", "wrong")
    ]
    np.savez(file.parent / "right.npz", input_0=value, output_0=output)
    np.savez(file.parent / "wrong.npz", input_0=value, output_0=output * np.float32(1.25))
    threads = hardware.num_cores
    folder = make(tmp_path / "visit", timed, networks=networks, threads=threads)
    run(folder)
    records = by_id(folder)
    assert records["timed"]["status"] == "ok"
    assert 0 < min(records["timed"]["times_s"]) < 0.1
    assert [records["right"]["status"], len(records["right"]["times_s"])] == ["ok", 4]
    assert records["right"]["relative_error"] < 1e-5
    assert records["wrong"]["status"] == "wrong_result"
    assert records["wrong"]["relative_error"] == pytest.approx(0.2, rel=1e-3)
