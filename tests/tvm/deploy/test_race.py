"""Networks that are timed in turns compute what they compute, and each takes its turns."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tvm
from hydra import compose, initialize_config_dir

from dgtl.results.run_folder import Origin
from dgtl.run.start import resolved
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.deploy.race import Contender, race
from dgtl.tvm.workload.networks import load
from dgtl.tvm.workload.tasks import lower
from experiments.table1 import latency
from experiments.table1.campaign import CONF, Cell

pytestmark = pytest.mark.tvm


class Done:
    def __init__(self, value):
        self.value = value

    def result(self):
        return self.value


class Counting:
    """Stands for a contender's process: every turn is one run of a second."""

    def __init__(self, name: str, turns: list[str]):
        self.name, self.turns = name, turns

    def submit(self, function):
        if function.__name__ == "_output":
            return Done(None)
        self.turns.append(self.name)
        return Done([1.0])


def test_the_order_turns_and_nobody_takes_more_than_its_turns(scratch):
    turns: list[str] = []
    race([Contender(n, Counting(n, turns), most) for n, most in (("a", 3), ("b", 1), ("c", 3))], 3)
    assert turns == ["a", "b", "c", "c", "a", "c", "a"]


@pytest.fixture(scope="module")
def library(hardware, tmp_path_factory):
    """The network `tiny`, built without schedules."""
    path = tmp_path_factory.mktemp("built") / "untuned.so"
    network = lower(load("tiny", 0).model, tvm.target.Target(hardware.target))
    deploy.build(network, hardware, path)
    return path


def test_contenders_of_one_library_compute_the_same(library, hardware, scratch):
    inputs = load("tiny", 0).inputs
    contenders = [
        Contender.of_library(name, 1, library, inputs, hardware.num_cores) for name in "ab"
    ]
    try:
        race(contenders, rounds=1)
        outputs = [contender.output() for contender in contenders]
    finally:
        for contender in contenders:
            contender.close()
    np.testing.assert_array_equal(*outputs)
    for contender in contenders:
        assert contender.latency_ms == pytest.approx(1e3 * np.median(contender.times_s))


def test_cells_of_a_campaign_race_with_the_networks_that_they_built(
    library, hardware, scratch, monkeypatch
):
    monkeypatch.setattr(latency, "STARTS", 1)
    monkeypatch.setattr(latency, "ROUNDS", 2)
    chosen = ["workload=tiny", f"hardware.num_cores={hardware.num_cores}"]
    group = []
    for name in ("random", "autotvm"):
        folder = scratch / "tiny" / name / "0"
        cell = Cell("tiny", name, 0, folder, (f"model={name}", *chosen))
        folder.mkdir(parents=True)
        shutil.copy(library, folder / "model.so")
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = resolved(compose("config", list(cell.overrides)))
        Origin.now("python run.py", name, config).begin(folder, fresh=False)
        group.append(cell)
    latency.remeasure(group)
    assert all((latency.latency_ms(cell) or 0) > 0 for cell in group)
