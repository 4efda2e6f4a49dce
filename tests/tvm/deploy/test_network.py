"""A tuned network is an ordinary TVM library, and its schedules an ordinary TVM database."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tvm
from forked_workers import fork_workers
from onnx import numpy_helper
from onnx_models import model, node, value

from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.deploy.library import Library
from dgtl.tvm.deploy.reference import compare_outputs
from dgtl.tvm.hardware import unvectorised
from dgtl.tvm.workload.networks import load
from dgtl.tvm.workload.sketches import ScheduleSpace
from dgtl.tvm.workload.tasks import extract, lower

pytestmark = pytest.mark.tvm

STOCK = """
import sys
import numpy as np
import tvm
from tvm import relax
from tvm.relax import transform as T
from tvm.s_tir import meta_schedule as ms

folder, target = sys.argv[1], tvm.target.Target(sys.argv[2])
network = tvm.ir.load_json(open(folder + "/network.json").read())
database = ms.database.JSONDatabase(
    path_workload=folder + "/database_workload.json",
    path_tuning_record=folder + "/database_tuning_record.json",
)
functions = [v for v in network.functions.values() if isinstance(v, tvm.tirx.PrimFunc)]
data = np.load(folder + "/data.npy")


def run(mod):
    vm = relax.VirtualMachine(tvm.compile(mod, target=target), tvm.cpu())
    return vm["main"](tvm.runtime.tensor(data)).numpy()


with target, tvm.transform.PassContext(opt_level=3):
    expected = run(network)
    with database:
        tuned = T.MetaScheduleApplyDatabase()(network)
    tuned = T.SplitLayoutRewritePreproc()(tuned)
    scheduled = sum("is_scheduled" in str(v.attrs) for v in tuned.functions.values())
    actual = run(T.FoldConstant()(tuned))
error = abs(actual - expected).max() / abs(expected).max()
assert not any(name.partition(".")[0] == "dgtl" for name in sys.modules)
print(len(functions), len(database), scheduled, error)
"""


@pytest.fixture(scope="module")
def network(hardware):
    return lower(load("tiny", 0).model, tvm.target.Target(hardware.target))


@pytest.fixture(scope="module")
def schedules(network, hardware):
    """Of every function: a random schedule where it is tuned, the default elsewhere."""
    rng = np.random.default_rng(0)
    found = []
    for function in extract(network, hardware):
        space = ScheduleSpace(function.mod, tvm.target.Target(hardware.target))
        tuned = function.task is not None
        schedule = space.schedule(space.space.sample(rng, 1)[0]) if tuned else space.default()
        found.append((function, schedule, 1e-3))
    return found


def test_stock_tvm_applies_the_database(network, schedules, hardware, scratch):
    """Loaded from disk, in a process without dgtl: every function is scheduled, none wrong."""
    deploy.write_database(scratch, hardware, schedules)
    (scratch / "network.json").write_text(tvm.ir.save_json(network))
    data = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)
    np.save(scratch / "data.npy", data)
    program = scratch / "stock.py"
    program.write_text(STOCK)
    done = subprocess.run(
        [sys.executable, str(program), str(scratch), hardware.target],
        capture_output=True,
        text=True,
        cwd=scratch,
    )
    assert done.returncode == 0, done.stderr
    functions, records, scheduled, error = done.stdout.split()[-4:]
    assert int(functions) == int(records) == len(schedules)
    assert int(scheduled) >= len(schedules)
    assert float(error) < 1e-5


def test_a_scheduled_network_computes_what_the_unscheduled_one_does(
    network, schedules, hardware, scratch, monkeypatch
):
    fork_workers(monkeypatch)
    inputs = load("tiny", 0).inputs
    untuned = deploy.time_untuned(network, hardware, inputs, repeats=2)
    library = scratch / "model.so"
    database = deploy.write_database(scratch / "best", hardware, schedules)
    deploy.build(network, hardware, library, database)
    tuned = deploy.time_network(library, hardware, inputs, repeats=5)
    assert compare_outputs(untuned.outputs, tuned.outputs, 1e-5).ok
    assert len(tuned.run_times_s) == 5
    assert tuned.latency_ms == pytest.approx(np.median(tuned.run_times_s) * 1e3)
    assert tuned.outputs[0].shape == (1, 10)
    others = {"dgtl-measure.lock", ".ses"}  # the second is ONNX Runtime's
    left = {path.name for path in scratch.iterdir()} - others
    assert left == {"best", "model.so"}


def test_a_database_is_written_anew(schedules, hardware, scratch):
    """Records of an earlier run would win over those of this one."""
    for _ in range(2):
        deploy.write_database(scratch / "best", hardware, schedules)
    records = (scratch / "best" / "database_tuning_record.json").read_text().splitlines()
    assert len(records) == len(schedules)


def test_a_number_is_an_input_like_others(hardware, tmp_path):
    shape = [2, 3]
    add = model([node("Add", "x k", "y")], [value("x", shape), value("k", [])], [value("y", shape)])
    deploy.build(lower(add, tvm.target.Target(hardware.target)), hardware, tmp_path / "model.so")
    x = np.ones(shape, np.float32)
    outputs = Library(tmp_path / "model.so", 1)([x, np.float32(2.0)])
    np.testing.assert_array_equal(outputs[0], x + 2)


def test_without_llvms_vectoriser_a_tile_is_right(hardware, scratch):
    """With it, LLVM 22 reads eight columns beyond the end of each row."""
    tile = node("Tile", "x repeats", "y")
    repeats = numpy_helper.from_array(np.array([4, 7]), "repeats")
    given = model([tile], [value("x", [9, 8])], [value("y", [36, 56])], [repeats])
    target = tvm.target.Target(hardware.target)
    deploy.build(lower(given, target), unvectorised(hardware), scratch / "model.so")
    data = np.arange(72, dtype=np.float32).reshape(9, 8)
    (found,) = Library(scratch / "model.so", hardware.num_cores)([data])
    np.testing.assert_array_equal(found, np.tile(data, (4, 7)))
