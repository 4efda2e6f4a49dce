"""The tuner of docs/extending.md is real: it runs as it is printed there, and it tunes."""

import re
from pathlib import Path

import numpy as np
import pytest
import toys

from dgtl.features.problem import Problem
from dgtl.measure.replay import ReplayMeasurer
from dgtl.methods.base import Method
from dgtl.methods.loop import Budget, tune

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def _example() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return block


@pytest.mark.slow
def test_the_tuner_improves_on_its_first_batch():
    names: dict = {}
    exec(compile(_example(), PAGE.name, "exec"), names)  # our own file
    method = names["HillClimb"]()
    assert isinstance(method, Method)
    task = toys.dense()
    space = toys.space_of(task)
    table = toys.recorded(task, space)
    tuner = method.tuner(Problem(task, space), np.random.SeedSequence(0))
    trials = tune(Problem(task, space), tuner, ReplayMeasurer.of(table), Budget(40, batch=8))
    latencies = [trial.latency_s for trial in trials]
    assert min(latencies) < min(latencies[:8])


def test_the_tuner_takes_at_most_thirty_lines():
    assert len([line for line in _example().splitlines() if line.strip()]) <= 30
