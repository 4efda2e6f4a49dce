"""Every table says which models made it, and whether they are today's."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import toys
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from replayed import at_random, run

from dgtl.results.model_hash import UNKNOWN, model_hash
from dgtl.results.run_folder import Origin
from experiments.compare.__main__ import compare
from experiments.rmse.report import models_of as rmse_models_of
from experiments.rmse.result import Result, read_results
from experiments.shared.models import Model, hashes_of, models_of, todays
from experiments.shared.results import made, write_origin
from experiments.status import rows
from experiments.status.__main__ import aged, text
from experiments.status.tables import RESULTS, state

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RANDOM = {"_target_": "baselines.random_search.RandomSearch"}
TODAY = Model(model_hash(RANDOM), RANDOM)
OLDER = Model("0" * 8, RANDOM)


def configured(*overrides: str) -> dict:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
    assert isinstance(config, dict)
    return config


def ran(folder: Path, *overrides: str) -> Path:
    """A folder with what a run of run.py says of itself."""
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "overrides.yaml").write_text("".join(f"- {o}\n" for o in overrides))
    Origin.now("python run.py", "a method", configured(*overrides)).begin(folder, fresh=False)
    return folder


def put(path: Path, **models: list[Model]) -> None:
    """A table of these models."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("| method |\n")
    write_origin(path, models, [1, 0, 1], made(models, hardware="toy"))


def test_every_table_of_this_program_is_listed_with_what_made_it():
    tables = {path.relative_to(RESULTS).with_suffix("") for path in RESULTS.rglob("*.csv")}
    found = rows()
    assert {row["table"] for row in found} == {table.as_posix() for table in tables}
    for row in found:
        assert row["method"], f"{row['table']} has no .json beside it"
        assert row["revision"] != UNKNOWN
        assert row["date"].endswith("UTC")
        assert row["state"] in ("today", "older", "unknown")
    by_table = {table: json.loads((RESULTS / f"{table}.json").read_text()) for table in tables}
    for table, origin in by_table.items():
        page = (RESULTS / f"{table}.md").read_text()
        for said in (*origin["methods"], origin["command"], origin["revision"], origin["date"]):
            assert said in page, f"{table}.json and {table}.md differ"


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([TODAY], "today"),
        ([OLDER], "older"),
        ([Model()], "unknown"),
        ([], "unknown"),
        ([TODAY, OLDER], "older"),
        ([TODAY, Model()], "unknown"),
        ([OLDER, Model()], "older"),
        ([Model("1" * 8, {"_target_": "baselines.gone.Gone"})], "older"),
        ([dataclasses.replace(TODAY, overrides=("model=random",))], "today"),
        ([dataclasses.replace(TODAY, overrides=("model=of_yesterday",))], "older"),
        ([dataclasses.replace(TODAY, overrides=("model=random", "model.gone=1"))], "older"),
    ],
)
def test_state_of_a_result(models, expected):
    assert state(models) == expected


def test_rows_of_a_folder(tmp_path):
    put(tmp_path / "compare.md", random=[TODAY], other=[TODAY, OLDER])
    put(tmp_path / "gpu" / "compare.md", random=[OLDER])
    (tmp_path / "old.md").write_text("| method |\n")
    found = rows(tmp_path)
    assert [tuple(row[name] for name in ("table", "method", "state")) for row in found] == [
        ("compare", "random", "today"),
        ("compare", "other", "older"),
        ("gpu/compare", "random", "older"),
        ("old", "", "unknown"),
    ]
    assert found[0]["hash"] == TODAY.hash
    assert found[1]["hash"] == f"{TODAY.hash} and {OLDER.hash}"
    assert all(line in text(found) for line in ("gpu/compare", TODAY.hash))
    assert aged(found, ["gpu/compare"]) == ["gpu/compare"]
    with pytest.raises(ValueError, match="no table table9"):
        aged(found, ["table9"])


def test_a_run_tells_its_model_and_what_may_decide_it(tmp_path):
    told = ["model=dgp", "budget.final=8", "seed=3", "hardware=replay", "workload=tables"]
    folders = [ran(tmp_path / name, *told) for name in ("a", "b")]
    (model,) = models_of(folders)
    assert model.overrides == ("model=dgp", "budget.final=8", "hardware=replay")
    assert model.settings is not None
    assert model.settings["final"] == 8
    assert model.hash == todays(model) != todays(dataclasses.replace(model, overrides=()))
    assert models_of([tmp_path]) == [Model()]


def test_a_scheduler_that_is_not_the_methods_own_is_of_another_model(tmp_path):
    told = {"none": [], "own": ["scheduler=gradient"], "other": ["scheduler=even"]}
    none, own, other = (
        models_of([ran(tmp_path / name, "model=random", *words)])[0] for name, words in told.items()
    )
    assert none.hash == own.hash != other.hash
    assert state([none]) == state([own]) == state([other]) == "today"
    assert state([dataclasses.replace(other, overrides=None)]) == "today"
    assert state([dataclasses.replace(other, overrides=None, scheduler=None)]) == "older"


def test_runs_of_one_method_that_differ_are_told_apart(tmp_path):
    folders = [ran(tmp_path / name, "model=gga", f"model.elites={name}") for name in "34"]
    models = models_of(folders)
    assert len(models) == 2
    assert hashes_of(models) == f"{models[0].hash} and {models[1].hash}"
    assert state(models) == "today"


def test_a_comparison_keeps_the_models_of_its_runs(tmp_path):
    task = toys.dense()
    recorded = [toys.tuned(task, toys.space_of(task), 120, seed=0)]
    for seed in (0, 1):
        folder = tmp_path / "runs" / f"random-{seed}"
        folder.mkdir(parents=True)
        Origin.now("python run.py", "random", {"model": RANDOM}).begin(folder, fresh=False)
        assert run(tmp_path, recorded, "random", seed, at_random) == folder
    run(tmp_path, recorded, "before", 0, at_random)
    page = compare(tmp_path / "runs", tmp_path / "out", "before")
    assert f"model_hash before unknown, random {TODAY.hash}" in page
    kept = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert kept["seeds"] == [0, 1]
    assert kept["methods"]["random"] == [
        {"hash": TODAY.hash, "settings": RANDOM, "overrides": None, "scheduler": None}
    ]
    assert [row["state"] for row in rows(tmp_path / "out")] == ["unknown", "today"]


def test_predictions_keep_the_hash_of_what_made_them(tmp_path):
    old = dataclasses.asdict(Result("toy", "vgg16", "xgb", 0, "code", 9, {"layer": {}}))
    del old["model_hash"]
    (tmp_path / "rmse.jsonl").write_text(json.dumps(old) + "\n")
    results = read_results(tmp_path / "rmse.jsonl")
    assert [result.model_hash for result in results] == [UNKNOWN]
    settings = rmse_models_of(results)["xgb"][0].settings
    today = dataclasses.replace(results[0], seed=1, model_hash=model_hash(settings))
    both = rmse_models_of([*results, today])
    assert hashes_of(both["xgb"]) == f"unknown and {model_hash(settings)}"
    assert state(both["xgb"]) == "unknown"
    assert state(rmse_models_of([today])["xgb"]) == "today"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--json"], 0, ""),
        (["--check", "today"], 0, ""),
        (["--check", "today", "older"], 1, "status: not of today's models: older\n"),
    ],
)
def test_command_line(arguments, code, said, tmp_path):
    put(tmp_path / "today.md", random=[TODAY])
    put(tmp_path / "older.md", random=[OLDER])
    command = [sys.executable, "-m", "experiments.status", "--results", str(tmp_path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (code, said)
    if "--json" in arguments:
        assert json.loads(done.stdout) == rows(tmp_path)
