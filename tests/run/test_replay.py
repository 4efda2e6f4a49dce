"""A replay runs every method on recorded tables, and the same seed gives the same trials."""

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
import toys
from commands import here
from configurations import composed
from offline_runs import only_run, values
from omegaconf import OmegaConf
from untrained import given_residual, untrained_network

from dgtl.core.history import History, TrialLog
from dgtl.core.records import Trial
from dgtl.results.summary import Summary
from dgtl.run import replay

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHAPES = ((8, 16, 8), (8, 32, 8), (4, 32, 16), (16, 16, 4))
N_ROWS = 60
ONE = "workload.tasks=[4x32x16]"
DGP = (
    "model=dgp",
    ONE,
    "model.network.layers=1",
    "model.network.steps=5",
    "model.network.inducing=8",
    "model.network.hidden=2",
    "model.stack.folds=2",
    "model.stack.trees.trees=20",
    "model.stack.residual.steps=4",
    "budget.initial_set=60",
    "budget.tuning_set=8",
    "budget.final=4",
    "budget.rounds=1",
    "model.annealing.chains=4",
    "model.annealing.steps=5",
)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Four layers with sixty configurations each."""
    path = tmp_path_factory.mktemp("tables") / "toys.jsonl"
    with TrialLog(path) as log:
        for seed, shape in enumerate(SHAPES):
            task = toys.dense(*shape)
            space = toys.space_of(task)
            log.task(task, space)
            for trial in toys.tuned(task, space, N_ROWS, seed + 10).trials:
                log.trial(trial)
    return path


def arguments(table: Path, folder: Path, *overrides: str) -> list[str]:
    return [
        "hardware=replay",
        "workload=tables",
        "tracking=disabled",
        f"hardware.tables=[{table}]",
        "hardware.min_rows=10",
        "workload.folds=2",
        "budget.trials=12",
        "budget.batch=4",
        f"cache={folder / 'models'}",
        *overrides,
    ]


def run(table: Path, folder: Path, *overrides: str, report: bool = False) -> Summary:
    """A replay; drawing its report takes longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        if not report:
            patch.setattr(replay, "write_report", lambda run: None)
        return replay.run(composed(*arguments(table, folder, *overrides)), folder)


def outcomes(folder: Path) -> list[Trial]:
    """All but the seconds of the model, which are the clock's."""
    history = History.read(folder / "trials.jsonl")
    return [trial.replace(model_s=0.0) for task in history for trial in task.trials]


def recorded(table: Path) -> dict[tuple[str, str], Trial]:
    return {(t.task, t.config): t for task in History.read(table) for t in task.trials}


def report(folder: Path) -> dict:
    return json.loads((folder / "replay.json").read_text())


def test_same_seed_same_trials_another_seed_others(table, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(table, tmp_path / name, "model=random", f"seed={seed}")
    assert outcomes(tmp_path / "a") == outcomes(tmp_path / "b")
    assert outcomes(tmp_path / "a") != outcomes(tmp_path / "c")
    assert len(outcomes(tmp_path / "a")) == 12 * len(SHAPES)


def test_same_seed_same_trials_of_a_model_trained_anew(table, tmp_path):
    # Two folders, so that the second does not find the model of the first.
    for name in ("a", "b"):
        assert run(table, tmp_path / name, *DGP).pretrain_s > 0
    assert outcomes(tmp_path / "a") == outcomes(tmp_path / "b")


def test_the_command_line_gives_the_same_trials(table, tmp_path):
    run(table, tmp_path / "a", "model=random", "seed=3")
    words = arguments(table, tmp_path, "model=random", "seed=3")
    done = here(tmp_path, f"hydra.run.dir={tmp_path / 'b'}", *words, report=False)
    assert done.returncode == 0, done.stderr
    assert outcomes(tmp_path / "a") == outcomes(tmp_path / "b")
    assert "confined to the recorded configurations" in done.stdout


def sweep(table: Path, folder: Path, *, report: bool = False) -> list[str]:
    """The last lines of a sweep over two seeds, with the folder left out."""
    words = ["-m", f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=${seed}", "seed=0,1"]
    words += arguments(table, folder, "model=random", "budget.trials=6", ONE)
    done = here(folder, *words, report=report)
    assert done.returncode == 0, done.stderr
    known = ("already complete", "Results in")
    lines = [line for line in done.stdout.splitlines() if line.startswith(known)]
    return [line.replace(str(folder), "").split(" (")[0] for line in lines]


def test_a_sweep_started_again_skips_what_is_complete_and_goes_on_with_the_rest(table, tmp_path):
    assert sweep(table, tmp_path) == ["Results in /0", "Results in /1"]
    whole = outcomes(tmp_path / "1")
    for name in ("summary.json", "report.html"):
        (tmp_path / "1" / name).unlink()
    log = tmp_path / "1" / "trials.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-3]))
    assert sweep(table, tmp_path, report=True) == ["already complete: /0", "Results in /1"]
    assert outcomes(tmp_path / "1") == whole
    assert (tmp_path / "1" / "report.html").exists()


def test_every_job_of_the_shipped_sweep_is_a_configuration():
    sweep = OmegaConf.to_container(OmegaConf.load(ROOT / "sweep.yaml"))
    assert (ROOT / sweep["program"]).exists()
    assert sweep["command"][-1] == "${args_no_hyphens}"
    values = [p.get("values", [p.get("value")]) for p in sweep["parameters"].values()]
    names = list(sweep["parameters"])
    for job in itertools.product(*values):
        cfg = composed(*(f"{n}={v}" for n, v in zip(names, job, strict=True)))
        assert cfg.hardware.kind == "replay"
        assert cfg.tracking.mode == "online"


def test_trials_are_the_recorded_ones_and_their_seconds_the_clock(table, tmp_path):
    summary = run(table, tmp_path, "model=random", report=True)
    rows = recorded(table)
    trials = outcomes(tmp_path)
    assert all(t.run_times_s == rows[t.task, t.config].run_times_s for t in trials)
    assert summary.search_s - summary.model_s == pytest.approx(sum(t.wall_s for t in trials))
    assert summary.trials == len(trials) == 12 * len(SHAPES)
    assert summary.latency_ms is None
    assert Summary.read(tmp_path / "summary.json") == summary
    for name in ("curves_trials.png", "report.html"):
        assert (tmp_path / name).exists()


def test_seeds_of_a_task_do_not_depend_on_the_others(table, tmp_path):
    run(table, tmp_path / "all", "model=random")
    run(table, tmp_path / "one", "model=random", ONE)
    one = outcomes(tmp_path / "one")
    assert one == [t for t in outcomes(tmp_path / "all") if t.task == one[0].task]


def test_an_interrupted_run_goes_on_where_it_stopped(table, tmp_path):
    run(table, tmp_path / "whole", "model=random")
    run(table, tmp_path / "cut", "model=random")
    log = tmp_path / "cut" / "trials.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:20]))
    summary = run(table, tmp_path / "cut", "model=random")
    assert outcomes(tmp_path / "cut") == outcomes(tmp_path / "whole")
    assert summary.trials == 12 * len(SHAPES)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("scheduler", ["even", "gradient"])
def test_seconds_are_simulated_and_end_the_search_of_a_network(alone, scheduler, table, tmp_path):
    """A trial takes 0.2 s, a step 0.8 s: three of them end 2 s."""
    learned = toys.conv2d(size=56, inputs=64, outputs=64)  # of another network
    with TrialLog(tmp_path / "small.jsonl") as log:
        log.task(learned, toys.space_of(learned))
        for trial in toys.tuned(learned, toys.space_of(learned), 9, 0).trials:
            log.trial(trial)
    limited = ("model=random", "budget.trials=60", "budget.seconds=2", f"scheduler={scheduler}")
    limited += (f"hardware.tables=[{table},{tmp_path / 'small.jsonl'}]",)
    if not alone:
        limited += ("workload.network=other",)
    tmp_path /= "out"
    summary = run(table, tmp_path, *limited)
    assert summary.trials == 12 * (len(SHAPES) if alone else 1)
    first = outcomes(tmp_path)
    log = tmp_path / "trials.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-5]))
    assert run(table, tmp_path, *limited).trials == summary.trials
    assert sorted(t.config for t in outcomes(tmp_path)) == sorted(t.config for t in first)


def test_a_model_goes_on_where_it_stopped_and_a_finished_run_learns_nothing(
    table, tmp_path, monkeypatch
):
    untrained_network(monkeypatch)
    given_residual(monkeypatch)
    first = run(table, tmp_path, *DGP)
    log = tmp_path / "trials.jsonl"
    whole = log.read_text().splitlines(keepends=True)
    log.write_text("".join(whole[:-3]))
    again = run(table, tmp_path, *DGP)
    assert [t.best_key for t in again.tasks] == [t.best_key for t in first.tasks]
    assert len(outcomes(tmp_path)) == again.trials == 12
    finished = run(table, tmp_path, *DGP)
    assert finished.tasks == again.tasks
    assert finished.search_s == again.search_s
    assert finished.pretrain_s == 0


@pytest.mark.parametrize("outside", ["nearest", "refuse"])
def test_what_is_outside_of_the_tables_is_counted(outside, table, tmp_path, capsys):
    summary = run(table, tmp_path, "model=random", f"hardware.outside={outside}")
    rows = recorded(table)
    strangers = [t for t in outcomes(tmp_path) if (t.task, t.config) not in rows]
    assert strangers
    assert report(tmp_path)["outside"] == outside
    assert report(tmp_path)["asked_outside"] == len(strangers)
    said = capsys.readouterr().out
    assert f"{len(strangers)} of {summary.trials} configurations were never recorded" in said
    assert all((t.error == "not in the recorded table") == (outside == "refuse") for t in strangers)


def test_offline_run_holds_the_numbers_of_summary_json(table, tmp_path):
    run(table, tmp_path, "model=random", "seed=5", "tracking=offline", report=True)
    found, rows = {}, []
    for record in only_run(tmp_path):
        found |= values(record.summary.update)
        rows.append(values(record.history.item))
    expected = json.loads((tmp_path / "summary.json").read_text())
    for name in expected.keys() - {"tasks"}:
        assert found[name] == pytest.approx(expected[name]), name
    curves = [row for row in rows if "task_trial" in row]
    assert len(curves) == 12
    assert curves[-1]["trial"] == expected["trials"]
    assert 0 < curves[-1]["mean_share_of_best"] <= 1


def test_a_run_that_fails_closes_its_tracking(table, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("stop")

    monkeypatch.setattr("dgtl.run.searched.search", fail)
    with pytest.raises(RuntimeError, match="stop"):
        run(table, tmp_path, "model=random", "tracking=offline")
    exits = [r.exit.exit_code for r in only_run(tmp_path) if r.HasField("exit")]
    assert exits == [1]


def test_a_wrong_setting_leaves_alone_what_an_earlier_run_came_to(table, tmp_path):
    run(table, tmp_path, "model=random")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.json*")}
    with pytest.raises(ValueError, match="no table is left"):
        run(table, tmp_path, "model=random", "fresh=true", "workload.tasks=[foo]")
    assert {path: path.read_bytes() for path in tmp_path.glob("*.json*")} == before


def test_a_layer_is_chosen_by_its_title(table, tmp_path):
    run(table, tmp_path, "model=random", "workload.tasks=['dense 16->32 batch 4']")
    (source,) = History.read(tmp_path / "trials.jsonl")
    assert source.task.key == toys.dense(4, 32, 16).key


def test_report_says_which_tables_and_folds(table, tmp_path):
    run(table, tmp_path, "model=random", "hardware.min_rows=60", "workload.folds=null")
    said = report(tmp_path)
    assert said["tables"] == [str(table)]
    assert said["hardware"] == "toy-cpu"
    assert len(said["folds"]) == len(SHAPES)
    assert said["small"] == said["skipped"] == []


def test_small_tables_are_learnt_from_and_not_searched(table, tmp_path, capsys):
    small = toys.dense(4, 16, 32)
    one_core = dataclasses.replace(small, key=f"{small.key}/1")
    with TrialLog(tmp_path / "small.jsonl") as log:
        for seed, task in enumerate((small, one_core)):
            space = toys.space_of(task)
            log.task(task, space)
            for trial in toys.tuned(task, space, 9, seed).trials:
                log.trial(trial)
    both = f"hardware.tables=[{table},{tmp_path / 'small.jsonl'}]"
    summary = run(table, tmp_path / "out", "model=random", both)
    assert report(tmp_path / "out")["small"] == [small.key, one_core.key]
    assert {t.task for t in outcomes(tmp_path / "out")} == {task for task, _ in recorded(table)}
    assert summary.source_trials == len(SHAPES) * N_ROWS + 2 * 9
    assert "4 tables of toy-cpu, 240 configurations; 2 smaller ones only learnt from" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("workload.leave_out=nothing", "choose layer or network"),
        ("hardware.outside=guess", "choose pool or nearest or refuse"),
        ("history.path=elsewhere", "leave out history.path"),
        ("history.import=logs", r"hardware.tables=\[logs\]"),
        ("hardware.tables=table.jsonl", "list of paths"),
        ("hardware.tables=[absent.jsonl]", "no such file"),
        ("workload.networks=[vgg16]", "no table is left"),
        ("workload.folds=1", "nothing to learn from"),
    ],
)
def test_what_cannot_be_replayed_is_said(override, message, table, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(table, tmp_path, "model=random", override)


def test_a_network_is_no_table(tmp_path):
    cfg = composed("hardware=replay", "workload=tiny", "model=random")
    with pytest.raises(ValueError, match="give workload=tables"):
        replay.run(cfg, tmp_path)
