"""Table 1: what is complete is not run again, and its figures are those of the runs' trials."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import commands
import numpy as np
import pytest
import toys
from commands import here
from hypothesis import given
from hypothesis import strategies as st

from dgtl.core.history import SourceTask, TrialLog
from dgtl.results import metrics
from dgtl.results.run_folder import Origin
from dgtl.results.summary import summarise
from dgtl.tables.networks import NETWORKS
from experiments.table1 import campaign as campaigns
from experiments.table1 import published
from experiments.table1.__main__ import read_live, read_recorded, write
from experiments.table1.campaign import BUDGETS, Cell, Preset, cells, resolved, run_cells, time_left
from experiments.table1.latency import latency_ms, remeasure
from experiments.table1.outcomes import Outcome, Search
from experiments.table1.report import FIGURES, record
from experiments.table1.rows import rows_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "experiments" / "table1" / "__main__.py"
TASKS = (toys.dense(4, 16, 8), dataclasses.replace(toys.dense(8, 16, 8), weight=3))


def searched(task, latencies_ms, seconds=1.0) -> SourceTask:
    """A task whose trials had these latencies, None for a failure, at ``seconds`` each."""
    space = toys.space_of(toys.dense())
    keys = space.keys(space.sample_distinct(np.random.default_rng(0), len(latencies_ms)))
    trials = tuple(
        toys.trial(task, key, ms and ms / 1e3, wall_s=seconds, model_s=0.0)
        for key, ms in zip(keys, latencies_ms, strict=True)
    )
    return SourceTask(task, space, trials)


def finish(cell: Cell, results, network_ms: float | None = None, *, complete: bool = True) -> None:
    """A cell's folder as its run leaves it."""
    config = resolved(cell.overrides)
    cell.folder.mkdir(parents=True, exist_ok=True)
    Origin.now("python run.py", cell.model, config).begin(cell.folder, fresh=False)
    with TrialLog(cell.folder / "trials.jsonl") as log:
        for result in results:
            log.task(result.task, result.space)
            for trial in result.trials:
                log.trial(trial)
    summary = summarise(
        results,
        workload=cell.network,
        model=cell.model,
        hardware=toys.HARDWARE,
        seed=cell.seed,
        pretrain_s=2.0,
        sources=[],
        untuned_latency_ms=None,
        latency_ms=network_ms,
    )
    if complete:
        summary.write(cell.folder / "summary.json")
        (cell.folder / "report.html").write_text("")
        (cell.folder / "model.so").write_text(cell.model)


def campaign(root: Path, **choices) -> list[Cell]:
    chosen = {"networks": ["alexnet"], "models": ["dgp", "autotvm"], **choices}
    return cells("smoke", root=root, **chosen)


@pytest.fixture
def planned(tmp_path) -> list[Cell]:
    """Two seeds of dgp and AutoTVM: half of the search time, four fifths of the latency."""
    planned = campaign(tmp_path, seeds=[0, 1])
    for cell in planned:
        own = [5.0, 4.0] if cell.model == "dgp" else [None, 8.0, 6.0, 5.0]
        finish(cell, [searched(task, own) for task in TASKS], 16.0 if len(own) == 2 else 20.0)
    return planned


def test_cells_are_ordinary_runs_that_their_settings_know(tmp_path):
    for cell in cells("default", root=tmp_path):
        command = cell.command()
        assert command[1].endswith("run.py")
        assert f"model={cell.model}" in command
        assert command[-1] == f"hydra.run.dir='{cell.folder}'"
    count = len(cells("default", seeds=[0, 1], root=tmp_path))
    assert count == 2 * 4 * 9


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("budget", BUDGETS)
def test_every_budget_composes(tmp_path, budget, replay):
    networks = ["vgg16"]
    for cell in cells(budget, replay=replay, networks=networks, root=tmp_path):
        assert not cell.complete()


def test_the_paper_budget_is_the_papers(tmp_path):
    planned = cells("paper", networks=["resnet18"], root=tmp_path)
    settings = {cell.model: resolved(cell.overrides) for cell in planned}
    assert settings["autotvm"]["budget"]["trials"] == 1000
    assert settings["random"]["budget"]["trials"] == 1000
    assert settings["autotvm"]["model"]["early_stopping"] == 600
    assert settings["dgp_paper"]["budget"]["tuning_set"] == 64
    assert settings["dgp_paper"]["budget"]["trials"] is None


@pytest.mark.parametrize("budget", ["default", "paper"])
def test_each_method_is_as_it_is_by_default(budget, tmp_path):
    """But for those that learn from nothing, which get more trials."""
    for cell in cells(budget, networks=["resnet18"], root=tmp_path):
        settings = resolved(cell.overrides)
        plain = resolved((f"model={cell.model}", "workload=resnet18"))
        learns = cell.model in ("dgp", "dgp_paper", "xgb_transfer")
        trials = {} if learns else {"trials": settings["budget"]["trials"]}
        assert settings["budget"] == {**plain["budget"], **trials}, cell.model
        assert settings["scheduler"] is None


def test_what_the_command_line_says_wins_over_the_budget(tmp_path):
    (cell,) = campaign(tmp_path, models=["autotvm"], settings=["budget.trials=3"])
    assert resolved(cell.overrides)["budget"]["trials"] == 3


def test_cells_share_what_a_network_cost_only_if_asked_to(tmp_path):
    assert not any("share" in text for cell in campaign(tmp_path) for text in cell.overrides)
    for cell in campaign(tmp_path, share=True):
        assert cell.folder.parents[1] == Path(resolved(cell.overrides)["share"])


def test_complete_cells_are_skipped_and_the_others_go_on(planned):
    (planned[2].folder / "summary.json").unlink()
    ran, said = [], []
    failed = run_cells(planned, lambda cell: ran.append(cell) or 0, said.append)
    assert (ran, failed) == ([planned[2]], [])
    assert said[0] == "3 of 4 cells are complete already"
    assert said[1].startswith("[4/4] alexnet dgp seed 1: about")


def test_a_cell_told_otherwise_is_not_complete(planned):
    other = dataclasses.replace(planned[0], overrides=(*planned[0].overrides, "budget.trials=17"))
    assert planned[0].complete()
    assert not other.complete()


def test_failing_cells_do_not_stop_the_others(tmp_path):
    planned = campaign(tmp_path, seeds=[0, 1])
    ran, said = [], []
    failed = run_cells(planned, lambda cell: ran.append(cell) or cell.seed, said.append)
    assert ran == planned
    assert failed == [cell for cell in planned if cell.seed == 1]
    assert any("alexnet dgp seed 1 failed" in line for line in said)


def test_time_left_goes_by_the_nearest_complete_cells(tmp_path):
    planned = campaign(tmp_path, networks=["alexnet", "vgg16"], seeds=[0, 1])
    done = {planned[0]: 10.0, planned[1]: 100.0}
    assert [c.model for c in done] == ["dgp", "autotvm"]
    assert "known after the first" in time_left(planned, {})
    assert time_left(planned[2:4], done) == "about 1:50 min left"
    assert time_left(planned[4:5], done) == "about 10.0 s left"


def test_reductions_and_hv_are_against_autotvm_of_the_same_seed(planned, tmp_path):
    _, outcomes, _ = read_live(planned, None)
    dgp, autotvm = rows_of(outcomes)
    assert dgp.figures["search_h"].mean == pytest.approx(4 / 3600)
    assert dgp.figures["search_reduction"].mean == pytest.approx(0.5)
    assert dgp.figures["latency_reduction"].mean == pytest.approx(0.2)
    assert dgp.figures["hv"].mean == pytest.approx(10.0)
    assert (dgp.figures["hv"].low, dgp.figures["hv"].high) == pytest.approx((10.0, 10.0))
    assert (dgp.seeds, dgp.compared, dgp.reached) == ((0, 1), 2, 2)
    assert "hv" not in autotvm.figures


def test_seeds_that_autotvm_lacks_are_not_in_the_row(planned):
    """Reductions and what they are of are of the same seeds."""
    _, outcomes, _ = read_live(planned, None)
    (lacking,) = [o for o in outcomes if (o.model, o.seed) == ("autotvm", 1)]
    dgp, autotvm = rows_of([o for o in outcomes if o is not lacking])
    assert dgp.seeds == autotvm.seeds == (0,)


def test_time_to_autotvms_best_is_told_only_where_every_seed_came_there():
    fast = outcome(search(1, [3.0, 1.0]))
    slow = dataclasses.replace(outcome(search(1, [3.0, 2.5])), seed=1)
    bases = [dataclasses.replace(o, model="autotvm") for o in (fast, slow)]
    bases[1] = dataclasses.replace(bases[1], searches=(search(1, [2.0, 2.0]),))
    row, _ = rows_of([fast, slow, *bases])
    assert (row.reached, row.compared) == (1, 2)
    assert "reach_reduction" not in row.figures


def test_one_seed_has_no_interval(planned):
    _, outcomes, _ = read_live(planned[:2], None)
    line = record(rows_of(outcomes)[0])
    assert line["hv"] == "10"
    assert line["hv_low"] == line["hv_high"] == ""


def test_without_autotvm_there_is_no_reduction(planned):
    _, outcomes, _ = read_live([c for c in planned if c.model == "dgp"], None)
    (row,) = rows_of(outcomes)
    assert row.compared == 0
    assert record(row)["search_reduction"] == ""


def search(weight, latencies, seconds=1.0) -> Search:
    best = np.minimum.accumulate(np.array(latencies, dtype=float))
    ends = seconds * np.arange(1, len(best) + 1)
    return Search(weight, 1.0, 10**6, ends, best)


def outcome(*searches: Search, limit=None, latency=1.0) -> Outcome:
    return Outcome("alexnet", "dgp", 0, "toy/4", searches, 0, 0.0, latency, limit)


def test_time_to_a_sum_of_layers_is_that_of_equal_trials():
    found = outcome(search(1, [9, 3, 2]), search(2, [math.inf, 4, 4, 1], seconds=10.0))
    ends, layers = found.curve()
    assert ends.tolist() == [11, 22, 33, 43]
    assert layers.tolist() == [math.inf, 11, 10, 4]
    assert found.seconds_to(10.0) == 33
    assert found.seconds_to(found.tasks_s) == 43
    assert found.seconds_to(3.9) is None


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20))
def test_every_search_reaches_its_own_best_in_its_own_time(latencies):
    found = outcome(search(3, latencies))
    reached = found.seconds_to(found.tasks_s)
    assert reached is not None
    assert reached <= found.search_s


def test_papers_autotvm_goes_on_for_600_trials_after_its_best():
    assert search(1, [3, 2, 2, 2], seconds=2.0).paper_s == 2 * 602
    assert search(1, [3.0] * 500 + [2.0]).paper_s == 1000
    assert dataclasses.replace(search(1, [3, 2]), size=40).paper_s == 40


def test_share_of_the_limit_is_arithmetic_over_latency():
    found = outcome(search(2, [1]), search(3, [1]), limit=200.0, latency=50.0)
    assert found.limit_share == pytest.approx(0.5)


def test_hv_is_the_product_of_both_reductions_and_praises_no_double_loss():
    assert metrics.hv(0.7043, 0.0517) == pytest.approx(3.64, abs=0.005)
    assert metrics.hv(-0.5, 0.2) == metrics.hv(0.5, -0.2) == pytest.approx(-10)
    assert metrics.hv(-0.5, -0.2) == pytest.approx(-10)


def test_published_hv_is_the_product_of_the_published_reductions():
    for row in published.TABLE_1.values():
        if row.hv is not None:
            product = metrics.hv(row.search_reduction, row.latency_reduction)
            assert product == pytest.approx(row.hv, rel=3e-3)


def test_latencies_are_measured_again_together_and_once(planned):
    def race(group):
        asked.append([cell.model for cell in group])
        # Disturbed half of the time: the latency of the network is the other half's.
        return {cell.model: [0.002, 0.005, 0.002, 0.004, 0.006] for cell in group}

    asked, silent = [], lambda line: None
    remeasure(planned, race, silent)
    remeasure(planned, race, silent)
    remeasure([cell for cell in planned if cell.model == "dgp"], race, silent)
    assert asked == [["dgp", "autotvm"]] * 2
    assert latency_ms(planned[0]) == pytest.approx(2.0)
    _, outcomes, remarks = read_live(planned, None)
    assert {o.latency_ms for o in outcomes} == {2.0}
    assert remarks == []


def test_a_network_that_was_built_anew_is_timed_anew(planned):
    remeasure(planned, lambda group: {c.model: [0.002] for c in group}, lambda line: None)
    (planned[0].folder / "model.so").write_text("another build")
    assert latency_ms(planned[0]) is None
    assert latency_ms(planned[1]) == pytest.approx(2.0)
    _, _, remarks = read_live(planned, None)
    assert remarks == ["Timed at the end of its own run, not in turns: alexnet dgp seed 0."]


def test_what_is_not_complete_is_said(tmp_path):
    planned = campaign(tmp_path)
    finish(planned[0], [searched(TASKS[0], [5.0, 4.0])], complete=False)
    _, outcomes, remarks = read_live(planned, None)
    assert outcomes == []
    assert remarks[0] == (
        "Not complete: alexnet dgp seed 0, 2 trials of 1 layers in 2.0 s of search so far."
    )
    assert "autotvm seed 0, not a trial yet" in remarks[1]
    with pytest.raises(ValueError, match="no run that has ended"):
        write(tmp_path, "table1", [], [], remarks, "")


def test_all_formats_tell_the_same(planned, tmp_path):
    found = read_live(planned, 100.0)
    text = write(tmp_path / "out", "table1", *found, "4 cells")
    assert text == (tmp_path / "out" / "table1.md").read_text()
    assert "| alexnet | dgp | 2 | 4 |" in text
    assert "| 10.0 [10.0, 10.0] |" in text
    assert "published* HV" in text
    assert "other hardware" in text
    rows = list(csv.DictReader((tmp_path / "out" / "table1.csv").open()))
    assert list(rows[0])[:9] == ["network", "model", "seeds", "trials", *FIGURES]
    assert {f"{name}_{bound}" for name in FIGURES for bound in ("low", "high")} <= set(rows[0])
    assert rows[0]["published_other_hardware_hv"] == "4.5573"
    tex = (tmp_path / "out" / "table1.tex").read_text()
    lines = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert len({line.count(" & ") for line in lines}) == 1
    page = (tmp_path / "out" / "table1.html").read_text()
    assert page.count("<img") == 1
    for made in (text, tex, page):
        assert "revision" in made
        assert "command" in made
    assert (tmp_path / "out" / "table1_curves.png").stat().st_size > 5_000


def recorded(folder: Path, network: str, seed: int, model: str, latencies_ms) -> Path:
    """A replay's folder that searched every layer of a network."""
    results = []
    for inputs, outputs, kernel, stride, size in NETWORKS[network]:
        task = toys.conv2d(size, inputs, outputs, kernel, stride)
        results.append(searched(task, latencies_ms))
    cell = Cell("tables", model, seed, folder, ("model=random", f"seed={seed}"))
    finish(cell, results)
    (folder / "replay.json").write_text(json.dumps({"best_gflops": {}}))
    return folder


def test_recorded_layers_count_as_often_as_the_network_runs_them(tmp_path):
    recorded(tmp_path / "a", "vgg16", 0, "autotvm", [4.0, 2.0])
    recorded(tmp_path / "b", "vgg16", 0, "dgp", [1.0])
    _, outcomes, remarks = read_recorded([tmp_path], ["vgg16"], None)
    assert [o.latency_ms for o in outcomes] == pytest.approx([13 * 2.0, 13 * 1.0])
    assert [o.search_s for o in outcomes] == pytest.approx([9 * 2.0, 9 * 1.0])
    assert [o.trials for o in outcomes] == [18, 9]
    assert rows_of(outcomes)[1].figures["hv"].mean == pytest.approx(25.0)
    assert len(remarks) == 1


def test_networks_with_a_layer_missing_are_left_out_and_named(tmp_path):
    recorded(tmp_path / "a", "mobilenet_v1", 0, "autotvm", [4.0, 2.0])
    _, outcomes, remarks = read_recorded([tmp_path], ["vgg16", "mobilenet_v1"], None)
    assert [o.network for o in outcomes] == ["mobilenet_v1"]
    assert any("of every layer: vgg16" in remark for remark in remarks)
    with pytest.raises(ValueError, match="no layers known of alexnet"):
        read_recorded([tmp_path], ["alexnet"], None)


def test_two_runs_of_one_cell_are_refused(tmp_path):
    for name in "ab":
        recorded(tmp_path / name, "vgg16", 0, "autotvm", [4.0])
    _, outcomes, _ = read_recorded([tmp_path], ["vgg16"], None)
    with pytest.raises(ValueError, match="tuned twice"):
        rows_of(outcomes)


def test_default_networks_of_a_replay_are_known_layer_by_layer():
    for budget in BUDGETS:
        assert set(Preset.read(budget, replay=True).networks) <= set(NETWORKS)


def test_a_campaign_given_again_runs_nothing_and_writes_the_same_figures(tmp_path, monkeypatch):
    start = campaigns._run

    def run(cell: Cell) -> int:
        """As a user's, but for one that need not import all that a run does."""
        if cell.model == "random":
            return start(cell)
        return commands.run(cell.command()[2:], tmp_path, tmp_path / "said").returncode

    monkeypatch.setattr(campaigns, "_run", run)
    layers = [toys.conv2d(s, i, o, k, t) for i, o, k, t, s in NETWORKS["vgg16"]]
    with TrialLog(tmp_path / "tables.jsonl") as log:
        for task in (*layers, toys.dense()):
            source = toys.tuned(task, toys.space_of(task), 12, seed=0)
            log.task(source.task, source.space)
            for trial in source.trials:
                log.trial(trial)
    words = ["--replay", "--budget", "smoke", "--networks", "vgg16", "--models", "random,autotvm"]
    words += ["--out", str(tmp_path), "--campaign", str(tmp_path / "campaign")]
    words += ["tracking=disabled", "hardware.min_rows=8", "budget.trials=6"]
    words.append(f"hardware.tables=[{tmp_path / 'tables.jsonl'}]")
    tables, said = [], []
    for _ in range(2):
        done = here(ROOT, *words, program=PROGRAM)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
        tables.append(list(csv.DictReader((tmp_path / "table1_gpu_smoke.csv").open())))
    assert "[1/2] tables random seed 0: time left is known after the first cell" in said[0]
    assert "[2/2] tables autotvm seed 0: about" in said[0]
    assert "2 of 2 cells are complete already" in said[1]
    assert "[1/2]" not in said[1]
    assert [row["trials"] for row in tables[0]] == ["54.0", "54.0"]
    figures = [[[row[name] for name in FIGURES] for row in table] for table in tables]
    assert figures[0] == figures[1]


def test_user_errors_end_in_one_line(tmp_path):
    for arguments, message in (
        (["--budget", "huge"], "table1: --budget huge: choose"),
        ([str(tmp_path)], "folders of runs go with --replay"),
        (["--replay", str(tmp_path)], "no run in"),
    ):
        done = here(ROOT, *arguments, program=PROGRAM)
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
