"""A layer of which no trial ran is a failure of the run, unless it is allowed; and what the network
does untuned is right, or said.
"""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import toys
from hydra.types import RunMode
from rich.console import Console

from dgtl.core.history import SourceTask
from dgtl.core.records import Hardware
from dgtl.measure.protocol import MeasureOptions
from dgtl.report.console import print_summary
from dgtl.run import live
from dgtl.run.settings import composed
from dgtl.tvm.deploy import reference
from dgtl.tvm.deploy.network import NetworkTiming
from dgtl.tvm.deploy.reference import Agreement

if TYPE_CHECKING:
    from dgtl.results.summary import Summary

pytestmark = pytest.mark.slow  # TVM is imported.

TASKS = [toys.dense(), toys.conv2d()]


def summary(*trials: list) -> Summary:
    """Of one task for each list of trials."""
    results = [
        SourceTask(task, toys.space_of(task), tuple(some))
        for task, some in zip(TASKS, trials, strict=True)
    ]
    return toys.summary(results)


RAN = [toys.trial(TASKS[0], "a", 1e-3)]
FAILED = [toys.trial(TASKS[1], "a", None), toys.trial(TASKS[1], "b", None)]


def exit_code(tmp_path, monkeypatch, outcome: Summary, *overrides: str) -> int:
    here = SimpleNamespace(runtime=SimpleNamespace(output_dir=str(tmp_path)), mode=RunMode.RUN)
    monkeypatch.setattr(live, "HydraConfig", SimpleNamespace(get=lambda: here))
    monkeypatch.setattr(live, "run", lambda cfg, folder: outcome)
    cfg = composed(["workload=tiny", *overrides], {"cache": str(tmp_path)})
    try:
        live.main(cfg)
    except SystemExit as ended:
        return ended.code
    return 0


@pytest.mark.parametrize(
    ("outcome", "overrides", "code"),
    [
        (summary(RAN, RAN), (), 0),
        (summary(RAN, FAILED), (), live.UNTUNED),
        (summary(RAN, []), (), live.UNTUNED),
        (summary([], []).with_choices(["a", "b"]), ("budget.trials=0",), 0),
        (summary(RAN, []).with_choices([None, "b"]), (), live.UNTUNED),  # time ran out
        (summary(RAN, []).with_choices([None, "b"]), ("deploy.allow_untuned=true",), 0),
        (summary([], []).with_choices(["a", None]), ("budget.trials=0",), live.UNTUNED),
        (summary(RAN, FAILED), ("deploy.allow_untuned=true",), 0),
        (summary([], FAILED), ("deploy.allow_untuned=true",), live.UNTUNED),
        (summary([], []), ("deploy.allow_untuned=true",), live.UNTUNED),
    ],
)
def test_it_is_the_exit_code(tmp_path, monkeypatch, outcome, overrides, code):
    assert exit_code(tmp_path, monkeypatch, outcome, *overrides) == code


@pytest.mark.parametrize(
    ("trials", "said"), [(FAILED, "none of its 2 trials ran"), ([], "no trial was made")]
)
def test_the_summary_names_it(tmp_path, trials, said):
    out = io.StringIO()
    print_summary(summary(RAN, trials), tmp_path, Console(file=out, width=120))
    assert f"{TASKS[1].title} runs by the default schedule: {said}" in out.getvalue()


def test_the_summary_says_what_the_model_chose_unmeasured(tmp_path):
    out = io.StringIO()
    chosen = summary(RAN, []).with_choices(["b", "b"])
    print_summary(chosen, tmp_path, Console(file=out, width=120))
    assert "unmeasured: chosen by the model (1 of 2 layers)" in out.getvalue()
    assert "default schedule" not in out.getvalue()
    assert [task.best_key for task in chosen.tasks] == ["a", "b"]  # what ran is no choice
    assert chosen.sum_of_tasks_ms is None


def test_convolutions_that_are_computed_otherwise_are_counted():
    inverse = SimpleNamespace(name="fused_winograd_inverse_add", weight=3)
    other = SimpleNamespace(name="fused_conv2d", weight=2)
    (said,) = live._filtered([inverse, other, inverse])
    assert said.startswith("6 3x3 convolutions are computed with fewer multiplications")
    (said,) = live._filtered([SimpleNamespace(name="winograd_inverse1", weight=1)])
    assert said.startswith("a 3x3 convolution is computed")
    assert live._filtered([other]) == []


class Wrong:
    """A machine on which LLVM's vectoriser, or the import, makes a network wrong."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, target: str, *, imported: bool) -> None:
        self.said: list[str] = []
        self.job = SimpleNamespace(
            hardware=Hardware("toy", target, 1),
            network=None,
            workload=SimpleNamespace(inputs={}),
            options=MeasureOptions(),
        )

        def timed(network, hardware, inputs, **_):
            level = json.loads(hardware.target).get("opt-level", 3)
            return NetworkTiming((np.array(imported and level == 1),), (1e-3,))

        def compared(workload, outputs):
            return Agreement(0.0 if outputs[0] else 1.0, 0.0, 1e-3)

        monkeypatch.setattr(live.deploy, "time_untuned", timed)
        monkeypatch.setattr(reference, "compare", compared)
        monkeypatch.setattr(reference, "first_difference", lambda *_: "y (Tile)")

    def untuned(self) -> NetworkTiming | None:
        progress = SimpleNamespace(stage=lambda text: None, message=self.said.append)
        return live._untuned(composed(["workload=tiny"], {}), self.job, progress)


def test_a_network_that_llvm_vectorises_wrongly_is_timed_without(monkeypatch) -> None:
    wrong = Wrong(monkeypatch, '{"kind": "llvm"}', imported=True)
    timing = wrong.untuned()
    assert timing is not None
    assert timing.outputs[0]
    assert wrong.said == [
        "LLVM's vectoriser computes the untuned network wrongly: it is timed as built without"
    ]


@pytest.mark.parametrize(("kind", "imported"), [("llvm", False), ("cuda", True)])
def test_a_network_that_is_wrong_anyway_is_refused(monkeypatch, kind: str, imported: bool) -> None:
    wrong = Wrong(monkeypatch, f'{{"kind": "{kind}"}}', imported=imported)
    with pytest.raises(ValueError, match=r"the untuned network computes .* at y \(Tile\)$"):
        wrong.untuned()
    assert wrong.said == []
