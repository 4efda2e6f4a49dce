"""A search of a network is judged by the sum of its layers over its seconds of search."""

import csv
import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys
from configurations import composed
from replayed import N_ROWS, N_SEEDS, N_TRIALS, at_random, best_first, run, write

from dgtl.core.history import SourceTask
from dgtl.core.records import Trial
from dgtl.run import replay
from dgtl.tables.networks import NETWORKS
from experiments.network.__main__ import compare
from experiments.network.report import gains, time_ratio
from experiments.network.searches import (
    CAP,
    Network,
    Search,
    horizons,
    read_networks,
    read_searches,
)
from experiments.results_page import page
from experiments.status import rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NETWORK = {"network": "vgg16", "scheduler": "gradient", "seconds": None}
TRIAL_S = 0.25
"""Of every toy trial: 0.2 s to build and run, 0.05 s of the model."""


def search(ends_s, excess, method="a", network="net", seed=0, *, cut=True) -> Search:
    ends_s, excess = np.array(ends_s, float), np.array(excess, float)
    return Search(network, method, seed, ends_s, excess, 0.0, cut)


def tried(layer: str, latency_s: float | None) -> Trial:
    task = dataclasses.replace(toys.dense(), key=layer)
    return toys.trial(task, "0", latency_s)


@pytest.fixture(scope="module")
def recorded() -> list[SourceTask]:
    """Two layers of VGG-16, the second of which it runs twice, and one of no network."""
    shapes = [next(iter(NETWORKS["vgg16"])), (256, 256, 3, 1, 56)]
    tasks = [toys.conv2d(s, i, o, k, t) for i, o, k, t, s in shapes] + [toys.dense()]
    return [toys.tuned(t, toys.space_of(t), N_ROWS, seed) for seed, t in enumerate(tasks)]


@pytest.fixture
def runs(tmp_path, recorded) -> Path:
    write(tmp_path / "tables.jsonl", recorded)
    for seed in range(N_SEEDS):
        run(tmp_path, recorded[:2], "random", seed, at_random, **NETWORK)
        run(tmp_path, recorded[:2], "oracle", seed, best_first, **NETWORK)
    return tmp_path


def test_latency_is_the_weighted_sum_once_every_layer_ran():
    network = Network("net", {"a": 2, "b": 1}, best_s=4.0)
    latencies = [("a", 2.0), ("b", None), ("b", 3.0), ("a", 5.0), ("a", 1.5), ("b", 1.0)]
    excess = network.excess([tried(*each) for each in latencies])
    assert excess == pytest.approx([math.inf, math.inf, 0.75, 0.75, 0.5, 0.0])


def test_area_is_that_of_a_step_function():
    one = search([1.0, 3.0, 4.0], [math.inf, 0.5, 0.1])
    assert one.area(5.0) == pytest.approx((3 * CAP + 1 * 0.5 + 1 * 0.1) / 5)
    assert one.area(3.5) == pytest.approx((3 * CAP + 0.5 * 0.5) / 3.5)
    assert one.area(0.5) == pytest.approx(CAP)
    times = np.linspace(0, 5, 100_001)
    assert one.area(5.0) == pytest.approx(np.mean(np.minimum(one.after(times), CAP)), abs=1e-4)


def test_a_time_that_was_not_reached_is_empty_and_what_is_not_known_too():
    row = search([1.0, 12.0], [0.3, 0.015]).row(12.0)
    assert (row["first_s"], row["within_0.05_s"], row["within_0.02_s"]) == (1, 12, 12)
    assert row["within_0.01_s"] is None
    assert (row["ratio_after_5_s"], row["ratio_after_10_s"]) == (1.3, 1.3)
    assert row["ratio_after_20_s"] is None, "its budget had ended it"
    assert search([1.0, 12.0], [0.3, 0.015], cut=False).row(12.0)["ratio_after_20_s"] == 1.015


def test_the_horizon_is_where_the_first_search_was_cut():
    own = [search([9.0], [0.1]), search([7.0], [0.1]), search([2.0], [0.1], cut=False)]
    assert horizons([*own, search([1.0], [0.1], network="other", cut=False)]) == {
        "net": 7.0,
        "other": 1.0,
    }


def test_times_are_compared_in_ratio_and_what_fell_short_counts_as_the_horizon():
    searches = []
    for network in ("x", "y"):
        for seed in (0, 1):
            searches.append(search([2.0, 16.0], [0.0, 0.0], "fast", network, seed))
            searches.append(search([8.0, 16.0], [0.0, 0.0], "slow", network, seed))
            searches.append(search([1.0, 16.0], [0.5, 0.5], "never", network, seed))
    searches.append(search([1.0, 16.0], [0.5, 0.5], "fast", "x", 2))  # without a pair
    horizon_s = horizons(searches)
    ratio = {
        name: time_ratio(searches, name, "slow", 0.05, horizon_s)
        for name in ("fast", "slow", "never")
    }
    for name, expected in (("fast", 0.25), ("slow", 1.0), ("never", 2.0)):
        interval = ratio[name]
        assert (interval.mean, interval.low, interval.high) == pytest.approx((expected,) * 3)
    assert gains(searches, "fast", "nobody", lambda s: 1.0) is None


def test_trials_count_in_the_order_of_their_lines(runs, recorded):
    """As the helper writes them, one layer after the other; a scheduler takes turns."""
    networks, before = read_searches(read_networks(runs / "runs"))
    assert networks["vgg16"].weights == {
        t.task.key: w for t, w in zip(recorded, (1, 2), strict=False)
    }
    random = [s for s in before if s.method == "random/gradient"]
    assert all(np.isinf(s.excess[:N_TRIALS]).all() for s in random)
    log = runs / "runs" / "random-0" / "trials.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    first, second = lines[: N_TRIALS + 1], lines[N_TRIALS + 1 :]
    log.write_text("".join(line for pair in zip(first, second, strict=True) for line in pair))
    _, after = read_searches(read_networks(runs / "runs"))
    (turns,) = (s for s in after if (s.method, s.seed) == ("random/gradient", 0))
    (one_by_one,) = (s for s in random if s.seed == 0)
    assert turns.excess[-1] == one_by_one.excess[-1]
    assert np.isfinite(turns.excess[N_TRIALS // 2 :]).all()
    assert turns.search_s == pytest.approx(2 * N_TRIALS * TRIAL_S)
    assert turns.cut


def test_the_tables_say_what_was_reached_and_what_they_rest_on(runs):
    text = compare(runs / "runs", runs / "out", "random/gradient")
    assert text == (runs / "out" / "network.md").read_text()
    assert text.index("| oracle/gradient |") < text.index("| random/gradient |")
    (oracle,) = (line for line in text.splitlines() if line.startswith("| oracle/gradient"))
    assert "| 3/3 |" in oracle, "the best row of each table comes first"
    assert "vgg16: 2 recorded layers" in text
    lines = list(csv.DictReader((runs / "out" / "network.csv").open()))
    assert len(lines) == 2 * N_SEEDS
    for line in lines:
        if line["method"] == "oracle/gradient":
            assert float(line["within_0.01_s"]) == pytest.approx((N_TRIALS + 1) * TRIAL_S)
            assert float(line["ratio_at_end"]) == 1
    assert (runs / "out" / "network.png").stat().st_size > 10_000
    html = (runs / "out" / "network.html").read_text()
    assert "Recorded networks of toy-cpu" in html
    assert html.count("<img") == 1
    kept = json.loads((runs / "out" / "network.json").read_text())
    assert kept["seeds"] == list(range(N_SEEDS))
    assert {row["table"] for row in rows(runs / "out")} == {"network"}


def test_the_results_page_shows_networks_that_are_there(runs, tmp_path):
    text = compare(runs / "runs", tmp_path / "out", "random/gradient")
    results = tmp_path / "results"
    results.mkdir()
    for path in (*(tmp_path / "out").iterdir(), *(ROOT / "results").iterdir()):
        if not (results / path.name).exists():
            (results / path.name).symlink_to(path)
    shown = page(results)
    assert "## Recorded networks searched as one\n\n### Recorded networks, Intel Xeon" in shown
    assert text.splitlines()[0] in shown


def test_what_cannot_be_compared_is_said(runs, recorded, tmp_path):
    with pytest.raises(ValueError, match="choose --reference of oracle/gradient, random/gradient"):
        compare(runs / "runs", tmp_path, "ansor/even")
    again = run(runs, recorded[:2], "again", 0, at_random, **NETWORK)
    report = json.loads((again / "replay.json").read_text())
    report["folds"] = {"vgg16": [recorded[0].task.key]}
    (again / "replay.json").write_text(json.dumps(report))
    with pytest.raises(ValueError, match="searched different layers"):
        compare(runs / "runs", tmp_path, "random/gradient")
    (again / "replay.json").write_text(json.dumps({**report, "network": None}))
    with pytest.raises(ValueError, match="is no search of a network"):
        compare(runs / "runs", tmp_path, "random/gradient")
    again.rename(runs / "aside")
    run(runs, recorded[:2], "random", 0, at_random, **NETWORK).rename(runs / "runs" / "twice")
    run(runs, recorded[:2], "random", 0, at_random, **NETWORK)
    with pytest.raises(ValueError, match="ran more than once on vgg16 with seed 0"):
        compare(runs / "runs", tmp_path, "random/gradient")


def test_replays_of_a_network_are_told_apart_by_their_schedulers(tmp_path, recorded):
    write(tmp_path / "tables.jsonl", recorded)
    words = ["hardware=replay", "workload=tables", "model=random", "budget=network"]
    words += [f"hardware.tables=[{tmp_path / 'tables.jsonl'}]", "hardware.min_rows=8"]
    words += ["workload.network=vgg16", "tracking=disabled", "budget.trials=12"]
    for name, more in (("own", []), ("even", ["scheduler=even"])):
        folder = tmp_path / "runs" / name
        replay.run(composed(*words, f"cache={tmp_path / 'models'}", *more), folder)
    methods = read_networks(tmp_path / "runs")
    assert set(methods) == {"random/gradient", "random/even"}
    _, searches = read_searches(methods)
    assert all(s.cut and len(s.excess) == 24 for s in searches)
    first = {s.method: int(np.isinf(s.excess).sum()) for s in searches}
    assert first["random/even"] >= 12 > first["random/gradient"]


def test_command_line_ends_a_user_error_in_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.network", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("network: no finished replay in")
    assert len(done.stderr.splitlines()) == 1
