"""The schedule of transfer, whatever its model is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
import toys

from dgtl.core.records import Status
from dgtl.features.problem import Problem
from dgtl.measure.replay import ReplayMeasurer
from dgtl.methods import transfer, transfer_tuner
from dgtl.methods.base import stream
from dgtl.methods.loop import Budget, tune
from dgtl.methods.transfer import Transfer
from dgtl.search.annealing import AnnealingOptions, anneal

if TYPE_CHECKING:
    from dgtl.methods.batch import Observations

TASK = toys.dense(rows=1, columns=2, depth=2)
SPACE = toys.space_of(TASK)
PROBLEM = Problem(TASK, SPACE)
TRIALS = toys.recorded(TASK, SPACE)


class AnyRanking:
    """An estimator that ranks by something, whatever it is told."""

    def predict_mean(self, features):
        x = np.asarray(features, dtype=np.float64)
        return x @ np.random.default_rng(0).normal(size=x.shape[1])


@dataclasses.dataclass
class InSubbatches(Transfer):
    """Runs four at a time and remembers its observations."""

    name = "in_subbatches"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.source = AnyRanking()
        self.observed: list[Observations] = []

    def fit_source(self, sources, cache, seed):
        return self.source

    def adapt(self, prior, features, gflops, seed):
        return self.source

    def subbatch_size(self, n: int) -> int:
        return min(n, 4)

    def select_batch(self, model, features, n, observed, rng):
        self.observed.append(observed)
        return super().select_batch(model, features, n, observed, rng)


def searched(batch: int, trials=TRIALS, **changes) -> tuple[InSubbatches, list]:
    method = InSubbatches(
        **{"initial_set": 64, "tuning_set": 10, "final": 6, "rounds": 2} | changes
    )
    tuner = method.tuner(PROBLEM, np.random.SeedSequence(0))
    budget = Budget(method.planned_trials, batch)
    return method, tune(PROBLEM, tuner, ReplayMeasurer.of(trials), budget)


def test_each_choice_observes_what_ran_since_the_model_was_tuned() -> None:
    method, trials = searched(batch=64)
    stages = ["tuning_set"] * 10 + ["search_1"] * 6 + ["search_2"] * 6
    assert [trial.stage for trial in trials] == stages
    features = PROBLEM.features(SPACE.of_trials(trials))
    ran = np.array([trial.ok for trial in trials])
    gflops = np.array([PROBLEM.gflops(trial) for trial in trials])
    parts = [(0, 0), (10, 10), (10, 14), (16, 16), (16, 20)]
    assert len(method.observed) == len(parts)
    assert not ran.all()
    for observed, (begin, end) in zip(method.observed, parts, strict=True):
        since = np.flatnonzero(ran[:end])
        assert observed.best_gflops == (gflops[since].max() if len(since) else None)
        since = since[since >= begin]
        np.testing.assert_array_equal(observed.gflops, gflops[since])
        np.testing.assert_array_equal(observed.features, features[since])


def test_the_plan_ends_where_it_says_the_last_candidate_included() -> None:
    """Searches of five, four of them settled together and then one."""
    method = InSubbatches(initial_set=12, tuning_set=6, final=5, rounds=2)
    tuner = method.tuner(PROBLEM, np.random.SeedSequence(0))
    trial_of = {trial.config: trial for trial in TRIALS}
    asked = []
    while len(configs := tuner.ask(64)):
        asked.append(len(configs))
        tuner.tell([trial_of[key] for key in SPACE.keys(configs)])
    assert asked == [6, 4, 1, 4, 1]
    assert sum(asked) == method.planned_trials


def test_failures_are_not_observed() -> None:
    broken = [trial.replace(status=Status.RUN_ERROR, run_times_s=()) for trial in TRIALS]
    method, trials = searched(batch=64, trials=broken)
    assert len(trials) == 22
    assert all(
        len(observed.gflops) == 0 and observed.best_gflops is None for observed in method.observed
    )


def test_the_measured_batch_does_not_change_what_is_run() -> None:
    whole, parts = (searched(batch)[1] for batch in (64, 3))
    assert [trial.config for trial in whole] == [trial.config for trial in parts]
    assert len({trial.config for trial in whole}) == len(whole)


@pytest.mark.parametrize("by", ["model", "random"])
@pytest.mark.parametrize("batch", [7, 64])
def test_a_space_smaller_than_the_plan_is_tried_as_a_whole(
    by: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a preference chains walk everywhere.
    monkeypatch.setattr(AnyRanking, "predict_mean", lambda _, features: np.zeros(len(features)))
    _, trials = searched(batch, tuning_set=150, initial_set=200, tuning_set_by=by)
    assert {trial.stage for trial in trials} == {"tuning_set"}
    _, trials = searched(batch, tuning_set=64, final=SPACE.size, rounds=1, tuning_set_by=by)
    assert {trial.config for trial in trials} == {trial.config for trial in TRIALS}
    assert len(trials) == SPACE.size


# --- what is run, against a toy whose answer is known ----------------------------------------


def by_score(features: np.ndarray, penalty: np.ndarray | float = 0.0) -> np.ndarray:
    return np.argsort(-(AnyRanking().predict_mean(features) + penalty), kind="stable")


def initial_set(method: InSubbatches, seed: int = 0) -> np.ndarray:
    """What `TransferTuner` draws from the first stream of its seed."""
    rng = np.random.default_rng(stream(np.random.SeedSequence(seed), 0))
    return SPACE.sample_distinct(rng, method.initial_set)


def test_the_tuning_set_is_the_top_predictions_of_the_initial_set() -> None:
    method, trials = searched(batch=64)
    drawn = initial_set(method)
    best = drawn[by_score(PROBLEM.features(drawn))][: method.tuning_set]
    assert [trial.config for trial in trials[: method.tuning_set]] == SPACE.keys(best)
    expected = np.exp2(AnyRanking().predict_mean(PROBLEM.features(best)))
    predicted = [trial.predicted_gflops for trial in trials[: method.tuning_set]]
    np.testing.assert_allclose(np.array(predicted, float), expected, rtol=1e-4)


def test_a_random_tuning_set_is_the_first_of_the_initial_set_and_unpredicted() -> None:
    method, trials = searched(batch=64, tuning_set_by="random")
    first = SPACE.keys(initial_set(method)[: method.tuning_set])
    assert [trial.config for trial in trials[: method.tuning_set]] == first
    assert all(trial.predicted_gflops is None for trial in trials[: method.tuning_set])


class UnrolledFails:
    """A validity for which what is unrolled far hardly ever runs."""

    def penalty(self, features):
        unroll = PROBLEM.features.names.index("unroll")
        return np.where(np.asarray(features)[:, unroll] > 5, -50.0, 0.0)


def test_what_hardly_runs_is_ranked_behind_what_does() -> None:
    method = InSubbatches(initial_set=64, tuning_set=10)
    method.validity = UnrolledFails()
    features = PROBLEM.features(initial_set(method))
    penalty = UnrolledFails().penalty(features)
    np.testing.assert_array_equal(
        method.score(method.source, features), AnyRanking().predict_mean(features) + penalty
    )
    tuner = method.tuner(PROBLEM, np.random.SeedSequence(0))
    best = initial_set(method)[by_score(features, penalty)][:10]
    np.testing.assert_array_equal(tuner.ask(10), best)


class UnrolledIsSlow:
    """A build time that what is unrolled far has two doublings of."""

    def doublings(self, features):
        return -UnrolledFails().penalty(features) / 25.0


def test_a_doubling_of_the_build_time_costs_what_is_asked_for_it() -> None:
    method = InSubbatches(initial_set=64, tuning_set=10, build_penalty=0.3)
    features = PROBLEM.features(initial_set(method))
    plain = method.score(method.source, features)
    method.build_time = UnrolledIsSlow()
    cost = 0.3 * UnrolledIsSlow().doublings(features)
    assert set(cost) == {0.0, 0.6}
    np.testing.assert_array_equal(method.score(method.source, features), plain - cost)


def test_build_times_are_learned_where_they_matter(tmp_path) -> None:
    source = toys.tuned(TASK, SPACE, 60, seed=0)
    trials = tuple(trial.replace(build_s=0.5) for trial in source.trials)
    for penalty in (0.0, 0.2):
        method = InSubbatches(build_penalty=penalty)
        method.fit_source = lambda *_: AnyRanking()
        method.prepare([dataclasses.replace(source, trials=trials)], tmp_path, seed=0)
        assert (method.build_time is not None) == (penalty > 0.0)


@pytest.mark.parametrize("penalty", [-0.1, float("nan"), float("inf")])
def test_a_penalty_of_builds_is_a_number_that_is_not_negative(penalty) -> None:
    with pytest.raises(ValueError, match="build_penalty"):
        InSubbatches(build_penalty=penalty)


def test_chains_start_at_the_fastest_trials_and_then_at_the_best_predictions(monkeypatch) -> None:
    starts = []

    def annealed(space, score, rng, **options):
        starts.append(options)
        return anneal(space, score, rng, **options)

    monkeypatch.setattr(transfer_tuner, "anneal", annealed)
    options = AnnealingOptions(chains=16, steps=5, temperature=0.1)
    method, trials = searched(batch=64, annealing=options)
    for call, count in zip(starts, (10, 16), strict=True):
        before = trials[:count]
        fastest = sorted((t for t in before if t.ok), key=lambda t: t.latency_s)[:4]
        drawn = initial_set(method)
        predicted = drawn[by_score(PROBLEM.features(drawn))]
        keys = [*(t.config for t in fastest), *SPACE.keys(predicted)][:16]
        assert SPACE.keys(call["start"]) == keys
        assert set(call["exclude"]) == {t.config for t in before}


def test_the_winners_of_the_annealing_are_run_in_their_order(monkeypatch) -> None:
    found = []

    def annealed(*arguments, **options):
        found.append(anneal(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(transfer_tuner, "anneal", annealed)
    method, trials = searched(batch=64)
    for begin, (configs, scores) in zip((10, 16), found, strict=True):
        assert [t.config for t in trials[begin : begin + 6]] == SPACE.keys(configs)[: method.final]
        assert (np.diff(scores) <= 0).all()


def test_without_a_model_a_search_is_random_and_tries_nothing_twice(monkeypatch) -> None:
    monkeypatch.setattr(InSubbatches, "adapt", lambda *_: None)
    _, trials = searched(batch=64)
    assert len({trial.config for trial in trials}) == len(trials) == 22
    assert all(trial.predicted_gflops is None for trial in trials[10:])


def test_too_few_source_trials_teach_nothing(tmp_path) -> None:
    few = toys.tuned(TASK, SPACE, 12, seed=0)
    many = toys.tuned(TASK, SPACE, 40, seed=0)
    method = InSubbatches()
    method.prepare([few], tmp_path, seed=0)
    assert method.source is None
    assert method.validity is None
    method.fit_source = lambda *_: AnyRanking()
    method.prepare([many], tmp_path, seed=0)
    assert isinstance(method.source, AnyRanking)
    assert method.validity is not None


def test_as_few_source_trials_as_teach_are_told_with_the_cache_and_the_seed(tmp_path) -> None:
    told = []
    method = InSubbatches()
    method.fit_source = lambda *given: told.append(given) or AnyRanking()
    method.cached_training_s = 9.0
    sources = [toys.tuned(TASK, SPACE, 40, seed=0)]
    ran = [trial for trial in sources[0].trials if trial.ok][: transfer.MIN_SOURCE_ROWS]
    enough = [dataclasses.replace(sources[0], trials=tuple(ran))]
    method.prepare(enough, tmp_path, seed=5)
    assert told == [(enough, tmp_path, 5)]
    assert method.cached_training_s == 0.0
    method.prepare([dataclasses.replace(sources[0], trials=tuple(ran[1:]))], tmp_path, seed=5)
    assert len(told) == 1
    assert method.source is method.validity is None


def test_which_configurations_run_is_learned_with_the_seed(tmp_path, monkeypatch) -> None:
    told = []
    monkeypatch.setattr(transfer, "Validity", lambda *data, seed: told.append((*data, seed)))
    method = InSubbatches()
    sources = [toys.tuned(TASK, SPACE, 40, seed=0)]
    method.prepare(sources, tmp_path, seed=5)
    ((features, ok, seed),) = told
    assert seed == 5
    np.testing.assert_array_equal(ok, [trial.ok for trial in sources[0].trials])
    assert len(features) == len(ok)


def test_a_budget_that_is_not_the_plan_is_remarked() -> None:
    method = InSubbatches(tuning_set=10, final=6, rounds=2)
    assert method.planned_trials == 22
    assert method.remarks(22) == []
    assert method.remarks(16) == []
    (short,) = method.remarks(15)
    (long,) = method.remarks(23)
    plan = "a tuning set of 10 and 2 x 6 trials"
    assert short == f"budget.trials=15 ends before the plan does: {plan}"
    assert long == (
        f"budget.trials=23 is more than the plan, {plan}: "
        "budget.tuning_set, budget.final and budget.rounds make it longer"
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"tuning_set_by": "luck"},
        {"initial_set": 0},
        {"final": 0},
        {"rounds": -1},
        {"initial_set": 8, "tuning_set": 9},
    ],
)
def test_impossible_schedules_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        InSubbatches(**bad)


@pytest.mark.parametrize("n_known", [0, 3, 12])
def test_what_is_known_stands_for_the_tuning_set_and_is_never_proposed(n_known):
    """Known is what the tuner would propose first."""
    method = InSubbatches(initial_set=64, tuning_set=8, final=8, rounds=1)

    def run(known):
        tuner = method.tuner(PROBLEM, np.random.SeedSequence(0))
        measurer = ReplayMeasurer.of(TRIALS)
        return tune(PROBLEM, tuner, measurer, Budget(trials=64), known=known)

    known = [trial for trial in run(()) if trial.ok][:n_known]
    assert len(known) == n_known
    trials = run(known)
    stages = [trial.stage for trial in trials]
    assert stages.count("tuning_set") == max(8 - n_known, 0)
    assert stages.count("search_1") == 8
    assert not {trial.config for trial in trials} & {trial.config for trial in known}


def test_choices_are_the_best_of_the_source_model() -> None:
    """Annealing sees all of so small a space."""
    method = InSubbatches(initial_set=64, tuning_set=10)
    seed = np.random.SeedSequence(0)
    keys = SPACE.keys(SPACE.at(range(SPACE.size)))
    scores = AnyRanking().predict_mean(PROBLEM.features(SPACE.parse_all(keys)))
    best = [keys[i] for i in np.argsort(-scores, kind="stable")[:5]]
    found = method.choices(PROBLEM, seed, 5)
    assert set(found) == set(best)
    assert found == method.choices(PROBLEM, seed, 5)


def test_nothing_is_chosen_where_nothing_was_learned() -> None:
    method = InSubbatches(initial_set=64, tuning_set=10)
    method.source = None
    with pytest.raises(ValueError, match=r"budget\.trials=0: there are no trials to learn from"):
        method.choices(PROBLEM, np.random.SeedSequence(0), 5)
