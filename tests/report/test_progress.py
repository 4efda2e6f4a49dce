"""A live display on a terminal, plain lines elsewhere, and honest arithmetic in both."""

import dataclasses
import io

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dgtl.report.plan import LINE_S
from dgtl.report.progress import Planned, Progress, duration
from dgtl.tables.read import read_tables

TASK = toys.dense()
OK, FAILED = toys.trial(TASK, "a", 1e-3), toys.trial(TASK, "b", None)


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def progress_to(terminal: bool = False):
    out, clock = io.StringIO(), Clock()
    console = Console(
        file=out, force_terminal=terminal, width=100, highlight=False, color_system=None
    )
    return Progress(console, clock), out, clock


def test_plain_output_has_no_control_characters():
    progress, out, clock = progress_to()
    with progress:
        progress.stage("tune")
        progress.plan([Planned("dense 8->16", 4), Planned("dense 8->32", 4)])
        progress.task(1)
        for _ in range(4):
            clock.now_s += 20
            progress.trial(OK, 12.0)
    assert "\x1b" not in out.getvalue()
    assert all(line.strip() for line in out.getvalue().splitlines())


def test_plain_lines_say_stage_task_trials_best_failures_and_time_left():
    progress, out, clock = progress_to()
    with progress:
        progress.stage("tune")
        progress.plan([Planned("dense 8->16", 4), Planned("dense 8->32", 6)])
        progress.task(1)
        clock.now_s += 20
        progress.trial(OK, 12.0)
        progress.task(2)
        for trial, gflops in ((OK, 12.0), (FAILED, None)):
            clock.now_s += 30
            progress.trial(trial, gflops)
    assert out.getvalue().splitlines() == [
        "tune ...",
        "task 1/2 dense 8->16: at most 4 trials",
        "task 1/2 dense 8->16: 1/4 trials, best 12.0 GFLOPS",
        "task 1/2 dense 8->16: 1/4 trials, best 12.0 GFLOPS",
        # A task of four trials took 20 seconds, six trials are to come.
        "task 2/2 dense 8->32: at most 6 trials, 30.0 s left",
        "task 2/2 dense 8->32: 1/6 trials, best 12.0 GFLOPS, 25.0 s left",
        "task 2/2 dense 8->32: 2/6 trials, best 12.0 GFLOPS, 1 failed, 20.0 s left",
        "task 2/2 dense 8->32: 2/6 trials, best 12.0 GFLOPS, 1 failed",
        "tune: done in 1:20 min",
    ]


def test_plain_lines_are_few_however_fast_trials_come():
    progress, out, clock = progress_to()
    with progress:
        progress.plan([Planned("dense 8->16", 1000)])
        progress.task(1)
        for _ in range(1000):
            clock.now_s += 0.05
            progress.trial(OK, 1.0)
    assert len(out.getvalue().splitlines()) <= 2 + 50 / 10


def test_best_is_the_highest_and_starts_anew_with_each_task():
    progress, out, _ = progress_to()
    with progress:
        progress.plan([Planned("one", 3), Planned("two", 1)])
        progress.task(1)
        for gflops in (5.0, 9.0, 7.0):
            progress.trial(OK, gflops)
        progress.task(2)
        progress.trial(FAILED, None)
    text = out.getvalue()
    assert "task 1/2 one: 3/3 trials, best 9.0 GFLOPS" in text
    assert "task 2/2 two: 1/1 trials, no valid trial yet, 1 failed" in text


@given(
    plan=st.lists(
        st.builds(Planned, st.just("t"), st.integers(1, 9), st.integers(1, 9)),
        min_size=2,
        max_size=6,
    ),
    seconds=st.floats(0.01, 100),
)
def test_time_left_is_exact_where_every_loop_of_a_trial_costs_the_same(plan, seconds):
    plan = [dataclasses.replace(p, trials=plan[0].trials + p.trials % plan[0].trials) for p in plan]
    progress, _, clock = progress_to()
    progress.plan(plan)
    left_s = seconds * sum(p.trials * p.loops for p in plan)
    for i, planned in enumerate(plan, start=1):
        progress.task(i)
        for _ in range(planned.trials):
            assert progress.left_s == (None if i == 1 else pytest.approx(left_s, abs=1e-6))
            left_s -= seconds * planned.loops
            clock.now_s += seconds * planned.loops
            progress.trial(OK, 1.0)


def test_what_an_earlier_run_left_of_a_task_is_no_ground_for_the_time_of_whole_ones():
    progress, _, clock = progress_to()
    progress.plan([Planned("resumed", 1), Planned("whole", 80), Planned("another", 80)])
    progress.task(1)
    clock.now_s += 60
    progress.trial(OK, 1.0)
    progress.task(2)
    assert progress.left_s is None
    clock.now_s += 40
    progress.trial(OK, 1.0)
    progress.task(3)
    assert progress.left_s == pytest.approx(40)


@pytest.fixture(scope="module")
def shipped():
    """Recorded tables of a dozen layers of all kinds, and what their first trials cost."""
    found = [t for t in read_tables(None).tables if len(t.trials) < 1000]
    return found[:: len(found) // 12][:12]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(12))
def test_after_the_first_task_time_left_is_right_within_a_factor_of_two(shipped, first):
    """Whichever task is the first; trials end a batch at a time, and a task may end early."""
    tables = shipped[first:] + shipped[:first]
    made = [table.trials[: 80 if i % 4 else 72] for i, table in enumerate(tables)]
    progress, _, clock = progress_to()
    progress.plan([Planned.of(table.task, table.task.title, 80) for table in tables])
    progress.task(1)
    for begin in range(0, len(made[0]), 64):
        batch = made[0][begin : begin + 64]
        clock.now_s += sum(trial.search_s for trial in batch)
        for trial in batch:
            progress.trial(trial, 1.0)
            assert progress.left_s is None
    progress.task(2)
    left_s = sum(trial.search_s for trials in made[1:] for trial in trials)
    assert left_s / 2 < progress.left_s < left_s * 2


@pytest.mark.parametrize("terminal", [False, True])
def test_task_with_nothing_left_to_try_says_only_that(terminal):
    progress, out, _ = progress_to(terminal=terminal)
    with progress:
        progress.plan([Planned("resumed", 0)])
        progress.task(1)
    assert "task 1/1 resumed: nothing left to try" in out.getvalue()
    assert "0/0" not in out.getvalue()
    assert "no valid trial" not in out.getvalue()


def test_terminal_shows_stage_task_and_best_live():
    progress, out, clock = progress_to(terminal=True)
    with progress:
        progress.stage("tune")
        progress.plan([Planned("before", 4), Planned("dense 8->16", 4)])
        progress.task(1)
        clock.now_s += 280
        progress.trial(OK, 12.0)
        progress.task(2)
        progress.trial(OK, 12.0)
        progress.message("a line")
    text = out.getvalue()
    assert "\x1b[" in text
    for part in (
        "tune",
        "dense 8->16",
        "1/4 trials",
        "best 12.0 GFLOPS",
        "3:30 min left",
        "a line",
    ):
        assert part in text


def test_terminal_is_given_back_after_an_error():
    progress, out, _ = progress_to(terminal=True)

    def fail() -> None:
        with progress:
            progress.stage("tune")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")
    assert "done" not in out.getvalue()


def test_text_in_brackets_is_printed_as_it_is():
    progress, out, _ = progress_to()
    progress.message("conv2d[red] [1, 2]")
    assert out.getvalue() == "conv2d[red] [1, 2]\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (59.4, "59.4 s"),
        (59.97, "1:00 min"),
        (187, "3:07 min"),
        (3723, "1:02:03 h"),
    ],
)
def test_duration_reads_like_a_clock(seconds, text):
    assert duration(seconds) == text


def test_display_fits_eighty_columns():
    progress, out, clock = progress_to(terminal=True)
    progress.stage("tune")
    name = "depthwise 3x3 1024 112x112 s2 batch 128 #2"
    progress.plan([Planned(name, 1000)] * 20)
    progress.task(18)
    clock.now_s += 4000
    progress.trial(OK, 1.0)
    progress.task(19)
    for trial, gflops in ((OK, 1234.5), (FAILED, None)):
        clock.now_s += 40
        progress.trial(trial, gflops)
    out.seek(0)
    out.truncate()
    Console(file=out, width=80, color_system=None).print(progress._render())
    assert f"task 19/20 {name}" in out.getvalue()
    assert "best 1234.5 GFLOPS  1 failed" in out.getvalue()
    assert "1:08:00 h elapsed, 2:13:12 h left" in out.getvalue()


def took(seconds: float, latency_s: float | None = 1e-3):
    """A trial that cost so much of the search."""
    return toys.trial(TASK, "a", latency_s, wall_s=seconds, model_s=0.0)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("interleaved", [False, True])
def test_limited_time_is_what_is_shown_as_left(terminal, interleaved):
    progress, out, clock = progress_to(terminal)
    with progress:
        progress.stage("tune")
        plan = [Planned("dense 8->16", 1000), Planned("dense 8->32", 1000)]
        progress.plan(plan, interleaved=interleaved, seconds=60.0)
        assert progress.left_s is None
        progress.task(1)
        assert progress.left_s == 60.0
        clock.now_s += 10
        assert progress.left_s == 50.0
        progress.trial(took(10.0), 12.0)
        assert progress.left_s == 50.0
        progress.trial(took(30.0), 12.0)  # simulated: no clock has moved
        assert progress.left_s == 20.0
        progress.task(2)
        clock.now_s += 100  # a batch that is at work goes on
        assert progress.left_s == 0.0
        progress.trial(took(100.0), 12.0)
        assert progress.left_s == 0.0
    assert interleaved or "1000" not in out.getvalue()


def test_steps_of_one_task_are_no_new_tasks():
    progress, out, _ = progress_to()
    with progress:
        progress.plan([Planned("one", 4), Planned("two", 4)])
        for index in (1, 1, 2, 2):
            progress.task(index)
            progress.trial(OK, 1.0)
            progress.trial(OK, 1.0)
    assert out.getvalue().splitlines() == [
        "task 1/2 one: at most 4 trials",
        "task 1/2 one: 4/4 trials, best 1.0 GFLOPS",
        "task 2/2 two: at most 4 trials, 0.0 s left",
        "task 2/2 two: 4/4 trials, best 1.0 GFLOPS",
    ]


LAYERS = [
    Planned("conv 3x3 64->64 56x56 s1", 640, weight=4, flops=1e9),
    Planned("dense 512->1000", 640, weight=1, flops=1e6),
]


def test_interleaved_steps_are_told_as_one_search():
    progress, out, clock = progress_to()
    with progress:
        progress.stage("tune")
        progress.plan(LAYERS, interleaved=True, trials=1280)
        for index, latency_s in ((1, 4e-3), (2, 1e-3), (1, 2e-3), (2, None)):
            progress.task(index)
            clock.now_s += 8
            progress.trial(took(8.0, latency_s), None if latency_s is None else 1.0)
        progress.task(1)
    assert out.getvalue().splitlines() == [
        "tune ...",
        "0 trials of at most 1280, 0 of 2 layers tried, now conv 3x3 64->64 56x56 s1 "
        "(first trials)",
        # 4 x 4 + 1 ms; of 1278 trials each took 8 s
        "2 trials of at most 1280, layers 17.0 ms, now conv 3x3 64->64 56x56 s1 "
        "(1 trials, best 250.0 GFLOPS), 2:50:24 h left",
        "4 trials of at most 1280, 1 failed, layers 9.000 ms, now conv 3x3 64->64 56x56 s1 "
        "(2 trials, best 500.0 GFLOPS), 2:50:08 h left",
        "4 trials of at most 1280, 1 failed, layers 9.000 ms",
        "tune: done in 32.0 s",
    ]


@given(steps=st.lists(st.tuples(st.integers(1, 2), st.floats(0.0, 30.0)), max_size=60))
def test_plain_lines_about_interleaved_steps_are_at_most_one_in_ten_seconds(steps):
    progress, out, clock = progress_to()
    with progress:
        progress.plan(LAYERS, interleaved=True)
        for index, seconds in steps:
            progress.task(index)
            clock.now_s += seconds
            progress.trial(took(seconds), 1.0)
    spent_s = sum(seconds for _, seconds in steps)
    assert len(out.getvalue().splitlines()) <= 2 + spent_s / LINE_S


def test_without_a_step_of_each_layer_there_is_no_ground_for_the_time_of_interleaved_ones():
    progress, _, clock = progress_to()
    progress.plan(LAYERS, interleaved=True, trials=10)
    progress.task(1)
    clock.now_s += 5
    progress.trial(took(5.0), 1.0)
    assert progress.left_s is None
    progress.task(2)
    clock.now_s += 7
    progress.trial(took(7.0), 1.0)
    assert progress.left_s == pytest.approx(6 * 8)
    clock.now_s += 2
    assert progress.left_s == pytest.approx(6 * 8 - 2)


def test_what_an_earlier_run_tried_counts_in_a_search_that_goes_on():
    progress, out, _ = progress_to()
    tasks = [toys.dense(), toys.conv2d()]
    before = [toys.trial(task, "a", 2e-3) for task in tasks]
    known = [toys.trial(tasks[1], "b", 1e-3)]
    plan = [
        Planned.of(tasks[0], "one", 8, before[:1]),
        Planned.of(tasks[1], "two", 8, before[1:], known),
    ]
    with progress:
        progress.plan(plan, interleaved=True, trials=16)
        progress.task(1)
    assert "2 trials of at most 16, layers 3.000 ms, now one (1 trials" in out.getvalue()


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_search_that_may_end_earlier_has_at_most_so_much_time_left(interleaved):
    progress, out, _ = progress_to()
    progress.plan(LAYERS, interleaved=interleaved, seconds=90.0, ends_early=True)
    progress.task(1)
    assert "at most 1:30 min left" in out.getvalue()


def test_where_seconds_end_a_search_the_most_of_its_trials_is_not_told():
    progress, out, _ = progress_to()
    progress.plan(LAYERS, interleaved=True, trials=1_600_000, seconds=90.0)
    progress.task(1)
    assert "0 trials, 0 of 2 layers tried" in out.getvalue()


def test_layers_of_which_nothing_ran_are_counted():
    progress, out, _ = progress_to()
    with progress:
        progress.plan(LAYERS, interleaved=True, trials=2)
        for index, latency_s in ((1, 1e-3), (2, None)):
            progress.task(index)
            progress.trial(took(1.0, latency_s), None)
    assert out.getvalue().splitlines()[-1] == ("2 trials of at most 2, 1 failed, 1 of 2 layers ran")


def test_display_of_interleaved_steps_fits_eighty_columns():
    progress, out, clock = progress_to(terminal=True)
    progress.stage("tune")
    name = "depthwise 3x3 1024 112x112 s2 batch 128 #2"
    plan = [Planned(name, 10000, flops=1e10), Planned("other", 10000)]
    progress.plan(plan, interleaved=True, seconds=100000.0, ends_early=True)
    progress.task(2)
    progress.trial(took(1.0, 1.0), 1.0)
    progress.task(1)
    clock.now_s += 4000
    for latency_s in (8.1e-3, None):
        progress.trial(took(2000.0, latency_s), None)
    out.seek(0)
    out.truncate()
    Console(file=out, width=80, color_system=None).print(progress._render())
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[0] == "tune  1:06:40 h elapsed, at most 26:39:59 h left"
    assert lines[1] == f"now {name}"
    assert lines[2].startswith("this task")
    assert lines[2].endswith("2 trials  best 1234.6 GFLOPS")
    assert lines[3].startswith("all tasks")
    assert lines[3].endswith("3/20000 trials  layers 1008.1 ms  1 failed")
