"""What holds for every baseline: distinct, reproducible, robust, better than random."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import landscape
import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from untrained import given_residual, untrained_network

from baselines.autotvm.cost_model import TreeOptions
from baselines.autotvm.tuner import AutoTVM
from baselines.chameleon.tuner import Chameleon
from baselines.droplet import Droplet
from baselines.gga import GGA
from baselines.metaschedule.tuner import MetaSchedule
from baselines.random_search import RandomSearch
from baselines.xgb_transfer import XGBTransfer
from dgtl.features.problem import Problem
from dgtl.methods.dgp import DGP
from dgtl.methods.dgp_paper import PaperDGP
from dgtl.models.deep_gp.model import DGPConfig
from dgtl.models.residual_gp.gp import ResidualGPConfig
from dgtl.models.stacked import StackConfig
from dgtl.models.xgb import XGBConfig
from dgtl.search.annealing import AnnealingOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dgtl.core.history import SourceTask
    from dgtl.methods.base import Method

pytestmark = pytest.mark.slow

CONF = Path(__file__).parents[2] / "conf" / "model"
BUDGET = {"initial_set": 4096, "tuning_set": 64, "final": 16, "rounds": 1}

SHORT = AnnealingOptions(chains=32, steps=60, patience=20)
FEW = XGBConfig(trees=60, rate=0.2, nthread=1)
NETWORK = DGPConfig(hidden=4, inducing=32, steps=60, batch=128)
AGENT = {"episodes": 64, "steps": 60, "side_by_side": 64}
HASTY = {"episodes": 8, "steps": 8, "side_by_side": 8}
METHODS = {
    "random": RandomSearch(),
    "autotvm": AutoTVM(annealing=SHORT),
    "autotvm_rank": AutoTVM(annealing=SHORT, objective="rank"),
    "autotvm_knobs": AutoTVM(annealing=SHORT, features="knobs"),
    "autotvm_history": AutoTVM(annealing=SHORT, load_history=True),
    "chameleon": Chameleon(**AGENT),
    "chameleon_paper": Chameleon(variant="paper", **AGENT),
    "chameleon_annealing": Chameleon(exploration="annealing", annealing=SHORT),
    "gga": GGA(trees=FEW, generations=4, offspring=300),
    "gga_history": GGA(surrogate=False),
    "gga_surrogate": GGA(history=False, trees=FEW, generations=4, offspring=300),
    "ga": GGA(history=False, surrogate=False),
    "metaschedule": MetaSchedule(population=256),
    "droplet": Droplet(MetaSchedule(population=256)),
    "xgb_transfer": XGBTransfer(initial_set=1024, rounds=3, annealing=SHORT, trees=FEW),
    "dgp": DGP(
        initial_set=1024,
        rounds=3,
        annealing=SHORT,
        network=NETWORK,
        stack=StackConfig(trees=FEW, folds=2, residual=ResidualGPConfig(steps=30)),
    ),
    "dgp_paper": PaperDGP(initial_set=1024, rounds=3, annealing=SHORT, network=NETWORK),
}
QUICK = {
    **METHODS,
    "chameleon": Chameleon(**HASTY),
    "chameleon_paper": Chameleon(variant="paper", **HASTY),
    "chameleon_annealing": Chameleon(exploration="annealing", annealing=SHORT, **HASTY),
}
"""For what does not depend on how good they are; their networks and residual GPs are given."""
TRIALS = 160


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Method]:
    """Prepares a method by name; what is costly to learn is learned once."""
    cache = tmp_path_factory.mktemp("models")

    def prepare(
        name: str,
        sources: Sequence[SourceTask] | None = None,
        methods: Mapping[str, Method] = METHODS,
    ) -> Method:
        method = methods[name]
        folder = cache / ("learned" if methods is METHODS else "given")
        method.prepare(landscape.sources() if sources is None else sources, folder, seed=0)
        return method

    return prepare


@pytest.fixture
def quick(prepared, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Method]:
    """Prepares one of `QUICK`."""
    untrained_network(monkeypatch)
    given_residual(monkeypatch)
    return functools.partial(prepared, methods=QUICK)


@functools.cache
def random_best(n: int) -> float:
    runs = [landscape.run(METHODS["random"], seed, n) for seed in range(25)]
    return median(landscape.best(trials) for trials in runs)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "random"])
def test_median_of_seeds_beats_random(name: str, prepared) -> None:
    method = prepared(name)
    # An agent learns plan by plan, each of which adaptive sampling leaves a third of.
    n = 192 if name in ("chameleon", "chameleon_paper") else TRIALS
    # Fewer of those that take seconds each.
    seeds = 3 if name.startswith(("chameleon", "dgp")) else 5
    runs = [landscape.run(method, seed, n) for seed in range(seeds)]
    assert median(landscape.best(trials) for trials in runs) > random_best(n)


@pytest.mark.parametrize("name", ["dgp", "dgp_paper"])
def test_a_model_from_the_cache_counts_as_long_as_it_was_learned(
    name: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained_network(monkeypatch)
    given_residual(monkeypatch)
    method, sources = METHODS[name], landscape.sources()
    learned_s = method.prepare_timed(sources, tmp_path, seed=0)
    assert method.cached_training_s == 0.0
    again_s = method.prepare_timed(sources, tmp_path, seed=0)
    assert 0.0 < method.cached_training_s < learned_s
    assert again_s > method.cached_training_s
    method.prepare([], tmp_path, seed=0)
    assert method.cached_training_s == 0.0


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_proposals_and_none_twice(name: str, quick) -> None:
    method = quick(name)
    keys = [trial.config for trial in landscape.run(method, 0, 140)]
    assert keys == [trial.config for trial in landscape.run(method, 0, 140)]
    assert keys[:64] != [trial.config for trial in landscape.run(method, 1, 64)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", METHODS)
def test_asking_twice_with_one_seed_sequence_gives_the_same_tuner(name: str, quick) -> None:
    seed = np.random.SeedSequence(0)
    problem = Problem(landscape.TASK, landscape.SPACE)
    method = quick(name)
    first, second = (method.tuner(problem, seed).ask(16) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", METHODS)
def test_survives_when_everything_fails(name: str, quick) -> None:
    trials = landscape.run(quick(name), 0, 100, broken=True)
    assert len(trials) == 100
    assert len({trial.config for trial in trials}) == 100


@pytest.mark.parametrize("name", METHODS)
def test_survives_a_space_smaller_than_the_batch(name: str, quick) -> None:
    space = landscape.tiny_space()
    trials = landscape.run(quick(name), 0, 200, task=landscape.TINY_TASK, space=space)
    assert {trial.config for trial in trials} == set(space.keys(space.at(range(space.size))))
    assert len(trials) == space.size


@pytest.mark.parametrize("name", METHODS)
def test_survives_without_sources(name: str, quick) -> None:
    assert len(landscape.run(quick(name, sources=[]), 0, 80)) == 80


def test_budget_batches_do_not_change_the_plan() -> None:
    """A plan of 64 asked for in batches of 24 is the same plan."""
    method = AutoTVM(annealing=SHORT)
    whole = landscape.run(method, 3, 128, batch=64)
    parts = landscape.run(method, 3, 128, batch=24)
    assert [t.config for t in whole] == [t.config for t in parts]


def test_importing_the_baselines_imports_no_tensorflow() -> None:
    modules = "autotvm, chameleon, droplet, gga, metaschedule, random_search, xgb_transfer"
    code = f"import sys; from baselines import {modules}; print('tensorflow' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def configured(name: str):
    cfg = OmegaConf.create({"budget": BUDGET, "model": OmegaConf.load(CONF / f"{name}.yaml")})
    return instantiate(cfg.model)


def test_autotvm_has_the_constants_of_its_code() -> None:
    method = configured("autotvm")
    assert (method.plan, method.epsilon, method.objective) == (64, 0.05, "reg")
    assert method.early_stopping is None
    assert method.annealing == AnnealingOptions(128, 500, 1.0, 50)
    assert dataclasses.astuple(method.trees)[:9] == (3, 0.3, 1e-4, 1.0, 1.0, 1.0, 0.0, 8000, 20)
    assert (method.history_rounds, method.history_patience) == (400, 100)
    assert method.trees == TreeOptions()


def test_xgb_transfer_has_the_schedule_of_the_deep_gp() -> None:
    dgp = OmegaConf.load(CONF / "dgp.yaml")
    own = OmegaConf.load(CONF / "xgb_transfer.yaml")
    for key in ("initial_set", "tuning_set", "final", "rounds"):
        assert OmegaConf.to_container(own)[key] == OmegaConf.to_container(dgp)[key]
    assert configured("xgb_transfer").planned_trials == 80


@pytest.mark.parametrize(
    "make",
    [
        lambda: AutoTVM(objective="hinge"),
        lambda: AutoTVM(features="curve"),
        lambda: AutoTVM(features="knobs", load_history=True),
        lambda: AutoTVM(early_stopping=0),
        lambda: Chameleon(variant="ours"),
        lambda: Chameleon(sampling="all"),
        lambda: GGA(mutation=2.0),
        lambda: GGA(population=0),
        lambda: MetaSchedule(population=0),
        lambda: MetaSchedule(mutate=1.5),
        lambda: Droplet(start=0),
        lambda: Droplet(pvalue=0.0),
        lambda: XGBTransfer(initial_set=8),
        lambda: XGBTransfer(target_weight=0.0),
    ],
)
def test_options_that_make_no_sense_are_refused(make) -> None:
    with pytest.raises(
        ValueError, match=r"autotvm|chameleon|droplet|gga|metaschedule|xgb_transfer"
    ):
        make()
