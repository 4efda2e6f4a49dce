"""A live display on a terminal, plain lines elsewhere, and honest arithmetic in both."""

import io

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dgtl.report.progress import Progress, duration

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
        progress.task("fused_dense", 1, 2, 4)
        for _ in range(4):
            clock.now_s += 20
            progress.trial(OK, 12.0)
    assert "\x1b" not in out.getvalue()
    assert all(line.strip() for line in out.getvalue().splitlines())


def test_plain_lines_say_stage_task_trials_best_failures_and_time_left():
    progress, out, clock = progress_to()
    with progress:
        progress.stage("tune")
        progress.task("fused_dense", 1, 2, 4)
        for trial, gflops in ((OK, 12.0), (FAILED, None)):
            clock.now_s += 30
            progress.trial(trial.replace(wall_s=30.0, model_s=0.0), gflops)
    lines = out.getvalue().splitlines()
    assert lines[0] == "tune ..."
    assert lines[1] == "task 1/2 fused_dense: at most 4 trials"
    # Two trials took a minute; two of this task and four of the next are to come.
    expected = "task 1/2 fused_dense: 2/4 trials, best 12.0 GFLOPS, 1 failed, 3:00 min left"
    assert lines[3] == expected
    assert lines[-1] == "tune: done in 1:00 min"


def test_plain_lines_are_few_however_fast_trials_come():
    progress, out, clock = progress_to()
    with progress:
        progress.task("fused_dense", 1, 1, 1000)
        for _ in range(1000):
            clock.now_s += 0.05
            progress.trial(OK, 1.0)
    assert len(out.getvalue().splitlines()) <= 2 + 50 / 10


def test_best_is_the_highest_and_starts_anew_with_each_task():
    progress, out, _ = progress_to()
    with progress:
        progress.task("one", 1, 2, 3)
        for gflops in (5.0, 9.0, 7.0):
            progress.trial(OK, gflops)
        progress.task("two", 2, 2, 1)
        progress.trial(FAILED, None)
    text = out.getvalue()
    assert "task 1/2 one: 3/3 trials, best 9.0 GFLOPS" in text
    assert "task 2/2 two: 1/1 trials, no valid trial yet, 1 failed" in text


@given(
    planned=st.integers(1, 50),
    count=st.integers(1, 10),
    steps=st.lists(st.floats(0, 100), min_size=1, max_size=50),
)
def test_time_left_is_mean_seconds_per_trial_times_trials_to_come(planned, count, steps):
    progress, _, _ = progress_to()
    progress.task("t", 1, count, planned)
    assert progress.left_s is None
    for step in steps:
        progress.trial(OK.replace(wall_s=step, model_s=0.0), 1.0)
    to_come = max(planned - len(steps), 0) + (count - 1) * planned
    assert progress.left_s == pytest.approx(sum(steps) / len(steps) * to_come, abs=1e-6)


def test_time_between_tasks_does_not_count():
    progress, _, clock = progress_to()
    progress.task("one", 1, 2, 1)
    progress.trial(OK.replace(wall_s=2.0, model_s=0.0), 1.0)
    clock.now_s += 1000
    progress.task("two", 2, 2, 1)
    assert progress.left_s == pytest.approx(2.0)


@pytest.mark.parametrize("terminal", [False, True])
def test_task_with_nothing_left_to_try_says_only_that(terminal):
    progress, out, _ = progress_to(terminal=terminal)
    with progress:
        progress.task("resumed", 1, 1, 0)
    assert "task 1/1 resumed: nothing left to try" in out.getvalue()
    assert "0/0" not in out.getvalue()
    assert "no valid trial" not in out.getvalue()


def test_terminal_shows_stage_task_and_best_live():
    progress, out, clock = progress_to(terminal=True)
    with progress:
        progress.stage("tune")
        progress.task("fused_dense", 1, 2, 4)
        clock.now_s += 30
        progress.trial(OK.replace(wall_s=70.0, model_s=0.0), 12.0)
        progress.message("a line")
    text = out.getvalue()
    assert "\x1b[" in text
    for part in (
        "tune",
        "fused_dense",
        "1/4 trials",
        "best 12.0 GFLOPS",
        "8:10 min left",
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
    progress.task("fused_conv2d12_add14_add15_relu9_transpose_reshape" * 2, 19, 20, 1000)
    for trial, gflops in ((OK, 1234.5), (FAILED, None)):
        clock.now_s += 40
        progress.trial(trial.replace(wall_s=40.0, model_s=0.0), gflops)
    out.seek(0)
    out.truncate()
    Console(file=out, width=80, color_system=None).print(progress._render())
    assert "best 1234.5 GFLOPS  1 failed" in out.getvalue()
    assert "1:20 min elapsed" in out.getvalue()
    assert out.getvalue().rstrip().endswith("h left")
