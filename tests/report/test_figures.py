"""Figures are drawn for every outcome, and their numbers are those of the trials."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import toys

from dgtl.core.history import SourceTask
from dgtl.report.curves import (
    MAX_PANELS,
    _small_multiples,
    draw_curves,
    search_seconds,
    shares_of_best,
    tuning_set_size,
)
from dgtl.report.figures import predictions, search_time, time_shares
from dgtl.report.style import inlined

pytestmark = pytest.mark.slow  # Matplotlib is imported.

TASK = toys.dense()
SPACE = toys.space_of(TASK)


def all_failed(n: int = 5) -> SourceTask:
    return SourceTask(TASK, SPACE, tuple(toys.trial(TASK, f"{i}", None) for i in range(n)))


def test_curves_are_two_pngs(tmp_path):
    results = [toys.tuned(TASK, SPACE, 12, seed=0, n_set=8), all_failed()]
    paths = draw_curves(tmp_path, results)
    assert [path.name for path in paths] == ["curves_trials.png", "curves_search.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_no_task_no_curves(tmp_path):
    assert draw_curves(tmp_path, []) == []


@pytest.mark.parametrize("n", [1, 3, 5, 20])
def test_every_task_has_a_panel_and_no_title_runs_into_the_next(n):
    task = dataclasses.replace(TASK, name="fused_conv2d12_add14_add15_relu9_transpose_reshape")
    results = [toys.tuned(task, SPACE, 6, seed=s, n_set=4) for s in range(n)]
    figure = _small_multiples(results, "search")
    figure.draw_without_rendering()
    panels = [panel for panel in figure.axes if panel.axison]
    assert len(panels) == n
    boxes = [panel.get_tightbbox() for panel in panels]
    for i, a in enumerate(boxes):
        assert not any(a.overlaps(b) for b in boxes[i + 1 :])


def test_panel_marks_where_the_tuning_set_ends():
    result = toys.tuned(TASK, SPACE, 12, seed=0, n_set=8)
    figure = _small_multiples([result], "trials")
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [8.0]


def test_tuner_without_a_tuning_set_has_no_mark():
    result = toys.tuned(TASK, SPACE, 12, seed=0)
    assert tuning_set_size(result.trials) == 0
    figure = _small_multiples([result], "trials")
    assert not [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]


def test_search_seconds_end_at_the_search_time_of_the_task():
    trials = toys.tuned(TASK, SPACE, 12, seed=0).trials
    assert search_seconds(trials)[-1] == pytest.approx(sum(t.search_s for t in trials))
    assert (np.diff(search_seconds(trials)) > 0).all()


def test_many_tasks_are_drawn_as_their_mean(tmp_path):
    results = [toys.tuned(TASK, SPACE, 4, seed=s) for s in range(MAX_PANELS + 1)]
    assert all(path.stat().st_size < 100_000 for path in draw_curves(tmp_path, results))
    assert len(search_time(results).axes[0].patches) == 4


@pytest.mark.parametrize("over", ["trials", "search"])
def test_share_of_the_best_only_grows_and_ends_at_one(over):
    results = [toys.tuned(TASK, SPACE, 12, seed=0), toys.tuned(TASK, SPACE, 6, seed=1)]
    _, shares = shares_of_best([*results, all_failed()], over)
    assert len(shares) == 2
    assert (np.diff(shares) >= 0).all()
    assert (shares[:, -1] == 1).all()


def test_share_of_a_recorded_best_is_what_it_is():
    result = toys.tuned(TASK, SPACE, 12, seed=0)
    top = 2 * result.gflops().max()
    _, shares = shares_of_best([result], "trials", {TASK.key: top})
    assert shares[0, -1] == pytest.approx(0.5)


def test_parts_of_the_search_time_add_up_to_it():
    trials = toys.tuned(TASK, SPACE, 12, seed=0).trials
    assert time_shares(trials).sum() == pytest.approx(sum(t.search_s for t in trials))
    assert time_shares([]).tolist() == [0, 0, 0, 0]


def test_time_that_a_log_does_not_tell_is_other():
    alone = toys.trial(TASK, "0", 1.0, build_s=1.0, run_s=2.0, wall_s=5.0, model_s=0.5)
    assert time_shares([alone]).tolist() == [1.0, 2.0, 2.0, 0.5]
    beside = toys.trial(TASK, "0", 1.0, build_s=6.0, run_s=2.0, wall_s=4.0, model_s=0.5)
    assert time_shares([beside]).tolist() == [3.0, 1.0, 0.0, 0.5]


def test_predictions_are_drawn_where_trials_have_them():
    result = toys.tuned(TASK, SPACE, 12, seed=0, n_set=6)
    assert predictions([result]) is None
    trials = tuple(t.replace(predicted_gflops=2.0) for t in result.trials)
    figure = predictions([dataclasses.replace(result, trials=trials)])
    assert figure is not None
    _, tuning_set, search = figure.axes[0].lines
    points = len(tuning_set.get_xdata()) + len(search.get_xdata())
    assert points == sum(t.ok for t in trials)


def test_a_figure_of_the_same_trials_is_the_same_file():
    result = toys.tuned(TASK, SPACE, 12, seed=0)
    assert inlined(search_time([result])) == inlined(search_time([result]))


def test_matplotlib_is_imported_only_to_draw():
    code = (
        "import dgtl.report.curves, dgtl.report.figures, sys; sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
