"""What `model=dgp` adds to the schedule: which candidates run together, and what they rest on.

What it and `model=dgp_paper` learn from, and with what settings, is told by stand-ins for models.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import landscape
import numpy as np
import pytest
import toys

from dgtl.features.dataset import layers_of, source_data
from dgtl.methods import dgp, dgp_paper
from dgtl.methods.batch import Observations
from dgtl.methods.dgp import DGP
from dgtl.methods.dgp_paper import PaperDGP
from dgtl.models.deep_gp.map import ClosedFormMAP
from dgtl.models.deep_gp.model import DeepGP, DGPConfig
from dgtl.models.stacked import StackConfig, StackedDGP, TunedDGP
from dgtl.search.acquisition import CANDIDATES

N = 12
NOTHING = Observations(np.empty((0, 1), np.float32), np.empty(0), None)


class Known(TunedDGP):
    """Predicts what it is given; a candidate's only feature is its number."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        self.means, self.covariance = mean, covariance
        self.observed: list = []

    def predict_mean(self, features):
        return self.means[np.asarray(features)[:, 0].astype(int)]

    def joint(self, features, observed=None):
        self.observed.append(observed)
        rows = np.asarray(features)[:, 0].astype(int)
        return self.means[rows], self.covariance[np.ix_(rows, rows)]


class Fails:
    """A validity that says which candidates hardly ever run."""

    def __init__(self, *rows: int) -> None:
        self.rows = rows

    def penalty(self, features):
        return np.where(np.isin(np.asarray(features)[:, 0], self.rows), -10.0, 0.0)


def numbered(n: int = N) -> np.ndarray:
    return np.arange(n, dtype=np.float32)[:, None]


def selected(method: DGP, model: Known, n: int, observed: Observations = NOTHING):
    choice = method.select_batch(model, numbered(), n, observed, np.random.default_rng(0))
    return choice.rows, choice.log2_gflops


def test_a_greedy_batch_is_the_top_predictions_in_their_order() -> None:
    mean = np.random.default_rng(1).permutation(N).astype(float)
    rows, log2 = selected(DGP(greedy_fraction=1.0), Known(mean, np.eye(N)), 5)
    assert rows.tolist() == np.argsort(-mean)[:5].tolist()
    np.testing.assert_array_equal(log2, mean[rows])


def test_half_of_a_batch_are_top_predictions_and_the_rest_what_may_be_better_still() -> None:
    """The last candidate is poor on average but may be anything."""
    mean = np.linspace(5.0, 4.0, N)
    mean[-1] = 3.0
    variance = np.full(N, 1e-4)
    variance[-1] = 9.0
    rows, _ = selected(DGP(greedy_fraction=0.5), Known(mean, np.diag(variance)), 4)
    assert rows[:2].tolist() == [0, 1]
    assert rows[2] == N - 1


def test_candidates_that_hardly_run_come_last() -> None:
    method = DGP(greedy_fraction=1.0)
    method.validity = Fails(0, 1)
    mean = np.linspace(5.0, 4.0, N)
    rows, _ = selected(method, Known(mean, np.eye(N)), N)
    assert set(rows[-2:].tolist()) == {0, 1}
    method = DGP(greedy_fraction=0.0)
    method.validity = Fails(0)
    assert selected(method, Known(mean, 1e-4 * np.eye(N)), 1)[0].tolist() == [1]


class Slow:
    """A build time of which some candidates have three doublings."""

    def __init__(self, *rows: int) -> None:
        self.rows = rows

    def doublings(self, features):
        return np.where(np.isin(np.asarray(features)[:, 0], self.rows), 3.0, 0.0)


@pytest.mark.parametrize("greedy_fraction", [0.0, 1.0])
def test_what_takes_long_to_build_must_be_so_much_better(greedy_fraction) -> None:
    """The first candidate is better by 0.5, the second by 0.7; a doubling costs 0.2."""
    mean = np.linspace(4.0, 3.9, N)
    mean[:2] = 4.5, 4.7
    method = DGP(greedy_fraction=greedy_fraction, build_penalty=0.2)
    model = Known(mean, 1e-6 * np.eye(N))
    assert selected(method, model, 3)[0].tolist() == [1, 0, 2]
    method.build_time = Slow(0, 1)
    rows, log2 = selected(method, model, 3)
    assert rows.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(log2, mean[rows])


def test_the_joint_prediction_is_conditioned_on_what_was_observed() -> None:
    model = Known(np.zeros(N), np.eye(N))
    observed = Observations(numbered(3), np.array([1.0, 2.0, 3.0]), 3.0)
    selected(DGP(), model, 2, observed)
    ((features, gflops),) = model.observed
    np.testing.assert_array_equal(features, observed.features)
    np.testing.assert_array_equal(gflops, observed.gflops)


def test_the_incumbent_moves_the_choice_to_what_may_beat_it() -> None:
    """A sure 1 against a gamble around 0, once 2^3 has been found."""
    variance = np.full(N, 1e-6)
    variance[-1] = 4.0
    mean = np.full(N, -9.0)
    mean[0], mean[-1] = 1.0, 0.0
    method, model = DGP(greedy_fraction=0.0), Known(mean, np.diag(variance))
    found = Observations(numbered(0), np.empty(0), 8.0)
    assert selected(method, model, 1, found)[0].tolist() == [N - 1]


def test_no_spread_leaves_the_order_of_the_means() -> None:
    mean = np.linspace(1.0, 0.0, N)
    rows, _ = selected(DGP(greedy_fraction=0.0, covariance_scale=0.0), Known(mean, np.eye(N)), 1)
    assert rows.tolist() == [0]


def test_more_candidates_are_seen_than_run_and_a_few_run_at_a_time_once_there_is_a_source() -> None:
    method = DGP(update_every=8)
    assert (method.shortlist_size(5), method.subbatch_size(20)) == (5, 20)
    method.source = Known(np.zeros(1), np.eye(1))
    assert (method.shortlist_size(5), method.subbatch_size(20)) == (CANDIDATES, 8)
    assert DGP(update_every=0).subbatch_size(20) == 20
    for every, size in ((0, 20), (1, 1)):
        method.update_every = every
        assert method.subbatch_size(20) == size


@pytest.mark.parametrize(
    "bad",
    [
        {"greedy_fraction": 1.5},
        {"covariance_scale": 2.0},
        {"update_every": -1},
    ],
)
def test_bad_options_are_refused_by_name(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"dgp: {next(iter(bad))}"):
        DGP(**bad)


# --- sources and targets ----------------------------------------------------------------------


class Learner(StackedDGP):
    """Remembers what it was fitted to; five columns wide."""

    def fit(self, features, gflops, **how):
        self.told = (features, gflops, how)

    width = 5

    def predict_mean(self, features):
        return np.full(len(features), 2.0)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What the cache was asked for; a model there took 2.5 s to learn."""
    asked: dict = {}

    def load_or_fit(cache, features, gflops, settings, fit):
        asked.update(cache=cache, data=(features, gflops), settings=settings, model=fit())
        return asked["model"], 2.5

    monkeypatch.setattr(dgp, "StackedDGP", Learner)
    monkeypatch.setattr(dgp, "load_or_fit", load_or_fit)
    return asked


def test_the_source_is_learned_from_all_trials_with_their_task_and_layer(learned) -> None:
    sources = landscape.sources(40)
    twice = [*sources, dataclasses.replace(sources[0], trials=sources[0].trials[:15])]
    method = DGP(network=DGPConfig(steps=7), stack=StackConfig(folds=3))
    source = method.fit_source(twice, Path("a cache"), 11)
    features, gflops, owner = source_data(twice)
    for found in (learned["data"], learned["model"].told[:2]):
        np.testing.assert_array_equal(found[0], features)
        np.testing.assert_array_equal(found[1], gflops)
    how = learned["model"].told[2]
    assert how["seed"] == 11
    np.testing.assert_array_equal(how["task"], owner)
    np.testing.assert_array_equal(how["layer"], layers_of(twice)[owner])
    assert (learned["model"].network, learned["model"].stack) == (method.network, method.stack)
    assert learned["cache"] == Path("a cache")
    assert learned["settings"] == {
        "network": dataclasses.asdict(method.network),
        "stack": dataclasses.asdict(method.stack),
        "seed": 11,
    }
    assert method.cached_training_s == 2.5
    assert source is learned["model"]


def test_the_prior_of_a_target_knows_what_its_configurations_are_like(learned, monkeypatch) -> None:
    monkeypatch.setattr(TunedDGP, "of", lambda *told: told)
    method = DGP()
    assert method.prior(numbered()) is None
    method.source = method.fit_source(landscape.sources(40), Path("unused"), 0)
    like = numbered()
    assert method.prior(like) == (learned["model"], like, None)


def test_a_target_is_tuned_to_by_its_prior(monkeypatch) -> None:
    told: list = []
    monkeypatch.setattr(Known, "adapt", lambda self, *trials: told.append(trials) or "tuned")
    x, gflops = numbered(4), np.arange(1.0, 5.0)
    assert DGP().adapt(Known(np.zeros(1), np.eye(1)), x, gflops, 9) == "tuned"
    assert told == [(x, gflops)]


@pytest.mark.parametrize("make", [DGP, PaperDGP])
def test_without_a_source_the_network_learns_from_the_target_alone(make, monkeypatch) -> None:
    told: list = []
    monkeypatch.setattr(DeepGP, "of_target", lambda *a, **k: told.append((*a, k)) or "alone")
    method, x, gflops = make(), numbered(4), np.ones(4)
    assert method.adapt(None, x, gflops, 3) == "alone"
    assert told == [(method.network, x, gflops, {"seed": 3})]


def test_the_papers_source_is_a_deep_gp_that_is_tuned_by_its_map(monkeypatch) -> None:
    asked: dict = {}

    def load_or_fit(cache, features, gflops, settings, fit):
        asked.update(cache=cache, settings=settings, data=(features, gflops))
        return fit(), 1.5

    monkeypatch.setattr(dgp_paper, "load_or_fit", load_or_fit)
    monkeypatch.setattr(DeepGP, "fit", lambda self, *data, seed: asked.update(fit=(*data, seed)))
    monkeypatch.setattr(DeepGP, "adapt", lambda self, *told, seed: (self, *told, seed))
    method = PaperDGP(network=DGPConfig(steps=7), map=ClosedFormMAP(tau=0.4))
    sources = landscape.sources(40)
    method.source = method.fit_source(sources, Path("a cache"), 11)
    assert method.source.config == method.network
    features, gflops, _ = source_data(sources)
    for found in (asked["data"], asked["fit"][:2]):
        np.testing.assert_array_equal(found[0], features)
        np.testing.assert_array_equal(found[1], gflops)
    assert asked["fit"][2] == 11
    assert asked["settings"] == {"network": dataclasses.asdict(method.network), "seed": 11}
    assert asked["cache"] == Path("a cache")
    assert method.cached_training_s == 1.5
    x, ran = numbered(3), np.ones(3)
    assert method.adapt(method.source, x, ran, 5) == (method.source, x, ran, method.map, 5)


# --- where there is no choice -----------------------------------------------------------------


def test_a_model_without_a_joint_prediction_runs_its_first_candidates() -> None:
    class Plain:
        def predict_mean(self, features):
            return 2.0 * features[:, 0]

    rows, log2 = selected(DGP(), Plain(), 3)
    assert rows.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(log2, [0.0, 2.0, 4.0])


def test_one_candidate_is_chosen_and_none_is_no_trouble() -> None:
    model = Known(np.zeros(N), np.eye(N))
    rng = np.random.default_rng(0)
    for n in (0, 1):
        choice = DGP().select_batch(model, numbered(n), 3, NOTHING, rng)
        assert (choice.rows.tolist(), len(choice.log2_gflops)) == (list(range(n)), n)
    assert len(model.observed) == 1


def test_candidates_that_are_alike_keep_their_order() -> None:
    rows, _ = selected(DGP(greedy_fraction=1.0), Known(np.repeat([1.0, 2.0], N // 2), np.eye(N)), N)
    assert rows.tolist() == [*range(N // 2, N), *range(N // 2)]


def test_what_q_ei_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list = []

    def choose(*given, **first):
        told.append((*given, first))
        return np.array([1, 0])

    monkeypatch.setattr(dgp, "greedy_qei", choose)
    rng = np.random.default_rng(0)
    covariance = np.cov(rng.normal(size=(N, 30)))
    mean = rng.permutation(N).astype(float)
    method = DGP(greedy_fraction=0.4, covariance_scale=0.5)
    method.validity = Fails(3)
    found = Observations(numbered(0), np.empty(0), 8.0)
    choice = method.select_batch(Known(mean, covariance), numbered(), 6, found, rng)
    order = np.argsort(-(mean + np.where(np.arange(N) == 3, -10.0, 0.0)))
    means, covariances, runs, n, incumbent, own, first = told[0]
    np.testing.assert_array_equal(means, mean[order])
    np.testing.assert_array_equal(covariances, 0.5 * covariance[order][:, order])
    np.testing.assert_array_equal(runs, np.where(order == 3, 2.0**-10, 1.0))
    assert (n, incumbent, first) == (6, 3.0, {"first": 2})
    assert own is rng
    np.testing.assert_array_equal(choice.rows, order[[1, 0]])
    np.testing.assert_array_equal(choice.log2_gflops, mean[choice.rows])
    method.select_batch(Known(mean, covariance), numbered(), 6, NOTHING, rng)
    assert told[1][4] is None


class Flat(StackedDGP):
    """Expects 4 GFLOPS of everything."""

    def __init__(self) -> None:
        pass

    def predict_mean(self, features):
        return np.full(len(features), 2.0)


def test_what_is_learned_further_corrects_the_source_for_every_target(monkeypatch) -> None:
    monkeypatch.setattr(TunedDGP, "of", lambda source, like, correction: correction)
    sources = [toys.tuned(toys.dense(), toys.space_of(toys.dense()), 80, 0)]
    features, gflops, _ = source_data(sources)
    method = DGP()
    method.source = Flat()
    method._anchors = features[:0], gflops[:0]
    method.learn_further(sources)
    error = 2.0 + method.prior(features).predict_mean(features) - np.log2(gflops)
    assert np.abs(error).mean() < 0.5


def test_new_tasks_leave_the_source_as_it_is_where_they_say_nothing(learned, monkeypatch) -> None:
    """Anchors are what the source model was fitted to, as multiples of what it expects."""
    monkeypatch.setattr(dgp, "ANCHORS", 30)
    method = DGP()
    sources = landscape.sources(40)
    method.source = method.fit_source(sources, Path("unused"), 0)
    features, ratio = method._anchors
    every, throughput, _ = source_data(sources)
    of = {row.tobytes(): y for row, y in zip(every, throughput, strict=True)}
    assert len(ratio) == 30
    np.testing.assert_allclose(ratio, [of[row.tobytes()] / 4.0 for row in features])


def test_without_a_source_nothing_is_learned_further() -> None:
    method = DGP()
    method.learn_further([toys.tuned(toys.dense(), toys.space_of(toys.dense()), 20, 0)])
    assert method._further is None
