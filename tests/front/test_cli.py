"""The command: what a user gets wrong is one line, and exit codes tell outcomes apart."""

from __future__ import annotations

import dataclasses
import shlex

import onnx_models
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from dgtl.core import local_history
from dgtl.core.history import History
from dgtl.core.local_history import LocalHistory
from dgtl.front import cli
from dgtl.front.options import Options, in_options
from dgtl.run.settings import composed
from dgtl.tvm.workload.importer.shapes import fix_shapes

pytestmark = pytest.mark.slow  # TVM is imported.

TASK = toys.dense()
TUNED = toys.tuned(TASK, toys.space_of(TASK), 12, 0)


@pytest.fixture
def history(tmp_path, monkeypatch):
    folder = tmp_path / "history"
    monkeypatch.setenv("DGTL_HISTORY", str(folder))
    return folder


def run(*arguments: str) -> int:
    return cli.main(list(arguments))


@given(
    name=st.text(min_size=1),
    extents=st.lists(st.integers(1, 9999), min_size=1, max_size=6),
)
def test_any_name_may_have_a_shape(name, extents):
    assert cli.shape(f"{name}={','.join(map(str, extents))}") == (name, extents)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sr=16000", ("sr", 16000)),
        ("in:0=x=[[0.5, 1]]", ("in:0=x", [[0.5, 1]])),
        ("flag=true", ("flag", True)),
    ],
)
def test_a_constant_is_a_number_or_lists_of_them(text, expected):
    assert cli.constant(text) == expected


@pytest.mark.parametrize("text", ["", "x", "=1", "x=", "x=many"])
def test_a_constant_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"write it as --constant NAME=16000"):
        cli.constant(text)


@pytest.mark.parametrize("text", ["", "x", "=1,2", "x=1,a", "x=", "1,2"])
def test_a_shape_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"write it as --shape NAME=1,3,224,224"):
        cli.shape(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune", "missing.onnx"], "error: missing.onnx: no such file"),
        (["tune", "model.onnx", "--shape", "x"], "error: --shape x: write it as"),
        (["tune", "model.onnx", "--seconds", "0"], "error: --seconds 0.0: must be a positive"),
        (["tune", "model.onnx", "--set", "budget.foo=1"], "error: budget.foo: no such setting"),
        (["tune", "model.onnx", "--set", "model=foo"], "error: model=foo: choose of"),
        (["tune", "model.onnx", "--out", "full"], "error: full holds other files"),
        (["tune", "model.onnx", "--out", "model.onnx"], "error: model.onnx is a file"),
        (["tune", "model.onnx"], "model.onnx is not an ONNX model"),
        (["history", "import", "missing"], "missing: no such file"),
        (["history", "import", "model.onnx"], "is no history of dgtl"),
        (["history", "export", "h.txt"], "h.txt: name it .jsonl or .jsonl.xz"),
        (["history", "export", "h.jsonl"], "is empty: dgtl tune fills it"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    history, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("")
    (tmp_path / "model.onnx").write_text("no model")
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert "workload." not in said


def outcome(trials) -> object:
    source = dataclasses.replace(TUNED, trials=tuple(trials))
    return toys.summary([source], workload="onnx")


FAILED = [toys.trial(TASK, str(i), None) for i in range(3)]


@pytest.mark.parametrize(
    ("trials", "code"),
    [(TUNED.trials, 0), ([], cli.UNTUNED), (FAILED, cli.UNTUNED)],
    ids=["tuned", "time over", "all failed"],
)
def test_exit_codes_tell_failed_layers_from_a_time_that_is_over(
    tmp_path, monkeypatch, capsys, trials, code
):
    (tmp_path / "model.onnx").write_text("")
    monkeypatch.setattr("dgtl.front.tuning.tuned_into", lambda options: outcome(trials))
    assert run("tune", str(tmp_path / "model.onnx"), "--out", str(tmp_path / "out")) == code
    said = capsys.readouterr().err
    assert (TASK.title in said) == (trials is FAILED)
    assert ("no time was left" in said) == (trials == [])


def test_an_interruption_with_nothing_found_has_the_code_of_the_shell(tmp_path, monkeypatch):
    def interrupted(options):
        raise KeyboardInterrupt

    (tmp_path / "model.onnx").write_text("")
    monkeypatch.setattr("dgtl.front.tuning.tuned_into", interrupted)
    assert run("tune", str(tmp_path / "model.onnx")) == cli.INTERRUPTED


def test_what_is_exported_can_be_imported_elsewhere(history, tmp_path, monkeypatch, capsys):
    local_history.add(history, History.of([TUNED]))
    for name in ("all.jsonl.xz", "all.jsonl"):
        assert run("history", "export", str(tmp_path / name)) == 0
        monkeypatch.setenv("DGTL_HISTORY", str(tmp_path / f"other-{name}"))
        assert run("history", "import", str(tmp_path / name)) == 0
        (found,) = LocalHistory.read(tmp_path / f"other-{name}").sources
        assert [t.config for t in found.trials] == [t.config for t in TUNED.trials]
        monkeypatch.setenv("DGTL_HISTORY", str(history))
    capsys.readouterr()
    assert run("history", "list") == 0
    assert "12 trials of 1 tasks" in capsys.readouterr().out


def test_nothing_is_exported_over_a_file(history, tmp_path, capsys):
    local_history.add(history, History.of([TUNED]))
    (tmp_path / "all.jsonl").write_text("mine")
    assert run("history", "export", str(tmp_path / "all.jsonl")) == 1
    assert (tmp_path / "all.jsonl").read_text() == "mine"


def test_options_are_settings_that_there_are(tmp_path):
    options = Options(
        tmp_path / "a=b, c.onnx", tmp_path, 7.5, shapes={"in:0=x": [1, 3]}, num_cores=1, seed=4
    )
    cfg = composed(options.overrides(), options.values())
    assert cfg.workload.path == str(tmp_path / "a=b, c.onnx")
    assert cfg.workload.shapes == {"in:0=x": [1, 3]}
    assert cfg.budget.seconds == 7.5
    assert (cfg.hardware.num_cores, cfg.seed) == (1, 4)
    assert cfg.history.own_layers
    assert cfg.tracking.mode == "disabled"


def test_a_setting_that_is_given_by_its_name_stands(tmp_path):
    options = Options(tmp_path, tmp_path, 7.5, settings=("budget.seconds=3", "seed=9"))
    cfg = composed(options.overrides(), options.values())
    assert (cfg.budget.seconds, cfg.seed) == (3, 9)


def test_messages_speak_of_options():
    said = "workload.path=m.onnx: no such file; fresh=true, hydra.run.dir=FOLDER"
    assert in_options(said) == "m.onnx: no such file; --fresh, --out FOLDER"


@given(
    names=st.lists(
        st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1).filter(
            lambda name: name != "w"  # the weight
        ),
        min_size=1,
        max_size=3,
        unique=True,
    )
)
def test_shapes_that_a_message_asks_for_can_be_pasted(names):
    inputs = [helper.make_tensor_value_info(name, 1, ["N", 3, "H", "W"]) for name in names]
    with pytest.raises(ValueError, match="is open in extents") as asked:
        fix_shapes(onnx_models.dense(inputs), None)
    pasted = shlex.split(in_options(str(asked.value)).rpartition(": give ")[2])
    assert pasted[::2] == ["--shape"] * len(names)
    assert dict(map(cli.shape, pasted[1::2])) == {name: [1, 3, 224, 224] for name in names}
