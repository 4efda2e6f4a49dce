"""A report is one file that needs nothing else and holds the numbers of its run."""

import dataclasses
import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import toys

from dgtl.core.history import SourceTask, TrialLog
from dgtl.report.curves import MAX_PANELS
from dgtl.report.html import write_report
from dgtl.report.page import Page
from dgtl.results.run_folder import Origin, Run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TASK = toys.dense()
SPACE = toys.space_of(TASK)


class Tags(HTMLParser):
    """Every tag with its attributes, checked to be closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.found, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def parsed(path: Path) -> Tags:
    tags = Tags()
    tags.feed(path.read_text())
    assert tags.open == []
    return tags


def write(folder: Path, results: list[SourceTask], **config) -> Path:
    folder.mkdir(exist_ok=True)
    config = {"workload": {"name": "toy"}, "seed": 0, **config}
    Origin.now("python run.py workload=toy", "dgp", config).begin(folder, fresh=False)
    with TrialLog(folder / "trials.jsonl") as log:
        for result in results:
            log.task(result.task, result.space)
            for trial in result.trials:
                log.trial(trial)
    return folder


def report_of(folder: Path) -> Path:
    return write_report(Run.read(folder))


def results(n: int = 2) -> list[SourceTask]:
    tasks = [dataclasses.replace(toys.dense(4 + i), name=f"fused_<{i}>") for i in range(n)]
    return [toys.tuned(task, toys.space_of(task), 10, seed=0, n_set=6) for task in tasks]


def test_report_needs_no_network_and_no_script(tmp_path):
    tags = parsed(report_of(write(tmp_path, results())))
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags.found}
    for tag, attributes in tags.found:
        assert "href" not in attributes
        if tag == "img":
            assert attributes["src"].startswith("data:image/svg+xml;base64,")
            assert attributes["alt"]


def test_report_holds_origin_and_best_schedules(tmp_path):
    found = results()
    words = " ".join(parsed(report_of(write(tmp_path, found))).words)
    assert "python run.py workload=toy" in words
    assert "toy-cpu, 4 cores" in words
    for result in found:
        assert result.task.name in words
        assert result.task.title in words
        best = min(result.ok_trials, key=lambda t: t.latency_s)
        assert best.config in words
        assert f"{result.task.gflops(best.latency_s):.1f}" in words


def test_share_of_the_limit_is_given_where_the_limit_is_known(tmp_path):
    without = report_of(write(tmp_path / "a", results()))
    with_limit = report_of(write(tmp_path / "b", results(), hardware={"limit_gflops": 100.0}))
    assert "of the limit" not in without.read_text()
    assert "of the limit" in with_limit.read_text()


def test_predictions_are_shown_where_there_are_any(tmp_path):
    found = results()
    assert "RMSE" not in report_of(write(tmp_path / "a", found)).read_text()
    guessed = [
        dataclasses.replace(
            r,
            trials=tuple(
                t.replace(predicted_gflops=r.task.gflops(t.latency_s) * 2) if t.ok else t
                for t in r.trials
            ),
        )
        for r in found
    ]
    assert "1.00 in log2" in report_of(write(tmp_path / "b", guessed)).read_text()


def test_many_tasks_are_two_means_and_a_table(tmp_path):
    tags = parsed(report_of(write(tmp_path, results(MAX_PANELS + 1))))
    assert len([1 for tag, _ in tags.found if tag == "img"]) == 3
    rows = re.findall("fused_&lt;", (tmp_path / "report.html").read_text())
    assert len(rows) == MAX_PANELS + 1


def test_task_of_which_everything_failed_is_reported(tmp_path):
    trials = tuple(toys.trial(TASK, key, None) for key in SPACE.keys(SPACE.at(range(3))))
    report = report_of(write(tmp_path, [SourceTask(TASK, SPACE, trials)]))
    assert "all failed" in report.read_text()


def test_all_text_is_escaped(tmp_path):
    page = Page("<title>", {"command": "<command>"})
    page.heading("<heading>", "<note>")
    page.table(["<head>"], [["<cell>"]], long="<head>")
    page.numbers({"<what>": "<value>"})
    page.write(tmp_path / "page.html")
    words = " ".join(parsed(tmp_path / "page.html").words)
    for word in ("title", "command", "heading", "note", "head", "cell", "what", "value"):
        assert f"<{word}>" in words
        assert html.escape(f"<{word}>") in (tmp_path / "page.html").read_text()


def test_script_makes_reports_again_from_trials_alone(tmp_path):
    folder = write(tmp_path / "run", results())
    (folder / "run.json").unlink()
    script = str(ROOT / "scripts" / "report.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(folder / "report.html")]
    assert sorted(p.name for p in folder.iterdir()) == [
        "curves_search.png",
        "curves_trials.png",
        "report.html",
        "trials.jsonl",
    ]


@pytest.mark.parametrize("text", ["", "not a run"])
def test_script_says_in_one_line_that_there_is_no_run(text, tmp_path):
    (tmp_path / "notes.txt").write_text(text)
    script = str(ROOT / "scripts" / "report.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("report: no run in")
    assert len(done.stderr.splitlines()) == 1
