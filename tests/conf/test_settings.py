"""Settings of methods: the defaults stand once, and each one changes a trial or a prediction."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import landscape
import pytest
from configurations import CONF, composed
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from untrained import given_residual, untrained_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

METHODS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
VARIANTS = [*((name, ()) for name in METHODS), ("dgp_paper", ("model/map=adam",))]


def configured(name: str, groups: tuple[str, ...] = (), settings: tuple[str, ...] = ()) -> Any:
    """A method's configuration, with the paper's plan, which its class has by default."""
    return composed(
        f"model={name}", "budget=even", *groups, *(f"model.{text}" for text in settings)
    ).model


def leaves(model: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted name, with its value."""
    for name, value in model.items():
        if name.startswith("_"):
            continue
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield above + name, value


@pytest.mark.parametrize(("name", "overrides"), VARIANTS)
def test_the_configuration_has_the_defaults_of_the_class(name, overrides):
    model = configured(name, overrides)
    method = instantiate(model)
    defaults = get_class(model._target_)()
    if overrides:
        defaults.map = get_class(model.map._target_)()
        # A list and a tuple of the same parts.
        assert list(method.map.frozen) == list(defaults.map.frozen)
        overrides = ("map",)
    for field in vars(defaults):
        if field not in overrides and not field.startswith("_"):
            assert getattr(method, field) == getattr(defaults, field), field


# --- every setting has an effect -------------------------------------------------------------

SMALL = {
    "dgp": (
        *("initial_set=256", "tuning_set=24", "final=40", "rounds=1", "annealing.steps=20"),
        *("network.steps=8", "network.inducing=16", "network.hidden=2", "network.batch=64"),
        *("stack.folds=2", "stack.trees.trees=20", "stack.trees.nthread=1"),
        *("stack.residual.steps=4", "stack.residual.rows=32", "stack.residual.tasks=2"),
    ),
    "dgp_paper": (
        *("initial_set=256", "tuning_set=24", "final=40", "rounds=1", "annealing.steps=20"),
        *("network.steps=8", "network.inducing=16", "network.hidden=2", "network.batch=64"),
    ),
    "xgb_transfer": (
        *("initial_set=256", "tuning_set=24", "final=24", "rounds=1", "annealing.steps=20"),
        *("trees.trees=20", "trees.nthread=1"),
    ),
    "autotvm": ("annealing.chains=32", "annealing.steps=40", "annealing.patience=8", "plan=32"),
    "chameleon": ("episodes=8", "side_by_side=8", "steps=8", "plan=32"),
    "gga": ("population=32", "offspring=100", "survivors=32", "generations=2", "trees.trees=20"),
    "metaschedule": ("plan=32", "population=64", "trees.warm_up=32", "trees.rounds=40"),
    "droplet": ("start=32", "first.plan=32", "first.population=64"),
    "random": (),
}
"""What makes a method quick: what has an effect has it in small."""

OTHER: dict[str, Any] = {
    "rounds": 2,
    "tuning_set_by": "random",
    "objective": "rank",
    "features": "knobs",
    "variant": "paper",
    "exploration": "annealing",
    "sampling": "greedy",
    "network.kernel": "rbf",
    "network.layers": 1,
    "network.noise_floor": 0.9,
    "network.jitter": 1e-2,
    "map.frozen": ["kernels"],
    "map.offset.slope_scale": 1.0,
    "covariance_scale": 0.0,
    "trees.gamma": 0.5,
    "trees.l1": 5.0,
    "trees.subsample": 0.5,
    "trees.min_child_weight": 20.0,
    "trees.patience": 1,
    "trees.rounds": 3,
    "annealing.patience": 1,
    "history_patience": 1,
    "trees.growth": 3.0,
    "trees.warm_up": 90,
    "early_stopping": 20,
    "stack.folds": 3,
    "iterations": 1,
    "patience": 1,
    "tries": 0,
    "history_rounds": 1,
    "elites": 40,
    "pvalue": 1e-9,
}
"""Another value, where half of the default is none or does too little."""

GIVEN = {
    "history_rounds": ("load_history=true",),
    "history_patience": ("load_history=true", "history_rounds=2000"),
    "chameleon.annealing.chains": ("exploration=annealing",),
    "chameleon.annealing.steps": ("exploration=annealing",),
    "chameleon.annealing.temperature": ("exploration=annealing",),
    "chameleon.annealing.patience": ("exploration=annealing", "annealing.patience=8"),
    "trees.growth": ("trees.warm_up=32",),
    # So few chains that some steps find nothing.
    "dgp_paper.annealing.patience": ("annealing.chains=4", "annealing.steps=100"),
    "xgb_transfer.annealing.patience": ("annealing.chains=4", "annealing.steps=100"),
    # So that generations are in vain.
    "gga.patience": ("mutation=0.0", "offspring=4", "generations=1", "population=16"),
}
"""What else must be set for a setting to matter; its comment in the configuration says so."""

WITHOUT_EFFECT = {
    "threads": "speed alone",
    "nthread": "speed alone",
    "metaschedule.trees.patience": "it looks at six digits of the training error, as TVM does: "
    "rounds after it rests change no rank",
}
SHOWN_ELSEWHERE = ("dgp.network.", "dgp.annealing.patience", "chameleon.trees.", "droplet.first.")
"""Settings of what is another method's too: of `dgp_paper`, AutoTVM and MetaSchedule. (The
shortlist of `dgp` is so long that every step of a toy finds something for it.)"""


def settings_of(name: str, overrides: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    container: Any = OmegaConf.to_container(configured(name, overrides), resolve=True)
    for setting, value in leaves(container):
        if not {setting.split(".")[-1], f"{name}.{setting}"} & set(WITHOUT_EFFECT):
            yield setting, value


def changed(setting: str, value: Any) -> Any:
    """Another value of a setting."""
    if setting in OTHER:
        return OTHER[setting]
    if isinstance(value, bool):
        return not value
    return max(value // 2, 1) if isinstance(value, int) else value / 2


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list]:
    """What a method tries of a made-up task, in order, with what was expected of it."""
    cache = tmp_path_factory.mktemp("models")

    @functools.cache
    def tried(
        name: str, groups: tuple[str, ...], settings: tuple[str, ...], learned: str
    ) -> list[tuple]:
        method = instantiate(configured(name, groups, settings))
        method.prepare(landscape.sources(150), cache / learned, seed=0)
        # Two plans of an agent are many; the others need a third.
        trials = landscape.run(method, 0, 80 if name == "chameleon" else 112, batch=32)
        return [(trial.config, trial.predicted_gflops) for trial in trials]

    return tried


CASES = [
    pytest.param(name, overrides, setting, id=" ".join([name, *overrides, setting]))
    for name, overrides in VARIANTS
    for setting, _ in settings_of(name, overrides)
    if not overrides or setting.startswith("map.")
    if not f"{name}.{setting}".startswith(SHOWN_ELSEWHERE)
]
TRAINING = ("network.steps", "network.batch", "network.learning_rate", "network.noise_floor")
"""Settings of the network's training itself, with those of a map by Adam."""


@pytest.mark.parametrize(("name", "overrides", "setting"), CASES)
def test_every_setting_changes_a_trial_or_a_prediction(
    name, overrides, setting, outcome, monkeypatch
):
    small = SMALL[name]
    learned = ""
    if overrides or setting.startswith(TRAINING):
        # One layer is traced in half the time of two.
        learned, small = "network", (*small, "network.layers=1")
        small += ("map.steps=20",) if overrides else ()
    else:
        untrained_network(monkeypatch)
    if setting.startswith("stack.residual."):
        learned = "residual"
    else:
        given_residual(monkeypatch)
    base = (*small, *GIVEN.get(f"{name}.{setting}", GIVEN.get(setting, ())))
    value = OmegaConf.select(configured(name, overrides, base), setting)
    other = (*base, f"{setting}={changed(setting, value)}")
    assert outcome(name, overrides, base, learned) != outcome(name, overrides, other, learned)
