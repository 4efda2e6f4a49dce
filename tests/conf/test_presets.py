"""Every preset is one word that makes runs: it composes, varies what it says, and runs on a toy."""

import dataclasses
import functools
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import toys
from commands import here
from configurations import CONF, composed
from forked_workers import fork_workers
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from replayed import write
from untrained import given_residual, untrained_network

from dgtl.methods.transfer import Transfer
from dgtl.run import replay
from dgtl.tables.networks import NETWORKS
from experiments.compare.searches import read_runs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
ABLATIONS = [name for name in PRESETS if name.startswith("ablate_")]
WORDS = [f"experiment={name}" for name in PRESETS] + ["hparams_search=source_tasks"]
SWEEPS = [word for word in WORDS if "table1" not in word]
REPLAYS = [*SWEEPS, *(word for word in WORDS if word.endswith("_replay"))]
DEEP = [f"experiment={name}" for name in ABLATIONS if name != "ablate_features"]
"""Presets with a deep GP."""
TRAINED = ("experiment=ablate_layers", "experiment=ablate_frozen")
"""Those for which it is trained: what the others vary has no say in the training."""
NETWORKS_LAST = {"experiment=network": 1, "experiment=gtx1650_network": 2}
"""Presets that search networks, and how many toy layers the last of theirs has."""
REPORTED = "experiment=compare"
N_ROWS = 12
Job = tuple[str, ...]


@functools.cache
def hydra_of(word: str) -> DictConfig:
    return composed(word, hydra=True).hydra


def jobs(word: str) -> list[Job]:
    """What Hydra's own sweeper makes of a preset, but for its seeds; of table 1, one cell."""
    swept = hydra_of(word).sweeper.params
    lines = [f"{name}={values}" for name, values in swept.items() if name != "seed"]
    overrides = OverridesParser.create().parse_overrides(lines)
    (found,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    if "table1" in word:
        return [next(tuple(job) for job in found if "model=autotvm" in job)]
    return [tuple(job) for job in found]


@functools.cache
def configurations(word: str) -> list[DictConfig]:
    """Of every job: composing takes time."""
    return [composed(word, *job) for job in jobs(word)]


def plain(cfg: DictConfig) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(cfg, resolve=True)
    return found


def tiny(word: str, job: Job, tables: Path) -> DictConfig:
    """A job on toy tables, so small that it takes seconds; what the job varies stays."""
    small = [
        f"hardware.tables=[{tables}]",
        "hardware.min_rows=8",
        "workload.folds=2",
        "tracking=disabled",
        # What learns alike learns once.
        f"cache={tables.parent / ('trained' if word in TRAINED else 'untrained')}",
        "budget.trials=4",
        "budget.initial_set=256",
        "budget.tuning_set=2",
        "budget.final=2",
        "budget.rounds=1",
    ]
    if word in DEEP:
        small += [
            f"model.network.{name}" for name in ("layers=1", "steps=5", "inducing=8", "hidden=2")
        ]
        small += ["model.annealing.chains=4", "model.annealing.steps=5"]
        small.append("workload.tasks=[dense_4x16x8]")
        chosen = hydra_of(word).runtime.choices
        if chosen["model"] == "dgp":
            small += [f"model.stack.{name}" for name in ("folds=2", "trees.trees=5")]
            small.append("model.stack.residual.steps=2")
        elif chosen["model/map"] == "adam":
            small.append("model.map.steps=2")
    return composed(word, *small, *job)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """Two layers of VGG-16, one of MobileNet-v1 and one that no network has, of a toy machine."""
    shapes = [*tuple(NETWORKS["vgg16"])[:2], next(iter(NETWORKS["mobilenet_v1"]))]
    layers = [toys.conv2d(s, i, o, k, t) for i, o, k, t, s in shapes]
    layers.append(toys.dense())
    path = tmp_path_factory.mktemp("tables") / "toys.jsonl"
    write(path, [toys.tuned(t, toys.space_of(t), N_ROWS, seed) for seed, t in enumerate(layers)])
    return path


@pytest.mark.parametrize("word", WORDS)
def test_jobs_of_a_preset_make_methods_that_differ(word):
    """A setting that its method does not know is an error, one of another value another run."""
    assert hydra_of(word).mode == (RunMode.MULTIRUN if word in SWEEPS else None)
    made = []
    for cfg in configurations(word):
        method = instantiate(cfg.model)
        if isinstance(method, Transfer) and "ablate" in word:
            # So that all are judged at equal trials.
            assert method.planned_trials >= cfg.budget.trials
        fields = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
        made.append((type(method), fields, {**plain(cfg), "model": None}))
    assert len(made) > 1 or "table1" in word
    assert all(one != other for one, other in itertools.combinations(made, 2))


def test_no_two_presets_are_equal():
    made = {word: [plain(cfg) for cfg in configurations(word)] for word in WORDS}
    for one, other in itertools.combinations(WORDS, 2):
        assert made[one] != made[other], f"{one} is {other}"


def test_presets_write_into_folders_of_their_own():
    folders = set()
    for word in WORDS:
        folder = OmegaConf.to_container(hydra_of(word).sweep, resolve=False)["dir"]
        folders.add(folder.replace("${hydra.runtime.choices.experiment}", word.split("=")[1]))
    assert folders == {f"outputs/{word.split('=')[1]}" for word in WORDS}


def test_every_ablation_is_documented():
    lines = (ROOT / "docs" / "ablations.md").read_text()
    assert sorted(re.findall(r"\| `(ablate_\w+)` \|", lines)) == ABLATIONS


def test_every_method_is_in_the_one_list():
    listed = OmegaConf.load(CONF / "sweep" / "methods.yaml").model.split(",")
    assert sorted(listed) == sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    assert OmegaConf.load(ROOT / "sweep.yaml").parameters.model["values"] == listed
    assert {job[0] for job in jobs("experiment=compare")} == {f"model={name}" for name in listed}


def test_a_budget_speaks_to_methods_that_there_are():
    budgets = {path.stem for path in (CONF / "budget").glob("*.yaml")}
    methods = {path.stem for path in (CONF / "model").glob("*.yaml")}
    for part in (CONF / "budget" / "of").glob("*/*.yaml"):
        assert part.parent.name in budgets
        assert part.stem in methods


def test_replayed_tables_have_a_budget_of_their_own_and_a_network_what_pays():
    live = composed("workload=vgg16")
    assert (live.budget.tuning_set, live.budget.trials, live.history.max_trials) == (2, 80, None)
    assert (live.workload.name, live.workload.path) == ("vgg16", None)
    assert composed("workload=onnx", "workload.path=a.onnx").workload.path == "a.onnx"
    replayed = composed("hardware=replay", "workload=tables", "model=gga")
    wanted = {"trials": 256, "tuning_set": 16, "final": 48, "rounds": 5, "initial_set": 4096}
    assert replayed.budget == {**wanted, "batch": 64, "seconds": None, "stop_gain": None}
    assert replayed.history.max_trials == 20000
    asked = composed("hardware=replay", "workload=tables", "budget=default")
    assert asked.budget == live.budget


@pytest.mark.parametrize(
    "word",
    [pytest.param(w, marks=pytest.mark.slow if w in DEEP else ()) for w in REPLAYS],
)
def test_a_preset_runs_on_toy_tables(word, tables, tmp_path, monkeypatch):
    if word not in TRAINED:
        untrained_network(monkeypatch)
        given_residual(monkeypatch)
    if word != REPORTED:  # drawing takes seconds
        monkeypatch.setattr(replay, "write_report", lambda run: None)
    job = jobs(word)[0 if word in DEEP else -1]
    summary = replay.run(tiny(word, job, tables), tmp_path)
    searched = 1 if word in DEEP else 3 if "table1" in word else NETWORKS_LAST.get(word, 4)
    assert summary.trials == 4 * searched
    assert (tmp_path / "summary.json").exists()
    assert (tmp_path / "report.html").exists() == (word == REPORTED)


def test_a_preset_alone_sweeps_and_its_methods_are_told_apart(tables, tmp_path):
    """The command line itself, in a folder of the preset, with what varies in the names."""
    words = ["experiment=ablate_features", "seed=0,1", "workload.tasks=[dense_4x16x8]"]
    shutil.copy(tables, tmp_path)
    words += [f"hardware.tables=[{tables.name}]", "hardware.min_rows=8", "workload.folds=2"]
    words += ["budget.trials=4", "tracking=disabled", "hydra.launcher.n_jobs=1"]
    done = here(tmp_path, *words, report=False)
    assert done.returncode == 0, done.stderr
    runs = tmp_path / "outputs" / "ablate_features"
    names = {folder.name for folder in (runs / "tables" / "autotvm").iterdir()}
    assert len(names) == 4
    assert all("model.features=" in name and "experiment" not in name for name in names)
    methods = read_runs(runs)
    assert set(methods) == {"autotvm model.features=loops", "autotvm model.features=knobs"}
    assert [len(same) for same in methods.values()] == [2, 2]


def test_a_live_preset_debugged_takes_seconds(tmp_path, monkeypatch):
    fork_workers(monkeypatch)
    # One core: beside other tests, threads that wait for one another take long.
    words = ["experiment=table1_smoke", "debug=default", "model=random", "hardware.num_cores=1"]
    words.append("workload.tasks=[dense]")
    done = here(tmp_path, *words, report=False)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs" / "debug" / "tiny" / "random").iterdir()
    assert (folder / "summary.json").exists()


def test_help_lists_the_presets():
    command = [sys.executable, str(ROOT / "run.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"experiment: {', '.join(PRESETS)}\n" in done.stdout
