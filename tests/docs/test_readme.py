"""The tuner of the README is real: it runs as it is printed there, and it tunes."""

import re
from pathlib import Path

import numpy as np
import pytest
import toys

from dgtl.features.problem import Problem
from dgtl.measure.replay import ReplayMeasurer
from dgtl.methods.base import Method
from dgtl.methods.loop import Budget, tune
from experiments.readme import filled

README = Path(__file__).parents[2] / "README.md"


def test_tables_of_the_readme_are_those_of_the_results():
    text = README.read_text()
    assert text.count("| autotvm |") >= 7
    assert filled(text, README.parent / "results") == text
    with pytest.raises(ValueError, match=r"table1\.csv"):
        filled(text, README.parent / "tests")


def _example() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    return block


def test_the_tuner_of_the_readme_improves_on_its_first_batch():
    names: dict = {}
    exec(compile(_example(), "README.md", "exec"), names)  # our own file
    method = names["HillClimb"]()
    assert isinstance(method, Method)
    task = toys.dense()
    space = toys.space_of(task)
    table = toys.recorded(task, space)
    tuner = method.tuner(Problem(task, space), np.random.SeedSequence(0))
    trials = tune(Problem(task, space), tuner, ReplayMeasurer.of(table), Budget(40, batch=8))
    latencies = [trial.latency_s for trial in trials]
    assert min(latencies) < min(latencies[:8])


def test_the_tuner_of_the_readme_takes_at_most_thirty_lines():
    assert len([line for line in _example().splitlines() if line.strip()]) <= 30
