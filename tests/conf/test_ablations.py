"""Every setting that docs/ablations.md sweeps exists and makes a method."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate

from dgtl.methods.dgp import DeepGaussianTransfer

ROOT = Path(__file__).parents[2]
LINES = re.findall(r"`(model=[^`]+)`", (ROOT / "docs" / "ablations.md").read_text())


def jobs(line: str) -> list[list[str]]:
    """The overrides of every job of a line, one sweep varied at a time."""
    overrides = OverridesParser.create().parse_overrides(shlex.split(line))
    options = [
        [f"{o.key_or_group}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [o.input_line]
        for o in overrides
    ]
    first = [choices[0] for choices in options]
    varied = [
        [*first[:i], choice, *first[i + 1 :]]
        for i, choices in enumerate(options)
        for choice in choices[1:]
    ]
    return [first, *varied]


def test_there_are_ablations():
    assert len(LINES) > 12


@pytest.mark.parametrize("line", LINES)
def test_settings_of_an_ablation_make_a_method_of_equal_trials(line):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for overrides in jobs(line):
            cfg = compose("config", ["hardware=replay", "workload=tables", *overrides])
            method = instantiate(cfg.model)
            if isinstance(method, DeepGaussianTransfer):
                assert method.planned_trials >= cfg.budget.trials
                if any(override.startswith("model.map") for override in overrides):
                    assert method.stack is None
