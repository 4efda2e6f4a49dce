"""The summary on the console says what a run came to and where the results lie."""

import io

import toys
from rich.console import Console

from dgtl.core.history import SourceTask
from dgtl.report.console import print_summary
from dgtl.results.summary import summarise

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
