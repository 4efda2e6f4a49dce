"""Curves are drawn for every outcome, and the summary says where the results lie."""

import dataclasses
import io
import subprocess
import sys

import numpy as np
import pytest
import toys
from rich.console import Console

from dgtl.history import SourceTask
from dgtl.report import (
    _small_multiples,
    draw_curves,
    print_summary,
    search_seconds,
    tuning_set_size,
)
from dgtl.summary import summarise

TASK = toys.dense()
SPACE = toys.space_of(TASK)


def all_failed(n: int = 5) -> SourceTask:
    return SourceTask(TASK, SPACE, tuple(toys.trial(TASK, f"{i}", None) for i in range(n)))


def printed(results, folder, width: int = 100) -> str:
    summary = summarise(
        results,
        workload="resnet18",
        model="dgp",
        hardware=toys.HARDWARE,
        seed=0,
        pretrain_s=2.0,
        sources=[],
        untuned_latency_ms=30.0,
        latency_ms=10.0,
    )
    out = io.StringIO()
    print_summary(summary, folder, Console(file=out, width=width, highlight=False))
    return out.getvalue()


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
    figure = _small_multiples(results, [search_seconds(r.trials) for r in results], "s")
    figure.draw_without_rendering()
    panels = [panel for panel in figure.axes if panel.axison]
    assert len(panels) == n
    boxes = [panel.get_tightbbox() for panel in panels]
    for i, a in enumerate(boxes):
        assert not any(a.overlaps(b) for b in boxes[i + 1 :])


def test_panel_marks_where_the_tuning_set_ends():
    result = toys.tuned(TASK, SPACE, 12, seed=0, n_set=8)
    figure = _small_multiples([result], [np.arange(1.0, 13.0)], "trial")
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [8.0]


def test_tuner_without_a_tuning_set_has_no_mark():
    result = toys.tuned(TASK, SPACE, 12, seed=0)
    assert tuning_set_size(result.trials) == 0
    figure = _small_multiples([result], [np.arange(1.0, 13.0)], "trial")
    assert not [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]


def test_search_seconds_end_at_the_search_time_of_the_task():
    trials = toys.tuned(TASK, SPACE, 12, seed=0).trials
    assert search_seconds(trials)[-1] == pytest.approx(sum(t.search_s for t in trials))
    assert (np.diff(search_seconds(trials)) > 0).all()


def test_printed_summary_has_tasks_network_times_and_folder(tmp_path):
    (tmp_path / "summary.json").touch()
    text = printed([toys.tuned(TASK, SPACE, 12, seed=0)], tmp_path)
    for part in (
        "resnet18 on toy-cpu/4, tuned by dgp",
        "dense_add",
        "untuned latency",
        "3.0 times as fast",
        "sum of tasks",
        "the network takes",
        "search time",
        "build",
        "model",
        "pre-training",
        f"Results in {tmp_path}",
        "summary.json",
    ):
        assert part in text


def test_only_what_exists_is_listed(tmp_path):
    assert "model.so" not in printed([all_failed()], tmp_path)
    (tmp_path / "model.so").touch()
    text = printed([all_failed()], tmp_path)
    assert "VirtualMachine" in text
    assert str(tmp_path / "model.so") in text


def test_failed_task_is_said_to_have_failed(tmp_path):
    assert "all failed" in printed([all_failed()], tmp_path)


def test_table_fits_a_narrow_terminal(tmp_path):
    text = printed([toys.tuned(TASK, SPACE, 12, seed=0)], tmp_path, width=80)
    table = text[: text.index("Results in")]
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "…" not in table


def test_matplotlib_is_imported_only_to_draw():
    code = "import dgtl.report, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
