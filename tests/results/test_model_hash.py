"""A model hash changes with what decides trials, and with nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import toys
from hydra.utils import get_class
from omegaconf import OmegaConf

from dgtl.core.history import SourceTask, TrialLog
from dgtl.methods.schedulers import SCHEDULERS
from dgtl.results import model_hash as hashing
from dgtl.results.model_hash import GIVEN, SCHEDULER, UNKNOWN, Program, model_hash, this_program
from dgtl.results.run_folder import Origin

ROOT = Path(__file__).parents[2]

FILES = {
    "dgtl/__init__.py": '__version__ = "1"\n',
    "dgtl/core/__init__.py": '"""Core."""\n',
    "dgtl/core/space.py": "SIZE = 3\n",
    "dgtl/models/__init__.py": "KERAS = 2\n",
    "dgtl/models/deep.py": "import tensorflow\n\nWIDTH = 8\n",
    "dgtl/models/late.py": "STEPS = 100\n",
    "dgtl/models/named.py": "RATE = 0.1\n",
    "dgtl/report/__init__.py": "",
    "dgtl/report/page.py": "COLOUR = 'red'\n",
    "dgtl/methods/__init__.py": "",
    "dgtl/methods/deep.py": '''"""The deep one."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dgtl.models.deep import WIDTH

if TYPE_CHECKING:
    from dgtl.report.page import COLOUR

SHARE = 0.5
"""Of what."""


class Deep:
    """A method."""

    def tuner(self, colour: COLOUR):
        # A late import.
        from dgtl.models import late

        importlib.import_module("dgtl.models.named")
        return WIDTH * late.STEPS
''',
    "dgtl/methods/even.py": "TRIALS = 80\n",
    "dgtl/methods/expected.py": "TRUST = 0.1\n",
    "baselines/__init__.py": "",
    "baselines/floor.py": "import numpy as np\n\n\nclass Floor:\n    seed = 0\n",
}
DEEP = {"_target_": "dgtl.methods.deep.Deep", "layers": 2, "map": {"tau": 0.3}}
FLOOR = {"_target_": "baselines.floor.Floor"}


def written(root: Path, **changed: str) -> Program:
    for name, text in {**FILES, **changed}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Program(root)


def hashes(program: Program) -> tuple[str, str]:
    return model_hash(DEEP, program), model_hash(FLOOR, program)


@pytest.fixture
def before(tmp_path) -> tuple[str, str]:
    return hashes(written(tmp_path / "before"))


def edited(root: Path, name: str, old: str, new: str) -> tuple[str, str]:
    assert old in FILES[name]
    return hashes(written(root / "after", **{name: FILES[name].replace(old, new)}))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("dgtl/methods/deep.py", "A method.", "Another docstring."),
        ("dgtl/methods/deep.py", '"""The deep one."""\n', ""),
        ("dgtl/methods/deep.py", '"""Of what."""', '"""Of that."""'),
        ("dgtl/methods/deep.py", "# A late import.", "# Needs TensorFlow."),
        ("dgtl/methods/deep.py", "SHARE = 0.5", "SHARE = (\n    0.50\n)"),
        ("dgtl/methods/deep.py", "    from dgtl.report.page import COLOUR", "    import typing"),
        ("dgtl/report/page.py", "red", "blue"),
        ("dgtl/__init__.py", "1", "2"),
    ],
)
def test_what_decides_nothing_does_not_change_it(name, old, new, before, tmp_path):
    assert edited(tmp_path, name, old, new) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("dgtl/methods/deep.py", "SHARE = 0.5", "SHARE = 0.6"),
        ("dgtl/models/deep.py", "8", "9"),
        ("dgtl/models/late.py", "100", "200"),
        ("dgtl/models/named.py", "0.1", "0.2"),
        ("dgtl/models/__init__.py", "2", "3"),
        ("dgtl/methods/deep.py", "import WIDTH", "import DEPTH as WIDTH"),
        ("dgtl/methods/deep.py", "from dgtl.models.deep", "from dgtl.models.late"),
    ],
)
def test_a_change_of_a_method_ages_it_and_no_other(name, old, new, before, tmp_path):
    deep, floor = edited(tmp_path, name, old, new)
    assert deep != before[0]
    assert floor == before[1]


def test_what_all_methods_are_given_ages_all(before, tmp_path):
    after = edited(tmp_path, "dgtl/core/space.py", "3", "4")
    assert all(new != old for new, old in zip(after, before, strict=True))


def test_files_may_move(before, tmp_path):
    deep = FILES["dgtl/methods/deep.py"].replace("dgtl.models.deep", "dgtl.models.gp.model")
    program = written(tmp_path / "after", **{"dgtl/methods/paper.py": deep})
    (program.root / "dgtl/methods/deep.py").unlink()
    (program.root / "dgtl/models/gp").mkdir()
    (program.root / "dgtl/models/deep.py").rename(program.root / "dgtl/models/gp/model.py")
    assert model_hash({**DEEP, "_target_": "dgtl.methods.paper.Deep"}, program) == before[0]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"_convert_": "all"}, True),
        ({"layers": 3}, False),
        ({"map": {"tau": 0.4}}, False),
        ({"map": None}, False),
    ],
)
def test_settings_are_part_of_it(change, same, before, tmp_path):
    program = written(tmp_path / "after")
    assert (model_hash({**DEEP, **change}, program) == before[0]) == same


def test_the_scheduler_is_part_of_it_given_or_the_methods_own(tmp_path):
    own = f"{FILES['dgtl/methods/deep.py']}    scheduler = 'expected'\n"
    paper = "from dgtl.methods.deep import Deep as Base\n\n\nclass Paper(Base):\n    layers = 1\n"
    files = {"dgtl/methods/deep.py": own, "dgtl/methods/paper.py": paper}
    program = written(tmp_path / "before", **files)
    trusting = {**files, "dgtl/methods/expected.py": "TRUST = 0.5\n"}
    after = written(tmp_path / "after", **trusting)
    for settings in (DEEP, {"_target_": "dgtl.methods.paper.Paper"}):
        kept = model_hash(settings, program)
        assert model_hash(settings, program, scheduler="expected") == kept
        even = model_hash(settings, program, scheduler="even")
        assert even != kept
        assert model_hash(settings, after) != kept
        assert model_hash(settings, after, scheduler="even") == even
    assert model_hash(FLOOR, program, scheduler="even") != model_hash(FLOOR, program)
    assert model_hash({"_target_": "their.own.Method"}, scheduler="even") == UNKNOWN


def test_every_scheduler_has_a_module_of_its_name():
    for name, scheduler in SCHEDULERS.items():
        assert scheduler.__module__ == SCHEDULER.format(name)


def test_every_method_has_the_scheduler_that_is_read_from_its_source():
    for path in sorted((ROOT / "conf" / "model").glob("*.yaml")):
        target = OmegaConf.load(path)._target_
        assert this_program().scheduler_of(target) == get_class(target).scheduler


def test_classes_in_settings_are_code_that_decides(before, tmp_path):
    nested = {**FLOOR, "trees": {"_target_": "dgtl.models.late.Trees"}}
    kept = model_hash(nested, written(tmp_path / "kept"))
    changed = written(tmp_path / "changed", **{"dgtl/models/late.py": "STEPS = 200\n"})
    assert model_hash(nested, changed) != kept


def test_versions_of_the_packages_that_decide_are_part_of_it(before, tmp_path, monkeypatch):
    old = hashing._version
    monkeypatch.setattr(hashing, "_version", lambda d: "99.0" if d == "tensorflow" else old(d))
    deep, floor = hashes(written(tmp_path / "after"))
    assert deep != before[0]
    assert floor == before[1]


@pytest.mark.parametrize("settings", [None, {}, {"_target_": "their.own.Method"}])
def test_a_method_of_another_program_has_none(settings):
    assert model_hash(settings) == UNKNOWN


def test_of_this_program_random_search_does_not_depend_on_the_deep_gp():
    program = this_program()
    assert set(GIVEN) <= set(program.modules)
    random = program.reached(frozenset({"baselines.random_search"}))
    assert {*GIVEN, "dgtl.search.annealing", "dgtl.core.records"} <= set(random)
    assert not any(name.startswith("dgtl.models") for name in random)
    dgp = program.reached(frozenset({"dgtl.methods.dgp"}))
    assert {"dgtl.models.deep_gp.train", "dgtl.models.stacked", "dgtl.models.xgb"} <= set(dgp)


def test_it_is_the_same_in_every_process_and_loads_nothing():
    settings = {"_target_": "dgtl.methods.dgp.DGP"}
    code = (
        "import sys; from dgtl.results.model_hash import model_hash; "
        f"print(model_hash({settings}), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == [model_hash(settings), "False"]
    assert len(model_hash(settings)) == 8


CONFIG = {"model": {"_target_": "baselines.random_search.RandomSearch"}}


def begin(folder: Path, config=CONFIG, *, fresh: bool = False) -> tuple[str, ...]:
    Origin.now("python run.py", "random", config).begin(folder, fresh=fresh)
    origin = Origin.read(folder)
    assert origin is not None
    return origin.model_hashes


def tried(folder: Path) -> None:
    source: SourceTask = toys.tuned(toys.dense(), toys.space_of(toys.dense()), 2, seed=0)
    with TrialLog(folder / "trials.jsonl") as log:
        log.task(source.task, source.space)


def test_a_run_keeps_the_hash_of_its_model(tmp_path):
    assert begin(tmp_path) == (model_hash(CONFIG["model"]),)
    kept = json.loads((tmp_path / "run.json").read_text())
    assert kept["model_hashes"] == [model_hash(CONFIG["model"])]
    tried(tmp_path)
    assert begin(tmp_path) == (model_hash(CONFIG["model"]),)


def test_a_run_that_another_model_went_on_with_keeps_both(tmp_path):
    other = {"model": {**CONFIG["model"], "of": "another version"}}
    begin(tmp_path, other)
    assert begin(tmp_path) == (model_hash(CONFIG["model"]),), "it had not tried anything"
    tried(tmp_path)
    both = (model_hash(CONFIG["model"]), model_hash(other["model"]))
    assert begin(tmp_path, other) == both
    assert begin(tmp_path, other) == both
    assert begin(tmp_path, other, fresh=True) == both[1:]


def test_a_run_of_a_program_that_kept_no_hash_is_of_an_unknown_model(tmp_path):
    begin(tmp_path)
    tried(tmp_path)
    kept = json.loads((tmp_path / "run.json").read_text())
    del kept["model_hashes"]
    (tmp_path / "run.json").write_text(json.dumps(kept))
    origin = Origin.read(tmp_path)
    assert origin is not None
    assert origin.model_hashes == (UNKNOWN,)
    assert begin(tmp_path) == (UNKNOWN, model_hash(CONFIG["model"]))
