"""One loop runs every tuner: budget, resuming and search time are its, and hold under replay."""

import math

import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from dgtl.core.records import Status
from dgtl.features.problem import Problem
from dgtl.measure.protocol import MeasureOptions
from dgtl.measure.replay import ReplayMeasurer
from dgtl.methods.loop import Budget, tune

TASK = toys.dense(rows=2, columns=4, depth=2)
SPACE = toys.space_of(TASK)
PROBLEM = Problem(TASK, SPACE)
TABLE = toys.recorded(TASK, SPACE)


class Climber:
    """A tuner as simple as they get: random first, then neighbours of the best so far."""

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)
        self._best = (math.inf, "")
        self._seen: set[str] = set()
        self.stage = "random"
        self.told: list[list[str]] = []

    def ask(self, n: int):
        start = SPACE.sample(self._rng, 4 * n)
        if self._best[1]:
            self.stage = "climb"
            start[:] = SPACE.parse(self._best[1])
            start = SPACE.neighbours(self._rng, SPACE.neighbours(self._rng, start))
        new = [c for c in SPACE.unique(start) if SPACE.key(c) not in self._seen][:n]
        return np.array(new, dtype=np.int32).reshape(-1, len(SPACE.knobs))

    def tell(self, trials) -> None:
        self.told.append([trial.config for trial in trials])
        self._seen.update(trial.config for trial in trials)
        self._best = min([self._best, *((t.latency_s, t.config) for t in trials if t.ok)])


class Killed(Exception):  # noqa: N818
    """What an interrupted run dies of."""


def outcomes(trials) -> list:
    """All but the seconds of the model, which are the clock's."""
    return [trial.replace(model_s=0.0) for trial in trials]


def test_budget_is_spent_exactly():
    trials = tune(PROBLEM, Climber(0), ReplayMeasurer.of(TABLE), Budget(trials=30, batch=8))
    assert len(trials) == 30
    assert len({trial.config for trial in trials}) == 30


def test_tuner_is_told_every_batch_in_its_order():
    tuner = Climber(0)
    trials = tune(PROBLEM, tuner, ReplayMeasurer.of(TABLE), Budget(trials=30, batch=8))
    assert [len(batch) for batch in tuner.told] == [8, 8, 8, 6]
    assert [key for batch in tuner.told for key in batch] == [t.config for t in trials]


def test_tuner_that_has_no_more_to_ask_ends_the_loop():
    class Done(Climber):
        def ask(self, n: int):
            return super().ask(n)[: 0 if self.told else n]

    assert len(tune(PROBLEM, Done(0), ReplayMeasurer.of(TABLE), Budget(30, 8))) == 8


def test_failures_count_in_the_budget_and_are_told():
    trials = tune(PROBLEM, Climber(1), ReplayMeasurer.of(TABLE), Budget(60, 20))
    failed = [trial for trial in trials if not trial.ok]
    assert failed
    assert len(trials) == 60


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_same_seed_same_trials(seed):
    runs = [tune(PROBLEM, Climber(seed), ReplayMeasurer.of(TABLE), Budget(20, 6)) for _ in range(2)]
    assert outcomes(runs[0]) == outcomes(runs[1])


@settings(max_examples=40)
@given(seed=st.integers(0, 100), killed_after=st.integers(0, 29))
def test_resumed_run_equals_an_uninterrupted_one(seed, killed_after):
    budget = Budget(trials=30, batch=8)
    whole = tune(PROBLEM, Climber(seed), ReplayMeasurer.of(TABLE), budget)

    kept = []

    def keep_until_killed(trial) -> None:
        if len(kept) == killed_after:
            raise Killed
        kept.append(trial)

    with pytest.raises(Killed):
        tune(PROBLEM, Climber(seed), ReplayMeasurer.of(TABLE), budget, on_trial=keep_until_killed)
    new = []
    resumed = tune(
        PROBLEM,
        Climber(seed),
        ReplayMeasurer.of(TABLE),
        budget,
        recorded={trial.config: trial for trial in kept},
        on_trial=new.append,
    )
    assert outcomes(resumed) == outcomes(whole)
    assert len(kept) + len(new) == 30
    assert not {t.config for t in kept} & {t.config for t in new}
    by_config = {trial.config: trial for trial in resumed}
    assert all(by_config[trial.config] is trial for trial in kept)


def test_what_is_kept_at_once_is_what_is_returned():
    kept = []
    trials = tune(
        PROBLEM, Climber(0), ReplayMeasurer.of(TABLE), Budget(20, 6), on_trial=kept.append
    )
    assert kept == trials


def test_trials_say_which_stage_proposed_them_and_share_its_seconds():
    trials = tune(PROBLEM, Climber(0), ReplayMeasurer.of(TABLE), Budget(20, 6))
    assert [t.stage for t in trials] == ["random"] * 6 + ["climb"] * 14
    assert all(t.model_s > 0 for t in trials)
    assert len({t.model_s for t in trials[:6]}) == 1


def test_measurer_is_given_the_best_latency_so_far():
    given_best = []

    class Watching(ReplayMeasurer):
        def measure(self, task, configs, *, best_s, on_trial=None):
            given_best.append(best_s)
            return super().measure(task, configs, best_s=best_s, on_trial=on_trial)

    trials = tune(PROBLEM, Climber(0), Watching.of(TABLE), Budget(18, 6))
    running = [min((t.latency_s for t in trials[:n]), default=math.inf) for n in (0, 6, 12)]
    assert given_best == running


def test_replay_of_a_configuration_that_was_never_recorded_is_invalid():
    (trial,) = ReplayMeasurer.of([]).measure(TASK, ["0.0.0.0.0"], best_s=math.inf)
    assert trial.status is Status.INVALID
    assert "not in the recorded table" in trial.error


def test_replay_answers_with_the_first_of_several_trials():
    twice = [TABLE[0], TABLE[0].replace(build_s=9.0)]
    assert ReplayMeasurer.of(twice).measure(TASK, [TABLE[0].config], best_s=1.0) == [TABLE[0]]


@pytest.mark.parametrize("wrong", [{"trials": -1}, {"trials": 1.5}, {"trials": 1, "batch": 0}])
def test_budget_of_less_than_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="must be a whole number, at least"):
        Budget(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"repeats": 0},
        {"cache_flush_mb": -1.0},
        {"throttle_wait_s": -0.1},
        {"min_repeat_ms": 0.0},
        {"build_timeout_s": -1.0},
        {"quick_factor": 0.0},
    ],
)
def test_senseless_measuring_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=rf"measure\.{next(iter(wrong))}="):
        MeasureOptions(**wrong)


def test_a_tuner_that_cannot_learn_from_before_is_not_told(tmp_path):
    with pytest.raises(ValueError, match=r"history\.local"):
        tune(PROBLEM, Climber(0), ReplayMeasurer.of(TABLE), Budget(trials=8), known=TABLE[:3])


@pytest.mark.parametrize("name", ["seconds", "stop_gain"])
@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, "many", True])
def test_seconds_and_gains_are_positive_numbers(name, value):
    with pytest.raises(ValueError, match=rf"budget\.{name}="):
        Budget(8, **{name: value})
