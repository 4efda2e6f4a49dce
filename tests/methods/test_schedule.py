"""Whose turn it is, with tuners and machines of which all is known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from dgtl.methods.even import Even
from dgtl.methods.expected import DECAY, FADE, TRUE, USUAL, Expected, promised_s
from dgtl.methods.gradient import FAILED_STEPS, Gradient
from dgtl.methods.loop import Budget, TaskSearch
from dgtl.methods.schedule import search

TASK = toys.dense()
MANY = Budget(1000, batch=2)


class Layer:
    """A task, its tuner and its machine: what each step finds, expects and takes.

    Args:
        name: of the task.
        latencies: best latency [s] of each step, None where all fails; the last goes on for ever.
        gains: expected of each step likewise; None: the tuner does not say.
        step_s: seconds of a step.
        steps: after which the tuner is done.
    """

    stage = "search"

    def __init__(self, name, latencies, gains=None, *, weight=1, flops=1.0, step_s=1.0, steps=999):
        self.name, self.latencies, self.gains = name, latencies, gains
        self.step_s, self.steps, self.told = step_s, steps, 0
        task = SimpleNamespace(
            key=name, weight=weight, flops=flops, bytes=0, shape_key=name, accesses=()
        )
        space = SimpleNamespace(keys=list, to_json=lambda: "")
        self.problem = SimpleNamespace(task=task, space=space)
        if gains is not None:
            self.expected_gain = lambda n: _at(gains, self.told)

    def ask(self, n):
        self.asked = n
        return [f"{self.told}.{i}" for i in range(n if self.told < self.steps else 0)]

    def tell(self, trials):
        self.told += 1

    def measure(self, task, configs, *, best_s, on_trial):
        wall_s, found = self.step_s / self.asked, []
        for config in configs:
            latency_s = _at(self.latencies, int(config.split(".")[0]))
            found.append(toys.trial(TASK, config, latency_s, wall_s=wall_s, model_s=0.0))
            on_trial(found[-1])
        return found

    def search(self, **more) -> TaskSearch:
        return TaskSearch(self.problem, self, self, **more)


def _at(values, step):
    return values[min(step, len(values) - 1)]


def turns(scheduler, *layers: Layer, most: int = 30, **more) -> str:
    """Names of the layers in the order of their steps."""
    tasks = [layer.search(**more) for layer in layers]
    names: list[str] = []
    try:
        search(tasks, scheduler, lambda place: names.append(_named(layers, place, names, most)))
    except StopIteration:
        names.pop()
    return "".join(names)


def _named(layers, place, names, most) -> str:
    if len(names) >= most:
        names.append("")
        raise StopIteration
    return layers[place].name


def test_even_gives_each_task_its_trials_one_after_another():
    a, b = Layer("a", [1.0]), Layer("b", [1.0], flops=9.0)
    tasks = [a.search(), b.search()]
    places = []
    search(tasks, Even(Budget(5, batch=2)), places.append)
    assert places == [0, 0, 0, 1, 1, 1]
    assert [len(task.trials) for task in tasks] == [5, 5]


def test_even_goes_on_with_the_next_where_a_tuner_is_done():
    assert turns(Even(Budget(6, 2)), Layer("a", [1.0], steps=1), Layer("b", [1.0])) == "aabbb"


def test_even_shares_what_is_left_of_the_seconds_the_costliest_first():
    """Of 12 s a share is 4; the dearest takes 6, of the 6 left a share is 3, then 3."""
    layers = Layer("a", [1.0]), Layer("b", [1.0], flops=9.0, step_s=3.0), Layer("c", [1.0])
    assert turns(Even(Budget(1000, 2, seconds=12.1)), *layers) == "bb" + "aaaa" + "ccc"


def test_even_takes_what_is_recorded_of_a_whole_task_without_asking_its_tuner():
    layer = Layer("a", [1.0])
    recorded = {f"{i}": toys.trial(TASK, f"{i}", 1.0) for i in range(9)}
    task = layer.search(recorded=recorded)
    search([task], Even(Budget(6, 2)))
    assert [trial.config for trial in task.trials] == list("012345")
    assert layer.told == 0


def test_greedy_schedulers_begin_with_the_costliest_and_give_each_a_step():
    layers = [Layer(name, [1.0], flops=flops) for name, flops in (("a", 1), ("b", 3), ("c", 2))]
    for scheduler in (Gradient(MANY), Expected(MANY)):
        assert turns(scheduler, *layers, most=3) == "bca"


def test_a_fall_is_that_of_metaschedule():
    """alpha (t(n - 3) - t(n)) / 3 + (1 - alpha) t(n) / n with alpha = 0.2, by hand."""
    task = Layer("a", [8.0, 8.0, 5.0, 2.0, 2.0]).search()
    falls = []
    for _ in range(5):
        task.step(1)
        falls.append(Gradient(MANY).saving([task], 0))
    assert falls == pytest.approx(
        [
            0.8 * 8.0,
            0.8 * 8.0 / 2,
            0.8 * 5.0 / 3,
            0.2 * (8.0 - 2.0) / 3 + 0.8 * 2.0 / 4,
            0.2 * (8.0 - 2.0) / 3 + 0.8 * 2.0 / 5,
        ]
    )


def test_gradient_takes_turns_by_weight_and_latency():
    """0.8 w t / n with w t of 3 and 1: a, b, then a while 3 / n > 1, ties to the first."""
    layers = Layer("a", [1.0], weight=3), Layer("b", [1.0])
    assert turns(Gradient(MANY), *layers, most=8) == "abaaabaa"


@given(
    st.lists(
        st.tuples(
            st.integers(1, 5), st.floats(1e-3, 1.0), st.floats(0.0, 0.5), st.floats(0.5, 9.0)
        ),
        min_size=2,
        max_size=5,
    )
)
def test_expected_takes_what_saves_most_in_a_second(rows):
    """weight x latency x gain / seconds; as much comes true of all."""
    layers = [
        Layer(str(i), [latency_s], [gain], weight=weight, step_s=step_s)
        for i, (weight, latency_s, gain, step_s) in enumerate(rows)
    ]
    worth = [w * t * g / s for w, t, g, s in rows]
    taken = turns(Expected(MANY), *layers, most=len(rows) + 1)[-1]
    assert worth[int(taken)] == pytest.approx(max(worth), rel=1e-2)


def test_less_of_what_is_expected_comes_true_with_each_step():
    task = Layer("a", [1.0], [0.5]).search()
    for steps in (1, 2, 3):
        task.step(2)
        saved = Expected(MANY).saving([task], 0)
        assert saved == pytest.approx(0.5 * TRUE / steps**FADE, rel=1e-2)


def test_where_a_tuner_says_nothing_the_usual_counts():
    task = Layer("a", [2.0], weight=3).search()
    for steps in (1, 2, 3):
        task.step(2)
        saved = Expected(MANY).saving([task], 0)
        assert saved == pytest.approx(3 * 2.0 * USUAL / steps**DECAY, rel=1e-2)


def test_equal_savings_go_to_the_costliest():
    layers = Layer("a", [1.0], [0.1]), Layer("b", [1.0], [0.1], flops=2.0)
    assert turns(Gradient(MANY), *layers, most=3) == "bab"


def test_a_search_stops_where_little_is_expected():
    """After two steps of a second, for a tenth of them save nothing any more."""
    layer = Layer("a", [1.0], [0.5, 0.5, 1e-9])
    assert turns(Expected(Budget(1000, 2, stop_gain=2e-3)), layer) == "aa"
    assert turns(Expected(MANY), Layer("a", [1.0], [0.5, 0.5, 1e-9])) == "a" * 30


def test_what_is_ahead_is_a_step_of_each_layer_and_as_much_again_where_there_is_time():
    """Steps of 2 s and 1 s, the second of which saves more: 0.3 s a second, the first 0.1."""
    tasks = [
        SimpleNamespace(measured_s=4.0, best_history_s=[1.0, 1.0]),
        SimpleNamespace(measured_s=1.0, best_history_s=[1.0]),
    ]
    saved = {0: 0.1, 1: 0.3}
    for ahead_s, known_s in ((0.5, 0.15), (1.0, 0.3), (2.0, 0.4), (3.0, 0.5), (6.0, 1.0)):
        assert promised_s(tasks, saved, ahead_s) == pytest.approx(known_s)


def test_a_layer_that_never_ran_does_not_end_the_search_of_the_others():
    layers = Layer("a", [None]), Layer("b", [1.0, 0.5], [0.4])
    taken = turns(Expected(Budget(1000, 2, stop_gain=1e-6)), *layers, most=12)
    assert len(taken) == 12


def test_a_layer_of_which_nothing_runs_waits_for_the_others():
    for scheduler in (Gradient(MANY), Expected(MANY)):
        layers = Layer("a", [None], flops=2.0), Layer("b", [1.0], steps=4)
        taken = turns(scheduler, *layers, most=12)
        assert taken.startswith("ab" + "a" * (FAILED_STEPS - 1) + "bbb")
        assert set(taken[8:]) == {"a"}  # `b` is asked once more, and is done


def test_layers_of_which_nothing_runs_take_turns():
    layers = Layer("a", [None]), Layer("b", [None])
    assert turns(Gradient(MANY), *layers, most=10) == "ab" + "aabb" + "abab"


def test_an_expectation_of_what_never_ran_spoils_nothing():
    layer = Layer("a", [None, None, None, None, 1.0, 0.5], [0.1])
    expected = Expected(MANY)
    task = layer.search()
    for _ in range(7):
        _, n = expected.turn([task])
        task.step(n)
    assert math.isfinite(expected.saving([task], 0))


def test_steps_that_took_no_time_are_no_division_by_zero():
    task = Layer("a", [1.0], [0.1]).search()
    task.step(2)
    task.trials = [trial.replace(wall_s=0.0, model_s=0.0) for trial in task.trials]
    assert Expected(MANY).turn([task]) == (0, 2)


def test_trials_in_all_are_those_of_the_budget():
    tasks = [Layer("a", [1.0], weight=3).search(), Layer("b", [1.0]).search()]
    search(tasks, Gradient(Budget(7, batch=4)))
    assert sum(len(task.trials) for task in tasks) == 14


def test_a_search_ends_with_the_step_in_which_its_seconds_do():
    tasks = [Layer("a", [1.0]).search(), Layer("b", [1.0]).search()]
    search(tasks, Gradient(Budget(1000, 2, seconds=3.5)))
    assert sum(len(task.best_history_s) for task in tasks) == 4


LAYERS = st.lists(
    st.tuples(
        st.lists(st.none() | st.floats(0.1, 1.0), min_size=1, max_size=4),
        st.none() | st.lists(st.floats(0.0, 0.5), min_size=1, max_size=4),
        st.integers(1, 4),
        st.floats(0.5, 5.0),
        st.integers(1, 6),
    ),
    min_size=1,
    max_size=4,
)


@given(rows=LAYERS, killed=st.integers(0, 20), kind=st.sampled_from([Even, Gradient, Expected]))
def test_a_search_that_goes_on_decides_as_before(rows, killed, kind):
    budget = Budget(8, batch=2, stop_gain=1e-3 if kind is Expected else None)

    def made():
        return [
            Layer(str(i), latencies, gains, weight=weight, step_s=step_s, steps=steps)
            for i, (latencies, gains, weight, step_s, steps) in enumerate(rows)
        ]

    def run(logs):
        tasks = [x.search(recorded=log) for x, log in zip(made(), logs, strict=True)]
        places = []
        search(tasks, kind(budget), places.append)
        return places, [[t.config for t in task.trials] for task in tasks], tasks

    places, configs, tasks = run([{}] * len(rows))
    order = {}  # the trials of the whole run in the order in which they were made
    seen = [0] * len(rows)
    for place in places:
        step = tasks[place].trials[seen[place] : seen[place] + 2]
        seen[place] += len(step)
        order |= {(place, trial.config): trial for trial in step}
    kept = list(order.items())[:killed]
    logs = [{c: t for (p, c), t in kept if p == place} for place in range(len(rows))]
    again = run(logs)
    assert again[1] == configs
    if kind is not Even:  # which passes over what is recorded whole
        assert again[0] == places


def test_an_interruption_leaves_what_was_found():
    layer = Layer("a", [1.0])
    task = layer.search()
    task.step(2)
    whole = layer.measure

    def interrupted(task, configs, *, best_s, on_trial):
        whole(task, configs[:1], best_s=best_s, on_trial=on_trial)
        raise KeyboardInterrupt

    layer.measure = interrupted
    with pytest.raises(KeyboardInterrupt):
        search([task], Gradient(MANY))
    assert [trial.config for trial in task.trials] == ["0.0", "0.1", "1.0"]


def test_what_no_step_took_is_taken_where_a_search_is_cut_short():
    recorded = {c: toys.trial(TASK, c, 1.0) for c in ("0.0", "0.1", "1.0")}
    task = Layer("a", [1.0]).search(recorded=recorded)
    task.step(2)
    task.take_rest()
    assert [trial.config for trial in task.trials] == ["0.0", "0.1", "1.0"]
