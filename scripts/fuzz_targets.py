"""What reads files of others, each as a target of `scripts/fuzz.py`: seeds, and the reading.

A target takes a folder that it may write to and the bytes of a file. It reads them as the program
does and uses what it got. All that it may raise is a `ValueError`: any other error, a file touched
outside of the folder, and memory or time without bound are what fuzzing looks for.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import lzma
import shutil
import tarfile
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from dgtl.autotvm_logs.importer import import_logs
from dgtl.core.history import SHIPPED_TABLES, History
from dgtl.core.local_history import LocalHistory
from dgtl.core.model_file import file_digest, read_model
from dgtl.core.records import Hardware, Status, Trial
from dgtl.core.titles import titles
from dgtl.device.folder import Pack, Visit, temporary_folder, unpack, verify
from dgtl.device.results import Results
from dgtl.features.dataset import source_data, source_outcomes
from dgtl.front import package
from dgtl.models.ready import FOLDER, load_archive
from dgtl.report.html import write_report
from dgtl.results.card import CARD, Card, Value
from dgtl.results.run_folder import Origin, Run
from dgtl.results.summary import Summary, summarise_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from dgtl.core.history import SourceTask

HARDWARE = Hardware("toy-cpu", '{"kind": "llvm"}', 4)
SCRIPT = "<script>alert(1)</script>"
"""A name that must reach no page as it is."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        read: reads the bytes of a file in a folder, and uses what they say.
        seeds: good files.
        kind: ``json``, ``lines`` of JSON, or ``bytes``: how to change them.
        share: of the inputs; the slow ones have less.
    """

    read: Callable[[Path, bytes], None]
    seeds: Callable[[], list[bytes]]
    kind: str = "bytes"
    share: float = 1.0


def _use(sources: Iterable[SourceTask]) -> None:
    """Does with a history what a run does."""
    found = list(sources)
    titles([source.task for source in found])
    for source in found:
        json.dumps(summarise_task(source.task, source.space, source.trials).title)
        if source.ok_trials:
            source_data([source])
            source_outcomes([source])


def _history(folder: Path, data: bytes, name: str = "history.jsonl") -> None:
    (folder / name).write_bytes(data)
    history = History.read(folder / name)
    _use(history)
    for record in history.records():
        json.dumps(record)


def _packed_history(folder: Path, data: bytes) -> None:
    _history(folder, data, "history.jsonl.xz")


def _local(folder: Path, data: bytes) -> None:
    (folder / "0123456789abcdef.jsonl.xz").write_bytes(data)
    LocalHistory.read(folder)


def _run(folder: Path, data: bytes) -> None:
    (folder / "trials.jsonl").write_bytes(data)
    page = write_report(Run.read(folder)).read_text()
    if SCRIPT in page:
        raise AssertionError("a name is in the page as it is")


def _origin(folder: Path, data: bytes) -> None:
    (folder / "run.json").write_bytes(data)
    Origin.read(folder)
    (folder / "trials.jsonl").write_bytes(histories()[0])
    run = Run.read(folder)
    f"{run.summary.seed:d} {run.summary.workload.strip()}"


def _summary(folder: Path, data: bytes) -> None:
    path = folder / "summary.json"
    path.write_bytes(data)
    summary = Summary.read(path)
    f"{summary.pretrain_s:.1f} {summary.speedup} {summary.network_over_tasks} {summary.untuned}"


def _card(folder: Path, data: bytes) -> None:
    (folder / CARD).write_bytes(data)
    card = Card.read(folder)
    package.write(folder)
    for value in (*card.inputs, *card.outputs):
        np.dtype(value.dtype)


def _logs(folder: Path, data: bytes, name: str = "tuning.log") -> None:
    logs = folder / "some-cpu"
    logs.mkdir()
    (logs / name).write_bytes(data)
    _use(import_logs([logs / name]).sources)


def _packed_logs(folder: Path, data: bytes) -> None:
    _logs(folder, data, "tuning.log.gz" if data[:2] == b"\x1f\x8b" else "tuning.log.xz")


def _model(folder: Path, data: bytes) -> None:
    (folder / "model.zip").write_bytes(data)
    model, _ = load_archive(folder / "model.zip")
    for width in (76, 77):
        try:
            model.predict(np.ones((2, width)))
            model.predict_mean(np.zeros((2, width)))
        except ValueError:
            continue


def _manifest(folder: Path, data: bytes) -> None:
    _write_visit(folder)
    (folder / "manifest.json").write_bytes(data)
    _unpacked(folder)


def _unpacked(folder: Path) -> None:
    visit = Visit(folder)
    for part in visit.parts:
        verify(folder, part)
        if isinstance(part, Pack):
            with temporary_folder() as where:
                unpack(folder, part, where)


def _pack(folder: Path, data: bytes) -> None:
    """The hash is right: a pack of one who wrote the manifest, too."""
    _write_visit(folder)
    (folder / "packs/000.tar.xz").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["packs"][0]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    _unpacked(folder)


def _results(folder: Path, data: bytes) -> None:
    from dgtl.tvm.measure import visit_folder

    _write_visit(folder)
    (folder / "results.jsonl").write_bytes(data)
    Results(folder, "0123abcd").close()
    if visit_folder.is_done(folder):
        visit_folder.read(folder, HARDWARE)


def _contents(folder: Path, data: bytes) -> None:
    from dgtl.tvm.measure import visit_folder

    _write_visit(folder)
    (folder / "results.jsonl").write_bytes(_result_lines()[0])
    (folder / "contents.json").write_bytes(data)
    visit_folder.read(folder, HARDWARE)


def _onnx(folder: Path, data: bytes) -> None:
    (folder / "model.onnx").write_bytes(data)
    (folder / "weights.bin").write_bytes(bytes(4 * 16))
    file_digest(folder / "model.onnx")
    read_model(folder / "model.onnx")


def _onnx_import(folder: Path, data: bytes) -> None:
    from dgtl.tvm.workload.importer.model import import_model

    (folder / "model.onnx").write_bytes(data)
    (folder / "weights.bin").write_bytes(bytes(4 * 16))
    import_model(read_model(folder / "model.onnx"))


def _inputs(folder: Path, data: bytes) -> None:
    from dgtl.tvm.workload.importer.inputs import read_inputs

    (folder / "inputs.npz").write_bytes(data)
    read_inputs(folder / "inputs.npz", small_model())


@functools.cache
def histories() -> list[bytes]:
    """Two tasks of a recorded table with a few trials, one of them failed; one has bad names."""
    lines = []
    path = next(iter(sorted(SHIPPED_TABLES.glob("*.xz"))))
    history = History.read(path)
    for number, source in enumerate(history):
        if number == 2:
            break
        task = dataclasses.replace(source.task, name=SCRIPT, key=f"{SCRIPT}{number}")
        lines.append({**task.to_json(), "space": source.space.to_json()})
        trials = [trial.replace(task=task.key, stage=SCRIPT) for trial in source.trials[:5]]
        failed = trials[0].replace(status=Status.RUN_ERROR, run_times_s=(), error=SCRIPT)
        lines += [trial.to_json() for trial in (*trials[1:], failed)]
    lines.append(next(iter(history.provenances.values())).to_json())
    return ["".join(json.dumps(line) + "\n" for line in lines).encode()]


def _packed_histories() -> list[bytes]:
    return [lzma.compress(data, preset=0) for data in histories()]


def _origins() -> list[bytes]:
    config = {"workload": {"name": "tiny"}, "seed": 0, "model": {"_target_": "x"}}
    origin = Origin("python run.py", "dgp", "abc", "2026-01-01", config, "0123", ("abc",))
    return [json.dumps(dataclasses.asdict(origin)).encode()]


def _summaries() -> list[bytes]:
    source = next(iter(History.read(next(iter(sorted(SHIPPED_TABLES.glob("*.xz")))))))
    task = summarise_task(source.task, source.space, source.trials[:3])
    numbers = (1.0, 0.5, 0.5, 0.1, 2.0, 3, 0, 2.0, 1.0, 0.9, 4, 100)
    summary = Summary("tiny", "dgp", "cpu/4", 0, *numbers, (task,))
    return [json.dumps(summary.to_json()).encode()]


def _cards() -> list[bytes]:
    value = Value("x", "float32", (1, 3, 8, 8))
    versions = {"dgtl": "0", "tvm": "0", "tvm_ffi": "0"}
    card = Card(
        *((value,), (value,), ("y",), "cpu", "llvm", 4, ("avx",), versions, 1e-6, 2.0, 1.0, 9.0),
        *(10, "dgtl tune x", "2026-01-01"),
    )
    return [json.dumps(dataclasses.asdict(card)).encode()]


@functools.cache
def _log_lines() -> list[bytes]:
    target = "cuda -keys=cuda,gpu -arch=sm_70"
    conv = [["TENSOR", [1, 12, 14, 10], "float32"], ["TENSOR", [8, 12, 3, 3], "float32"]]
    tiles = [
        *(["tile_f", "sp", [-1, 1, 1, 1]], ["tile_y", "sp", [-1, 1, 1, 1]]),
        *(["tile_x", "sp", [-1, 1, 1, 1]], ["tile_rc", "sp", [-1, 1]], ["tile_ry", "sp", [-1, 1]]),
        *(["tile_rx", "sp", [-1, 1]], ["auto_unroll_max_step", "ot", 0]),
        ["unroll_explicit", "ot", 0],
    ]
    dense = [["TENSOR", [4, 18], "float32"], ["TENSOR", [10, 18], "float32"], None, "float32"]
    splits = [["tile_y", "sp", [-1, 1]], ["tile_x", "sp", [-1, 1]], ["tile_k", "sp", [-1, 1]]]
    records: list[dict[str, Any]] = [
        {
            "input": [target, "conv2d_nchw.cuda", [*conv, 1, "SAME", 1, "float32"], {}],
            "config": {"index": 0, "code_hash": None, "entity": tiles},
            "result": [[0.001, 0.002], 0, 1.5, 1.6e9],
            "version": 0.2,
            "tvm_version": "0.11.0",
        },
        {
            "input": ["llvm -mcpu=skylake-avx512", "dense_nopack.x86", dense, {}],
            "config": {"index": 0, "code_hash": None, "entity": splits},
            "result": [[0.001], 4, 1.5, 1.6e9],
            "version": 0.2,
            "tvm_version": "0.11.0",
        },
        {
            "i": [
                *("llvm -mcpu=skylake-avx512", "topi_nn_dense", dense, {}, ["dense", *dense]),
                {"i": 0, "t": "direct_nopack", "c": None, "e": splits},
            ],
            "r": [[0.001], 0, 1.5, 1.6e9],
            "v": 0.1,
        },
    ]
    return ["".join(json.dumps(record) + "\n" for record in records).encode()]


def _packed_log_lines() -> list[bytes]:
    import gzip

    return [pack(data) for data in _log_lines() for pack in (gzip.compress, lzma.compress)]


@functools.cache
def _models() -> list[bytes]:
    """The shipped model with three of its trees."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(next(iter(FOLDER.glob("*.zip")))) as shipped,
        zipfile.ZipFile(packed, "w") as archive,
    ):
        for member in shipped.infolist():
            data = shipped.read(member)
            if member.filename == "trees/trees.json":
                document = json.loads(data)
                model = document["learner"]["gradient_booster"]["model"]
                model["trees"] = model["trees"][:3]
                data = json.dumps(document).encode()
            archive.writestr(member.filename, data)
    return [packed.getvalue()]


def _write_visit(folder: Path) -> None:
    (folder / "packs").mkdir()
    data = _packs()[0]
    (folder / "packs/000.tar.xz").write_bytes(data)
    (folder / "manifest.json").write_bytes(_manifests()[0])
    (folder / "contents.json").write_bytes(_all_contents()[0])


@functools.cache
def _packs() -> list[bytes]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", preset=0) as tar:
        for name in ("000-0000.so", "000-0000.npz"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"abcd"))
    return [packed.getvalue()]


@functools.cache
def _manifests() -> list[bytes]:
    kernel = {
        "id": "000-0000",
        "library": "000-0000.so",
        "tensors": [[[64], "float32"], [[64], "float32"]],
        "check": {"seed": 0, "expected": "000-0000.npz"},
        "cubins": {},
    }
    pack = {
        "file": "packs/000.tar.xz",
        "sha256": hashlib.sha256(_packs()[0]).hexdigest(),
        "best_s": None,
        "kernels": [kernel],
    }
    manifest = {
        "type": "dgtl-visit",
        "schema": 1,
        "id": "0123abcd",
        "device": "cpu",
        "arch": None,
        "threads": 1,
        "options": dict.fromkeys(Visit.OPTIONS, 1.0),
        "packs": [pack],
        "networks": [],
    }
    return [json.dumps(manifest).encode()]


@functools.cache
def _all_contents() -> list[bytes]:
    failed = Trial("task", "0.1", Status.BUILD_ERROR, error="no").to_json()
    kernel = {"task": "task", "config": "0.0", "build_s": 0.1, "share_s": 0.1}
    contents = {"kernels": {"000-0000": kernel}, "failed": [failed], "failed_checks": []}
    return [json.dumps(contents).encode()]


def _result_lines() -> list[bytes]:
    common = {"visit": "0123abcd", "timestamp": 1.7e9}
    records: list[dict[str, Any]] = [
        {"type": "device", "name": "a device"},
        {
            **{"type": "kernel", "id": "000-0000", "status": "ok", "times_s": [0.1], "run_s": 0.1},
            **{"quick": False, "error": ""},
        },
        {"type": "check", "id": "000-0000", "status": "ok", "error": ""},
        {
            **{"type": "network", "id": "abc", "times_s": [0.1], "relative_error": 1e-6},
            **{"error": "", "status": "ok"},
        },
        {"type": "done"},
    ]
    return ["".join(json.dumps(r | common) + "\n" for r in records).encode()]


def small_model() -> onnx.ModelProto:
    """A convolution with its weights in another file, and a ReLU."""
    value = functools.partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 4, 1, 1], bytes(64), raw=True)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, text in (("location", "weights.bin"), ("offset", "0"), ("length", "64")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, text
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="conv", kernel_shape=[1, 1]),
        helper.make_node("Relu", ["h"], ["y"], name="relu"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [value("x", shape=[1, 4, 8, 8])],
        [value("y", shape=[1, 4, 8, 8])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def _onnx_models() -> list[bytes]:
    return [small_model().SerializeToString()]


def _npz() -> list[bytes]:
    packed = io.BytesIO()
    np.savez(packed, x=np.ones((1, 4, 8, 8), np.float32))
    return [packed.getvalue()]


TARGETS: dict[str, Target] = {
    "history": Target(_history, histories, "lines"),
    "history_xz": Target(_packed_history, _packed_histories, "packed_lines"),
    "local_history": Target(_local, _packed_histories, "packed_lines"),
    "run": Target(_run, histories, "lines", 0.002),
    "origin": Target(_origin, _origins, "json", 0.3),
    "summary": Target(_summary, _summaries, "json"),
    "card": Target(_card, _cards, "json"),
    "autotvm": Target(_logs, _log_lines, "lines"),
    "autotvm_packed": Target(_packed_logs, _packed_log_lines, "packed_lines"),
    "model": Target(_model, _models, "zip", 0.03),
    "manifest": Target(_manifest, _manifests, "json"),
    "pack": Target(_pack, _packs, "packed_bytes"),
    "results": Target(_results, _result_lines, "lines"),
    "contents": Target(_contents, _all_contents, "json"),
    "onnx": Target(_onnx, _onnx_models),
    "onnx_import": Target(_onnx_import, _onnx_models, share=0.01),
    "inputs": Target(_inputs, _npz, "zip"),
}
"""Every reader by name."""


def attempt(target: Target, folder: Path, data: bytes) -> bool:
    """Whether a target takes a file; the folder is empty before and after.

    Raises:
        Exception: one that is not a `ValueError`.
    """
    folder.mkdir(exist_ok=True)
    try:
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            target.read(folder, data)
    except ValueError:
        return False
    else:
        return True
    finally:
        shutil.rmtree(folder)
