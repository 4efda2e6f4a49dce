"""The summary on the console says what a run came to and where the results lie."""

import dataclasses
import io

import toys
from rich.console import Console

from dgtl.core.history import SourceTask
from dgtl.report.console import print_summary

TASK = toys.dense()
SPACE = toys.space_of(TASK)


def all_failed(n: int = 5) -> SourceTask:
    return SourceTask(TASK, SPACE, tuple(toys.trial(TASK, f"{i}", None) for i in range(n)))


def printed(results, folder, width: int = 100) -> str:
    summary = toys.summary(
        results, workload="resnet18", pretrain_s=2.0, untuned_latency_ms=30.0, latency_ms=10.0
    )
    out = io.StringIO()
    print_summary(summary, folder, Console(file=out, width=width, highlight=False))
    return out.getvalue()


def test_printed_summary_has_tasks_network_times_and_folder(tmp_path):
    (tmp_path / "summary.json").touch()
    text = printed([toys.tuned(TASK, SPACE, 12, seed=0)], tmp_path)
    for part in (
        "resnet18 on toy-cpu/4, tuned by dgp",
        "dense 8->16 batch 4",
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


def test_at_eighty_columns_titles_are_whole_and_figures_uncut(tmp_path):
    deep = toys.conv2d(112, 1024, 1024, 1, 4)
    slow = {"wall_s": 5.0, "build_s": 5.0}
    results = [
        toys.tuned(TASK, SPACE, 12, seed=0),
        SourceTask(deep, toys.space_of(deep), (toys.trial(deep, "0", 0.0123456, **slow),) * 1024),
        all_failed(),
    ]
    results[2] = dataclasses.replace(results[2], task=dataclasses.replace(TASK, key="another"))
    lines = printed(results, tmp_path, width=80).splitlines()
    assert max(map(len, lines[: lines.index(f"Results in {tmp_path}")])) <= 80
    row = next(line for line in lines if line.startswith("conv 1x1 1024->1024 112x112 s4 "))
    gflops = deep.gflops(0.0123456)
    assert row.split()[5:] == ["1", "1024", f"{gflops:.1f}", "12345.6", "us", "1:26:11", "h"]
    assert [line.split("  ")[0] for line in lines if line.startswith("dense")] == [
        "dense 8->16 batch 4 #2",
        "dense 8->16 batch 4 #1",
    ]
    assert "…" not in "".join(lines)


def test_where_a_terminal_is_wide_the_table_has_all_columns(tmp_path):
    text = printed([toys.tuned(TASK, SPACE, 12, seed=0)], tmp_path, width=120)
    assert {"space", "weighted", "trials", "search"} <= set(text.splitlines()[1].split())
