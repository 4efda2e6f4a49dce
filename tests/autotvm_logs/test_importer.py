"""From logs to history: every line accounted for, failures kept, equal layers recognised."""

from __future__ import annotations

import gzip
import json
import lzma
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from written_logs import CASES, conv_args, entity, line, old_line, size, tensor

from dgtl.autotvm_logs.importer import Imported, import_logs
from dgtl.autotvm_logs.layers import Conv
from dgtl.core.history import History, SourceTask
from dgtl.core.records import Status
from dgtl.measure.replay import ReplayMeasurer

pytestmark = pytest.mark.slow

CONV = "conv2d_nchw.cuda"
SCRIPT = Path(__file__).parents[2] / "scripts" / "import_autotvm.py"


def write(folder: Path, lines: list[str], name: str = "tuning.log") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join(text + "\n" for text in lines))
    return path


def imported(folder: Path, *lines: str) -> Imported:
    return import_logs([write(folder / "V100", list(lines))])


def only(found: Imported) -> SourceTask:
    (source,) = found.sources
    return source


@pytest.mark.parametrize("template", sorted(CASES))
def test_every_template_becomes_trials_with_autotvm_s_index(tmp_path: Path, template: str) -> None:
    ranks = np.random.default_rng(0).integers(0, size(template), 20).tolist()
    found = imported(tmp_path, *(line(template, rank) for rank in ranks))
    source = only(found)
    assert source.space.index(source.configs()) == ranks
    assert (found.lines, len(found.trials), found.skipped.total()) == (20, 20, 0)
    assert found.off_index == 0
    assert source.task.name == template


@pytest.mark.parametrize("template", sorted(CASES))
@pytest.mark.parametrize("explicit_outer", [False, True])
def test_both_versions_import_alike(tmp_path: Path, template: str, explicit_outer: bool) -> None:
    # The v0.6 template of conv2d_NCHWc splits the width by divisors: rank 0 is in both spaces.
    new = imported(tmp_path / "new", line(template)).trials[0]
    old = imported(tmp_path / "old", old_line(template, 0, explicit_outer)).trials[0]
    assert (new.config, new.run_times_s, new.wall_s) == (old.config, old.run_times_s, old.wall_s)


def test_lines_are_trials_or_skipped_for_a_reason(tmp_path: Path) -> None:
    good = line(CONV, 7)
    outside = [["tile_f", "sp", [-1, 3, 1, 1]], *entity(CONV, 0)[1:]]
    lines = [
        *(good, good, line(CONV, 8, error=1, costs=[1e9])),
        *("", "{damaged", good[:100]),
        line(CONV, entity=outside),
        line(CONV, entity=entity(CONV, 0)[:-1]),
        line(CONV, args=conv_args((1, 4, 9, 9), (8, 2, 3, 3))),
        line(CONV, 3, costs=[1e9]),
        line(CONV, 3, costs=[0.0]),
        line(CONV, 3, costs=[]),
        line(CONV, 3, error=99),
        good.replace(CONV, "conv2d_hwcn.cuda"),
    ]
    found = imported(tmp_path, *lines)
    assert found.lines == len(lines) == len(found.trials) + found.skipped.total()
    assert len(found.trials) == 3
    assert dict(found.skipped) == {
        "empty line": 1,
        "damaged line": 2,
        "configuration outside of the template's space": 2,
        "grouped convolutions are not supported": 1,
        "run time out of range": 3,
        "unknown error number": 1,
        "template conv2d_hwcn.cuda is not supported": 1,
    }


@pytest.mark.parametrize(
    ("error_no", "status"),
    [
        (1, Status.INVALID),
        (2, Status.BUILD_ERROR),
        (3, Status.BUILD_ERROR),
        (4, Status.RUN_ERROR),
        (5, Status.WRONG_RESULT),
        (6, Status.BUILD_TIMEOUT),
        (7, Status.RUN_TIMEOUT),
        (8, Status.RUN_ERROR),
    ],
)
def test_failures_are_kept_with_their_cost_and_without_a_number(
    tmp_path: Path, error_no: int, status: Status
) -> None:
    found = imported(tmp_path, line(CONV, error=error_no, costs=[1e9], all_cost=4.0))
    (trial,) = found.trials
    assert (trial.status, trial.run_times_s, trial.latency_s) == (status, (), math.inf)
    assert trial.error
    assert trial.wall_s == trial.search_s == 4.0
    assert trial.build_s == (4.0 if error_no in (1, 2, 3, 6) else 0.0)
    assert only(found).ok_trials == ()
    assert len(only(found).gflops()) == 0


def test_repeated_configurations_are_all_kept_and_replay_takes_the_first(tmp_path: Path) -> None:
    found = imported(tmp_path, line(CONV, 7, costs=[0.5]), line(CONV, 7, costs=[0.1]))
    assert [trial.latency_s for trial in found.trials] == [0.5, 0.1]
    (task, _), trial = found.tasks[found.trials[0].task], found.trials[0]
    replay = ReplayMeasurer.of(found.trials)
    assert replay.measure(task, [trial.config], best_s=math.inf) == [trial]


@pytest.mark.parametrize(
    ("size", "padding"),
    [(14, "SAME"), (14, [1, 1, 1, 1]), (14, [1, 1]), (14, 1), (16, "VALID"), (16, [0, 0]), (16, 0)],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_is_the_same_however_its_padding_is_written(
    tmp_path: Path, size: int, padding, stride: int
) -> None:
    weight = (8, 12, 3, 3)
    known = Conv(1, 12, 8, (14, 14), (3, 3), (stride,) * 2, (1, 1, 1, 1), (1, 1), 4, False)
    args = conv_args((1, 12, size, size), weight, stride, padding)
    found = imported(tmp_path, line(CONV, args=args))
    task = only(found).task
    assert task.shape_key == known.shape_key == task.key.split("/")[0]
    assert task.accesses == known.accesses
    # What pads is another kernel: the key tells them apart, the shape does not.
    padded = imported(
        tmp_path / "padded", line(CONV, args=conv_args((1, 12, 14, 14), weight, stride, 1))
    )
    assert (task.key == only(padded).task.key) == (size == 14)


def test_shapes_are_those_of_tvm_s_own_tasks(tmp_path: Path) -> None:
    args = conv_args((1, 32, 56, 56), (96, 32, 3, 3), 2, 1)
    depthwise = conv_args((1, 48, 112, 112), (48, 1, 3, 3), 1, 1)
    dense = [tensor(1, 2048), tensor(1000, 2048), None, "float32"]
    found = imported(
        tmp_path,
        line(CONV, args=args),
        line("depthwise_conv2d_nchw.cuda", args=depthwise),
        line("dense_small_batch.gpu", args=dense),
    )
    assert [source.task.shape_key for source in found.sources] == [
        "conv2d_1x28x28x96x3x3x32_yy*2_xx*2",
        "depthwise_conv2d_1x112x112x48x3x3x1",
        "dense_1x1000x2048",
    ]


def test_winograd_has_the_shape_of_its_convolution(tmp_path: Path) -> None:
    args = CASES["conv2d_nchw_winograd.cuda"][1]
    found = imported(tmp_path, line("conv2d_nchw_winograd.cuda"), line(CONV, args=args))
    winograd, direct = (source.task for source in found.sources)
    assert winograd.shape_key == direct.shape_key
    assert winograd.flops == direct.flops
    assert winograd.key != direct.key


def test_a_layer_called_padded_that_ran_without_is_taken_as_that(tmp_path: Path) -> None:
    # A 14x10 input of a 3x3 kernel gives 12x8 without padding; SAME would give 14x10.
    _, args = CASES[CONV]
    chosen = entity(CONV, 0)
    chosen[1][2], chosen[2][2] = [-1, 3, 1, 1], [-1, 1, 1, 1]
    valid = imported(tmp_path, line(CONV, 0, args=[*args[:3], "VALID", *args[4:]]))
    space = only(valid).space
    tile_y = next(k for k in space.knobs if k.name == "tile_y")
    rank = tile_y.options.index((4, 3, 1, 1)) * len(space.knobs[0])
    found = imported(tmp_path / "again", line(CONV, entity=chosen, index=rank))
    assert only(found).task == only(valid).task
    assert found.unpadded == 1


def test_an_index_of_another_space_is_counted_and_the_knobs_believed(tmp_path: Path) -> None:
    found = imported(tmp_path, line(CONV, 7, index=8))
    assert found.off_index == 1
    assert only(found).space.index(only(found).configs()) == [7]


def test_the_device_is_the_folder_or_what_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "GTX1650", [line(CONV)])
    hardware = only(import_logs([path])).task.hardware
    assert (hardware.name, hardware.kind, hardware.num_cores) == ("gtx1650", "cuda", 14)
    assert json.loads(hardware.target) == {"kind": "cuda", "arch": "sm_70"}
    named = only(import_logs([path], device="My GPU")).task.hardware
    assert (named.name, named.num_cores) == ("my-gpu", 1)
    cpu = only(import_logs([write(tmp_path / "cpu", [line("dense_nopack.x86")])])).task.hardware
    assert cpu.kind == "llvm"


def test_folders_are_searched_for_logs_packed_or_not(tmp_path: Path) -> None:
    text = (line(CONV) + "\n").encode()
    write(tmp_path / "V100", [line(CONV)])
    write(tmp_path / "V100", ["no log"], "README.md")
    (tmp_path / "K80").mkdir()
    (tmp_path / "K80" / "a.log.xz").write_bytes(lzma.compress(text))
    (tmp_path / "K80" / "b.json.gz").write_bytes(gzip.compress(text))
    found = import_logs([tmp_path, tmp_path / "V100"])
    assert (found.files, found.lines, len(found.trials)) == (3, 3, 3)
    assert sorted({source.task.hardware.name for source in found.sources}) == ["k80", "v100"]


def test_a_damaged_archive_is_one_skipped_line(tmp_path: Path) -> None:
    lines = [line(CONV, rank, all_cost=rank**0.5) for rank in range(3000)]
    packed = lzma.compress("\n".join(lines).encode())
    path = tmp_path / "V100" / "tuning.log.xz"
    path.parent.mkdir()
    path.write_bytes(packed[: len(packed) // 2])
    found = import_logs([path])
    assert dict(found.skipped) == {"damaged archive": 1}
    assert found.lines == len(found.trials) + 1 > 100


def test_written_history_reads_back_the_same(tmp_path: Path) -> None:
    write(tmp_path / "V100", [line(CONV, r) for r in (5, 6, 5)] + [line(CONV, 7, error=4)])
    write(tmp_path / "K80", [line("depthwise_conv2d_nchw.cuda", 9)])
    found = import_logs([tmp_path])
    paths = found.write(tmp_path / "out")
    assert sorted(path.name for path in paths) == ["k80.jsonl", "v100.jsonl"]
    history = History.read(tmp_path / "out")
    assert history.n_trials == len(found.trials)
    by_key = {source.task.key: source for source in history}
    for source in found.sources:
        again = by_key[source.task.key]
        assert (again.task, again.trials) == (source.task, source.trials)
        assert again.space.knobs == source.space.knobs
    assert history.provenances == found.provenances
    assert {trial.provenance for trial in found.trials} == set(found.provenances)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_script_ends_with_one_line_that_accounts_for_all(tmp_path: Path) -> None:
    write(tmp_path / "V100", [line(CONV), line(CONV, 1, error=1, costs=[1e9]), "{"])
    done = run(tmp_path / "V100", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (text,) = done.stdout.splitlines()
    summary = json.loads(text)
    assert summary.pop("seconds") >= 0
    assert summary == {
        **{"files": 1, "lines": 3, "trials": 2, "ok": 1, "failed": 1},
        **{"skipped": {"damaged line": 1}, "tasks": 1},
    }


@pytest.mark.parametrize("case", ["missing", "no record", "empty folder", "out is a file", "twice"])
def test_bad_input_is_one_clear_line_and_an_exit_code(tmp_path: Path, case: str) -> None:
    path = write(tmp_path / "V100", ["{"] if case == "no record" else [line(CONV)])
    out = tmp_path / "out"
    if case == "missing":
        path = tmp_path / "absent.log"
    elif case == "empty folder":
        path = tmp_path / "empty"
        path.mkdir()
    elif case == "out is a file":
        out.write_text("")
    elif case == "twice":
        assert run(path, "--out", out).returncode == 0
    done = run(path, "--out", out)
    assert done.returncode != 0
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_real_logs_import_completely(real_logs: Path) -> None:
    found = import_logs([real_logs / "V100" / "depthwise_conv2d_nchw.cuda.log.xz"])
    assert (found.lines, len(found.trials), found.off_index) == (23_000, 23_000, 0)
    assert len(found.sources) == 23


def test_all_real_logs_import_completely(real_logs: Path) -> None:
    found = import_logs([real_logs])
    assert (found.lines, len(found.trials)) == (259_398, 259_398)
    assert found.off_index == 0
    # Two layers of the V100's log say SAME and hold the configurations of VALID.
    assert found.unpadded == 2000
    assert len({source.task.shape_key for source in found.sources}) > 150
    assert {source.task.hardware.name for source in found.sources} == {"gtx1650", "v100", "k80"}
