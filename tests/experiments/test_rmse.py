"""Numbers are of layers that nothing was learned from, each is made once, and none is lost."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys
from replayed import write as write_history
from untrained import given_residual

from dgtl.core.history import SourceTask
from dgtl.tables.networks import SHAPES, networks_of
from dgtl.tables.read import read_tables
from experiments.rmse import __main__ as rmse
from experiments.shared.left_out import left_out
from experiments.shared.zero_shot import MODELS, Learned, scores

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SETTINGS = {"trials": 1000, "steps": 5}


@pytest.fixture(scope="module")
def sources() -> list[SourceTask]:
    tasks = [
        toys.conv2d(7, 512, 512),
        toys.conv2d(14, 128, 256, 3, 2),
        toys.conv2d(14, 512, 512),
        toys.conv2d(10, 16, 16),
        toys.conv2d(12, 16, 32),
        toys.dense(8, 32, 16),
    ]
    return [toys.tuned(task, toys.space_of(task), 40, i) for i, task in enumerate(tasks)]


@pytest.fixture
def history(tmp_path, sources) -> Path:
    write_history(tmp_path / "data" / "toy.jsonl", sources)
    return tmp_path / "data"


class Guess:
    """Stands in for what learns: right about xgb, off by one for the others; counts predictions."""

    factor = 1.0
    asked: list[str] = []  # noqa: RUF012

    def __init__(self, sources, steps, seed):
        self.known = {source.task.shape_key for source in sources}

    def predict(self, model, features):
        Guess.asked.append(model)
        return np.arange(len(features)) / 10.0 + (model != "xgb")


@pytest.fixture
def guess(monkeypatch):
    Guess.asked.clear()
    monkeypatch.setattr(rmse, "Learned", Guess)
    return Guess


def test_nothing_is_learned_of_what_is_left_out(history):
    folds = left_out(read_tables([str(history)]), ("network", "layer"), 3)
    # The one layer of ResNet-50 is ResNet-18's as well.
    assert [fold.name for fold in folds][:2] == ["resnet18", "vgg16"]
    assert len(folds) == 5
    for fold in folds:
        known = {source.task.shape_key for source in fold.sources}
        assert known.isdisjoint(target.task.shape_key for target in fold.targets)
        if fold.name in SHAPES:
            assert not any(fold.name in networks_of(source.task) for source in fold.sources)
    dealt = [t.task.key for fold in folds[2:] for t in fold.targets]
    assert len(dealt) == len(set(dealt)) == 6


def test_scores_of_a_perfect_and_of_a_reversed_prediction():
    gflops = np.exp2(np.arange(20.0))
    perfect = scores(gflops, np.arange(20.0))
    assert perfect["rmse_gflops"] == perfect["rmse_log2"] == 0
    assert perfect["spearman"] == perfect["top1"] == perfect["top10"] == 1
    reversed_ = scores(gflops, -np.arange(20.0))
    assert reversed_["spearman"] == -1
    assert reversed_["top10"] == 2.0**-10
    assert scores(gflops, np.arange(20.0) + 1)["rmse_log2"] == pytest.approx(1)


def test_the_fastest_fifth_has_an_error_of_its_own():
    gflops = np.exp2(np.arange(20.0))
    wrong_below = np.where(np.arange(20) < 16, 0.0, np.arange(20.0))
    assert scores(gflops, wrong_below)["rmse_log2_fast"] == 0
    wrong_above = np.where(np.arange(20) < 16, np.arange(20.0), 0.0)
    assert scores(gflops, wrong_above)["rmse_log2_fast"] > 16


def test_a_factor_makes_means_of_medians(sources):
    """Of a throughput scattered by a factor of two about what no feature tells."""
    gflops = np.array([1.0, 4.0])
    assert scores(gflops, np.log2(gflops / 2), 2.0)["rmse_gflops"] == pytest.approx(0)
    learned = Learned(sources, 5, 0)
    scatter = np.random.default_rng(0).normal(size=len(learned._gflops))
    learned._features, learned._gflops = 0.0 * learned._features, 100 * 2**scatter
    mean_over_median = np.exp(0.5 * np.log(2) ** 2)
    assert learned.factor == pytest.approx(mean_over_median, rel=0.1)


def test_every_model_learns_and_the_mean_is_of_two(sources, monkeypatch):
    given_residual(monkeypatch)  # it has no say in means
    data = rmse.FeatureMap(sources[0].task, sources[0].space)(sources[0].configs())
    learned = Learned(sources[1:5], 5, 0)
    found = {model: learned.predict(model, data) for model in MODELS}
    for predicted in found.values():
        assert predicted.shape == (len(data),)
        assert np.isfinite(predicted).all()
    assert found["mean"] == pytest.approx((found["dgp_paper"] + found["xgb"]) / 2)
    assert len({tuple(predicted) for predicted in found.values()}) == len(MODELS)
    for model in ("gp_exact", "xgb"):
        assert Learned(sources[1:5], 5, 0).predict(model, data) == pytest.approx(found[model])


def test_what_is_done_is_not_done_again(history, tmp_path, guess):
    path = tmp_path / "rmse.jsonl"
    fold = left_out(read_tables([str(history)]), ("network",), 3)[0]
    rmse.predict("toy", fold, SETTINGS, 0, path)
    first = path.read_text()
    assert len(first.splitlines()) == len(MODELS)
    asked = len(guess.asked)
    rmse.predict("toy", fold, SETTINGS, 0, path)
    assert len(guess.asked) == asked
    # A killed run leaves part of a line, which is of a result that is made again.
    path.write_text(first[:-30])
    rmse.predict("toy", fold, SETTINGS, 0, path)
    assert path.read_text() == first
    rmse.predict("toy", fold, {**SETTINGS, "steps": 6}, 0, path)
    assert len(path.read_text().splitlines()) == 2 * len(MODELS)


def test_what_another_model_made_is_made_again_where_asked(history, tmp_path, guess, monkeypatch):
    fold = left_out(read_tables([str(history)]), ("network",), 3)[0]
    path = tmp_path / "rmse.jsonl"
    rmse.predict("toy", fold, SETTINGS, 0, path, ["xgb"])
    rmse.predict("toy", fold, SETTINGS, 0, path, ["xgb"], again=True)
    assert len(rmse.read_results(path)) == 1
    monkeypatch.setattr(rmse, "model_hash", lambda settings: "another")
    rmse.predict("toy", fold, SETTINGS, 0, path, ["xgb"])
    assert len(rmse.read_results(path)) == 1
    rmse.predict("toy", fold, SETTINGS, 0, path, ["xgb"], again=True)
    assert len(rmse.read_results(path)) == 2
    assert [result.model_hash for result in rmse.shown(rmse.read_results(path), {})] == ["another"]


def test_only_the_models_asked_for_are_fitted(history, tmp_path, guess):
    path = tmp_path / "rmse.jsonl"
    fold = left_out(read_tables([str(history)]), ("network",), 3)[0]
    rmse.predict("toy", fold, SETTINGS, 0, path, ["xgb"])
    assert [result.model for result in rmse.read_results(path)] == ["xgb"]


def test_results_of_the_settings_asked_for_are_shown(history, tmp_path, guess):
    path = tmp_path / "rmse.jsonl"
    fold = left_out(read_tables([str(history)]), ("network",), 3)[0]
    other = {**SETTINGS, "steps": 6}
    for settings in (SETTINGS, other):
        rmse.predict("toy", fold, settings, 0, path)
    results = rmse.read_results(path)
    latest = rmse.shown(results, {})
    assert {r.settings for r in latest} == {rmse.fingerprint(fold, other)}
    asked = rmse.shown(results, {("toy", fold.name): rmse.fingerprint(fold, SETTINGS)})
    assert {r.settings for r in asked} == {rmse.fingerprint(fold, SETTINGS)}


def test_table_says_by_how_much_a_model_misses_the_trees(history, tmp_path, guess, monkeypatch):
    arguments = ["--data", f"toy={history}", "--leave-out", "network", "--seeds", "0", "1"]
    out = tmp_path / "results"
    monkeypatch.setattr(sys, "argv", ["rmse", *arguments, "--out", str(out)])
    rmse.main()
    rows = list(csv.DictReader((out / "rmse.csv").open()))
    assert list(rows[0]) == [
        *("dataset", "held_out", "model", "seed", "source_trials", "rmse_gflops", "rmse_log2"),
        *("spearman", "top1", "top10"),
    ]
    assert len(rows) == 2 * len(MODELS) * 2
    text = (out / "rmse.md").read_text()
    assert "| toy | vgg16 | xgb | 1 | 2 |" in text
    errors = [float(r["rmse_log2"]) for r in rows if r["held_out"] == "vgg16" and r["seed"] == "0"]
    gain = errors[list(MODELS).index("dgp")] - errors[list(MODELS).index("xgb")]
    line = next(line for line in text.splitlines() if line.startswith("| toy | vgg16 | dgp |"))
    assert f"{gain:+.3f} [" in line
    page = (out / "rmse.html").read_text()
    assert page.count("<img") == 1
    assert (out / "rmse.png").stat().st_size > 10_000


def test_damage_within_the_results_is_an_error(tmp_path):
    path = tmp_path / "rmse.jsonl"
    path.write_text('{"dataset": 1}\n' + json.dumps({}) + "\n")
    with pytest.raises(ValueError, match="line 1 is damaged"):
        rmse.read_results(path)


def test_a_folder_of_runs_stands_for_their_trials(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trials.jsonl").touch()
    found = rmse.datasets([f"mine={tmp_path}"])
    assert found == {"mine": [str(tmp_path / name / "trials.jsonl") for name in ("a", "b")]}


def test_shipped_data_are_what_is_added_to():
    assert rmse.datasets(["v100=a", "v100=b"]) == {"v100": ["a", "b"]}
    shipped = rmse.datasets([])
    assert list(shipped) == ["epyc", "xeon"]
    for name, paths in shipped.items():
        read = read_tables(paths)
        assert {t.task.hardware.name for t in read.tables} == {rmse.MACHINES[name]}
    assert rmse.datasets(["xeon"]) == {"xeon": shipped["xeon"]}
    assert rmse.datasets(["xeon=runs"]) == {"xeon": [*shipped["xeon"], "runs"]}


def test_command_line_ends_a_user_error_in_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.rmse.__main__", "--data", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("rmse: --data nothing: give NAME=PATH")
    assert len(done.stderr.splitlines()) == 1
