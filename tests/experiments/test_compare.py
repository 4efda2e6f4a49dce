"""What is compared is what was run: equal trials, equal seconds, paired by table and seed."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys
from replayed import N_ROWS, N_SEEDS, N_TRIALS, at_random, best_first, run

from dgtl.core.history import SourceTask
from dgtl.core.records import throughput
from dgtl.results import metrics
from experiments.compare.__main__ import compare
from experiments.compare.searches import read_runs, read_searches

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recorded() -> list[SourceTask]:
    sources = []
    for seed, shape in enumerate(((8, 16, 8), (8, 32, 8), (4, 32, 16))):
        task = toys.dense(*shape)
        sources.append(toys.tuned(task, toys.space_of(task), N_ROWS, seed))
    return sources


@pytest.fixture
def runs(tmp_path, recorded) -> Path:
    for seed in range(N_SEEDS):
        run(tmp_path, recorded, "random", seed, at_random)
        run(tmp_path, recorded, "oracle", seed, best_first)
    return tmp_path


def test_an_oracle_scores_one_and_random_search_about_zero(runs):
    tables, searches = read_searches(read_runs(runs / "runs"))
    assert len(tables) == 3
    assert len(searches) == 2 * 3 * N_SEEDS
    oracle = [s.score for s in searches if s.model == "oracle"]
    random = [s.score for s in searches if s.model == "random"]
    assert oracle == pytest.approx([1.0] * 9)
    assert abs(np.mean(random)) < 0.3


def test_equal_seconds_are_equal_trials_where_all_trials_cost_the_same(runs):
    # Every trial takes 0.25 s, of which the table has 0.2 s: the model's time is the search's.
    _, searches = read_searches(read_runs(runs / "runs"))
    for search in searches:
        assert search.search_s == pytest.approx(0.25 * N_TRIALS)
        assert (search.timed <= search.curve).all()
        assert search.timed[24] == search.curve[19]


def test_csv_has_a_row_per_table_method_and_seed(runs):
    compare(runs / "runs", runs / "out", "random")
    rows = list(csv.DictReader((runs / "out" / "compare.csv").open()))
    assert len(rows) == 2 * 3 * N_SEEDS
    assert len({(row["table"], row["model"], row["seed"]) for row in rows}) == len(rows)
    assert [name for name in rows[0] if "at_" in name] == [
        "best_fraction_at_16",
        "best_fraction_at_32",
    ]
    for row in rows:
        if row["model"] == "oracle":
            assert float(row["best_fraction_at_16"]) == float(row["score"]) == 1
    assert (runs / "out" / "compare.png").stat().st_size > 10_000
    page = (runs / "out" / "compare.html").read_text()
    assert "Methods on recorded tables of toy-cpu" in page
    assert page.count("<img") == 1


def test_table_ranks_methods_and_says_what_it_rests_on(runs):
    text = compare(runs / "runs", runs / "out", "random")
    assert text.index("| oracle |") < text.index("| random |")
    assert "1.000 [1.000, 1.000]" in text
    assert "3 tables of toy-cpu" in text
    assert "confined to the recorded configurations" in text
    assert text == (runs / "out" / "compare.md").read_text()


def test_methods_are_told_apart_by_what_only_some_were_told(runs, recorded):
    for seed in range(N_SEEDS):
        folder = run(runs, recorded, "oracle", seed, best_first)
        (folder / "config").mkdir()
        overrides = ["model=oracle", f"seed={seed}", "model.rounds=2"]
        (folder / "config" / "overrides.yaml").write_text("".join(f"- {o}\n" for o in overrides))
    assert set(read_runs(runs / "runs")) == {"random", "oracle model.rounds=2"}


def test_trials_beyond_the_smallest_budget_do_not_count(runs, recorded):
    run(runs, recorded, "short", 0, at_random, trials=20)
    _, searches = read_searches(read_runs(runs / "runs"))
    assert all(len(search.curve) == 20 for search in searches)
    assert all(search.trials == 20 for search in searches)


def test_what_cannot_be_compared_is_said(runs, recorded, tmp_path):
    with pytest.raises(ValueError, match="no runs of 'ansor'"):
        compare(runs / "runs", tmp_path, "ansor")
    with pytest.raises(ValueError, match="no finished replay"):
        read_runs(tmp_path / "empty")
    run(runs, recorded, "other", 0, at_random, outside="refuse")
    with pytest.raises(ValueError, match="differ in outside"):
        read_runs(runs / "runs")


def test_baseline_is_the_curve_of_random_search(runs, recorded):
    tables, _ = read_searches(read_runs(runs / "runs"))
    for source in recorded:
        values = throughput(source.task, source.trials)
        expected = metrics.random_search_curve(values / values.max(), N_TRIALS)
        assert tables[source.task.key].baseline == pytest.approx(expected)


def test_command_line_ends_a_user_error_in_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.compare.__main__", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("compare: no finished replay in")
    assert len(done.stderr.splitlines()) == 1
