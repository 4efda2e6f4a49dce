"""Commands, links and paths of the documents: see scripts/check_docs.py, here its fast part."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def check_docs():
    spec = importlib.util.spec_from_file_location("check_docs", ROOT / "scripts" / "check_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_command_and_link_of_the_documents_is_right(check_docs):
    assert check_docs.problems(fast=True, out=False) == []


def test_commands_are_found_in_both_kinds_of_code_blocks_and_nowhere_else(check_docs):
    text = "Say `python a.py`.\n\n    python b.py x  # why\n\n```\nmake \\\n  test\n```\nmake c\n"
    assert check_docs.commands(text) == ["python b.py x", "make test"]


@pytest.mark.parametrize(
    "command",
    [
        "python run.py model=dgpp",
        "python run.py model=dgp model.update_evry=8",
        "python run.py -m model=dgp,nobody",
        "python -m experiments.nothing",
        "python scripts/report.py --nothing outputs",
        "make nothing",
        "wandb sweep nothing.yaml",
    ],
)
def test_a_wrong_command_is_noticed(check_docs, command):
    assert check_docs.check(command, fast=True)


def test_every_choice_of_a_sweep_is_composed(check_docs):
    assert check_docs.jobs(["a=1,2", "b=3", "c=4,5"]) == [
        ["a=1", "b=3", "c=4"],
        ["a=2", "b=3", "c=4"],
        ["a=1", "b=3", "c=5"],
    ]


def test_a_broken_link_and_a_path_that_is_gone_are_noticed(check_docs, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](page.md#one) [b](page.md#two) [c](gone.md) `dgtl/gone.py` `dgtl/core`"
    )
    assert check_docs.broken(page) == [
        "link page.md#two: no such heading",
        "link gone.md",
        "path dgtl/gone.py",
    ]
