"""README.md and docs/results.md show what results/ holds; their Python is real."""

import re
from pathlib import Path

import pytest
from untrained import given_residual, untrained_network

from experiments.readme import filled
from experiments.results_page import PAGE, page

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def test_the_comparison_of_the_readme_is_that_of_the_results():
    text = README.read_text()
    assert text.count("| xgb_transfer |") == 1
    assert filled(text, ROOT / "results") == text, "python -m experiments.readme"
    with pytest.raises(ValueError, match=r"compare\.csv"):
        filled(text, ROOT / "tests")


def test_the_results_page_is_up_to_date():
    assert page(ROOT / "results") == PAGE.read_text(), "python -m experiments.results_page"


def test_the_readme_is_short_and_reaches_its_first_command_soon():
    lines = README.read_text().splitlines()
    assert len(lines) <= 220
    assert next(i for i, line in enumerate(lines) if line.startswith("    ")) < 40


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    untrained_network(monkeypatch)
    given_residual(monkeypatch)
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert "4000" in code
    smaller = code.replace("steps=200", "steps=2, inducing=16").replace("4000", "600")
    assert "inducing=16" in smaller
    monkeypatch.chdir(tmp_path)
    exec(compile(smaller, "README.md", "exec"), {})  # our own file
    assert re.fullmatch(
        r"[01]\.\d{3} of the best of 2000 after 32 trials\n", capsys.readouterr().out
    )
