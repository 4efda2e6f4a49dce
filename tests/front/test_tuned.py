"""From an ONNX file to a library, once: what is in the folder, and what can be done with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_models as forms
import onnxruntime
import pytest
from bench import where
from commands import draw_no_reports
from forked_workers import fork_workers

import dgtl
from dgtl.core.local_history import LocalHistory
from dgtl.core.records import KNOWN
from dgtl.front import cli
from dgtl.front.options import Options
from dgtl.front.tuning import tuned_into
from dgtl.results.card import Card
from dgtl.results.run_folder import Run
from dgtl.tvm import hardware as machine

pytestmark = [pytest.mark.slow, pytest.mark.tvm]

CORES = 1  # threads of a tiny kernel wait for one another longer than it runs

FAST = (
    "budget.initial_set=64",
    "budget.tuning_set=4",
    "budget.batch=4",
    "budget.trials=4",
    "measure.min_repeat_ms=1",
    "measure.throttle_wait_s=0.1",
    "deploy.repeats=3",
)


def network() -> onnx.ModelProto:
    """Two layers that are tuned, and two outputs."""
    return forms.model(
        [
            forms.node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
            forms.node("Relu", "a", "b"),
            forms.node("Conv", "b v", "y"),
            forms.node("GlobalAveragePool", "b", "z"),
        ],
        [forms.value("x", [1, 4, 8, 8])],
        [forms.value("y", [1, 8, 8, 8]), forms.value("z", [1, 8, 1, 1])],
        [forms.weight("w", 8, 4, 3, 3), forms.weight("v", 8, 8, 1, 1)],
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A user's folders, with a model in the one that they are in."""
    folder = tmp_path_factory.mktemp("home")
    onnx.save(network(), folder / "model.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DGTL_HISTORY", str(folder / "history"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        # To start a process takes longer than the builds of all these trials.
        patch.setattr("dgtl.tvm.measure.builders.available_cores", lambda: 1)
        fork_workers(patch)
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def folder(home) -> Path:
    """What `dgtl tune model.onnx` leaves."""
    settings = [word for setting in FAST for word in ("--set", setting)]
    assert cli.main(["tune", "model.onnx", "--cores", str(CORES), *settings]) == 0
    return home / "model_tuned"


@pytest.fixture(scope="module")
def tuned(folder):
    return dgtl.load(folder)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(1).standard_normal((1, 4, 8, 8)).astype(np.float32)


@pytest.fixture
def other(folder, tmp_path):
    """A copy of the folder whose card can be changed."""

    def changed(**fields: object) -> Path:
        copy = dgtl.load(folder).save(tmp_path / "copy")
        card = json.loads((copy / "card.json").read_text())
        (copy / "card.json").write_text(json.dumps({**card, **fields}))
        return copy

    return changed


def test_the_folder_holds_what_the_documents_say(folder):
    for name in ("model.so", "best", "card.json", "README.md", "example.cpp", "report.html"):
        assert (folder / name).exists(), name
    card = Card.read(folder)
    assert [str(value) for value in card.inputs] == ["x: float32 [1, 4, 8, 8]"]
    assert card.results == ("y", "z")
    assert card.hardware == machine.cpu_name()
    assert card.num_cores == CORES
    assert card.relative_error is not None
    assert card.relative_error < 1e-3
    assert card.latency_ms > 0
    text = (folder / "README.md").read_text()
    assert "`x: float32 [1, 4, 8, 8]`" in text
    assert f"{card.latency_ms:.3f} ms" in text


def test_it_computes_what_onnx_runtime_does(tuned, x):
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    for expected, found in zip(session.run(None, {"x": x}), tuned(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_inputs_by_position_by_name_or_as_a_dict_are_the_same(tuned, x):
    for outputs in (tuned(x=x), tuned({"x": x}), tuned(np.asfortranarray(x))):
        for expected, found in zip(tuned(x), outputs, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_result_stays_as_it_is_when_the_network_runs_again(tuned, x):
    first, _ = tuned(x)
    kept = first.copy()
    tuned(2 * x)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, x: f(), "input 'x' was not given: the network takes x: float32"),
        (lambda f, x: f(x, x), "2 inputs were given: the network takes x"),
        (lambda f, x: f(x, x=x), "input 'x' was given twice"),
        (lambda f, x: f(image=x), "input 'image' is unknown: the network takes x"),
        (lambda f, x: f(x[0]), r"has shape \[4, 8, 8\] and .* for \[1, 4, 8, 8\]"),
        (lambda f, x: f(x.astype(float)), "is float64 and must be float32"),
        (lambda f, x: f("x.npy"), "must be float32"),
    ],
)
def test_a_wrong_input_is_one_clear_line(tuned, x, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(tuned, x)
    assert "\n" not in str(error.value)


def test_what_is_saved_loads_alone(tuned, x, tmp_path):
    moved = dgtl.load(tuned.save(tmp_path / "deep" / "er"))
    np.testing.assert_array_equal(moved(x)[0], tuned(x)[0])
    assert not (moved.folder / "trials.jsonl").exists()


def test_nothing_is_saved_over_other_files(tuned, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="holds other files"):
        tuned.save(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cpu_features": ["avx2", "avx9999"]}, r"whose avx9999 this machine .* lacks"),
        ({"versions": {"dgtl": "0", "tvm": "0.1", "tvm_ffi": "0"}}, "built with tvm 0.1"),
        ({"schema": 99}, "newer than this program's"),
    ],
)
def test_a_folder_of_another_machine_or_version_is_refused(other, fields, message):
    with pytest.raises(ValueError, match=message):
        dgtl.load(other(**fields))


def test_a_folder_of_a_like_machine_loads_with_a_warning(other, x):
    with pytest.warns(UserWarning, match="was tuned on another-cpu"):
        assert len(dgtl.load(other(hardware="another-cpu"))(x)) == 2


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no card\.json here"):
        dgtl.load(tmp_path)


def test_the_c_plus_plus_example_computes_what_python_does(tuned, tmp_path):
    folder = tuned.save(tmp_path / "copy")
    section = (folder / "README.md").read_text().partition("## C++")[2].partition("## Files")[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-e"],
        input="\n".join(lines),
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": path},
    )
    assert done.returncode == 0, done.stderr
    first, _ = tuned(np.ones((1, 4, 8, 8), np.float32))
    printed = [float(word) for word in done.stdout.split()]
    np.testing.assert_allclose(printed, first.ravel()[: len(printed)], rtol=1e-4)
    assert len(printed) == 8


def test_what_was_measured_is_in_the_local_history(folder, home):
    local = LocalHistory.read(home / "history")
    assert local.n_trials == Run.read(folder).summary.trials == 8


def test_the_same_command_again_tunes_nothing(folder, capsys):
    before = (folder / "trials.jsonl").read_bytes()
    settings = [word for setting in FAST for word in ("--set", setting)]
    assert cli.main(["tune", "model.onnx", "--cores", str(CORES), *settings]) == 0
    assert "already tuned" in capsys.readouterr().out
    assert (folder / "trials.jsonl").read_bytes() == before


def test_what_is_known_is_not_measured_again(folder, home, monkeypatch):
    draw_no_reports(monkeypatch)
    first = {(t.task, t.config) for r in Run.read(folder).results for t in r.trials}
    settings = (*FAST, "deploy.untuned=false")
    options = Options(Path("model.onnx"), home / "again", 60.0, num_cores=CORES, settings=settings)
    tuned_into(options)
    trials = [t for r in Run.read(home / "again").results for t in r.trials]
    known = {(t.task, t.config) for t in trials if t.stage == KNOWN}
    assert known == first
    assert len(trials) > len(known)
    assert len({(t.task, t.config) for t in trials}) == len(trials)


def test_without_history_nothing_is_known_and_nothing_remembered(folder, home, monkeypatch):
    draw_no_reports(monkeypatch)
    before = LocalHistory.read(home / "history").n_trials
    settings = (*FAST, "deploy.untuned=false")
    tuned = dgtl.tune("model.onnx", num_cores=CORES, history=False, seconds=60, settings=settings)
    trials = [t for r in Run.read(tuned.folder).results for t in r.trials]
    assert len(trials) == 8
    assert all(t.stage != KNOWN for t in trials)
    assert LocalHistory.read(home / "history").n_trials == before


def test_where_its_time_goes_is_told_by_layer(folder, home, capsys):
    where.where(folder / "model.so", *where.built(folder, None), repeats=3)
    said = capsys.readouterr().out
    assert "conv 3x3 4->8 8x8" in said
    times = json.loads(said.splitlines()[-1])
    functions_ms = times["tuned_ms"] + times["other_ms"]
    assert 0 < times["tuned_ms"] < 1.5 * times["network_ms"]
    assert times["network_ms"] / functions_ms == pytest.approx(times["network_over_sum"], rel=0.02)


def test_where_needs_the_model_that_a_copy_is_of(folder, home, other):
    copy = other()
    with pytest.raises(ValueError, match="give --model FILE"):
        where.built(copy, None)
    ours, network = where.built(copy, home / "model.onnx")
    theirs, same = where.built(folder, None)
    assert ours == theirs
    assert network.model == same.model
