"""Gains are ratios of what was found, paired by layer and seed, and clear only where they are."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys
from replayed import N_ROWS, N_SEEDS, N_TRIALS, at_random, best_first, run

from dgtl.core.history import SourceTask
from experiments.compare.searches import read_runs
from experiments.tuning_set.__main__ import CHOSEN, RANDOM, compare, gain, named, pairs, read_curves

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recorded() -> list[SourceTask]:
    shapes = ((8, 16, 8), (8, 32, 8), (4, 32, 16), (16, 16, 16))
    tasks = [toys.dense(*shape) for shape in shapes]
    return [toys.tuned(t, toys.space_of(t), N_ROWS, seed) for seed, t in enumerate(tasks)]


def other_random(source: SourceTask, seed: int) -> list[int]:
    return at_random(source, seed + 100)


def failures_first(source: SourceTask, seed: int) -> list[int]:
    ok = [trial.ok for trial in source.trials]
    return np.argsort(ok, kind="stable").tolist()


def with_overrides(folder: Path, *overrides: str) -> None:
    (folder / "config").mkdir()
    (folder / "config" / "overrides.yaml").write_text("".join(f"- {o}\n" for o in overrides))


@pytest.fixture
def runs(tmp_path, recorded) -> Path:
    for seed in range(N_SEEDS):
        with_overrides(run(tmp_path, recorded, "autotvm", seed, failures_first), f"seed={seed}")
        with_overrides(run(tmp_path, recorded, "dgp", seed, best_first), "model=dgp", CHOSEN)
        # A folder of its own: the test's folders are named after the model and the seed.
        (tmp_path / "runs" / f"dgp-{seed}").rename(tmp_path / "runs" / f"chosen-{seed}")
        with_overrides(run(tmp_path, recorded, "dgp", seed, other_random), "model=dgp", RANDOM)
    return tmp_path


def test_methods_are_named_by_who_chose_the_tuning_set(runs):
    methods = named(read_runs(runs / "runs"), "autotvm")
    assert set(methods) == {"autotvm", "dgp, chosen", "dgp, random"}
    assert all(len(same) == N_SEEDS for same in methods.values())
    assert set(pairs(list(methods), "autotvm")) == {
        ("dgp, chosen", "dgp, random"),
        ("dgp, chosen", "autotvm"),
        ("dgp, random", "autotvm"),
    }


def test_methods_without_tuning_sets_play_no_part(runs, recorded):
    with_overrides(run(runs, recorded, "gga", 0, at_random), "model=gga")
    methods = named(read_runs(runs / "runs"), "autotvm")
    assert list(methods) == ["autotvm", "dgp, chosen", "dgp, random"]


def test_runs_are_read_from_several_folders(runs):
    for seed in range(N_SEEDS):
        (runs / "other").mkdir(exist_ok=True)
        (runs / "runs" / f"autotvm-{seed}").rename(runs / "other" / f"autotvm-{seed}")
    assert "autotvm" in named(read_runs(runs / "runs", runs / "other"), "autotvm")


def test_what_finds_the_best_at_once_gains_and_the_gain_is_a_ratio(runs, recorded):
    curves = read_curves(named(read_runs(runs / "runs"), "autotvm"))
    assert len(curves) == 3 * len(recorded) * N_SEEDS
    found = gain(curves, "dgp, chosen", "dgp, random", "by_trials")
    assert found.mean.shape == (N_TRIALS,)
    assert found.low[0] > 1
    by_hand = [
        own.by_trials[9] / other.by_trials[9]
        for own in curves
        for other in curves
        if (own.method, other.method) == ("dgp, chosen", "dgp, random")
        and (own.layer, own.seed) == (other.layer, other.seed)
    ]
    assert len(by_hand) == len(recorded) * N_SEEDS
    assert found.mean[9] == pytest.approx(np.exp(np.mean(np.log(by_hand))))
    back = gain(curves, "dgp, random", "dgp, chosen", "by_trials")
    assert back.mean == pytest.approx(1 / found.mean)


def test_nothing_found_counts_as_the_slowest_row(runs, recorded):
    curves = read_curves(named(read_runs(runs / "runs"), "autotvm"))
    slowest = {source.task.key: source.gflops().min() for source in recorded}
    for curve in curves:
        assert (curve.by_seconds <= curve.by_trials).all()
        assert (curve.by_trials >= slowest[curve.layer] * (1 - 1e-9)).all()
        if curve.method == "autotvm":
            assert curve.by_trials[0] == pytest.approx(slowest[curve.layer])


@pytest.mark.slow
def test_results_are_written_in_all_forms(runs, recorded):
    text = compare([runs / "runs"], runs / "out", "autotvm")
    assert text == (runs / "out" / "tuning_set.md").read_text()
    assert "| dgp, chosen | dgp, random | trials |" in text
    assert "| dgp, random | autotvm | time |" in text
    rows = list(csv.DictReader((runs / "out" / "tuning_set.csv").open()))
    assert len(rows) == 3 * len(recorded) * N_SEEDS
    assert {"best_gflops_at_16", "best_gflops_in_time_of_32"} <= set(rows[0])
    for name in ("tuning_set.png", "tuning_set_layers.png"):
        assert (runs / "out" / name).stat().st_size > 10_000
    assert (runs / "out" / "tuning_set.html").read_text().count("<img") == 2


def test_what_cannot_be_compared_is_said(runs, tmp_path):
    with pytest.raises(ValueError, match="no runs of 'ansor'"):
        compare([runs / "runs"], tmp_path / "out", "ansor")
    for seed in range(N_SEEDS):
        (runs / "runs" / f"dgp-{seed}" / "replay.json").unlink()
    with pytest.raises(ValueError, match="no method ran with both tuning sets"):
        named(read_runs(runs / "runs"), "autotvm")


def test_command_line_ends_a_user_error_in_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.tuning_set.__main__", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("tuning_set: no finished replay in")
    assert len(done.stderr.splitlines()) == 1
