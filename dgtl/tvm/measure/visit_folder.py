"""A visit as a folder: what is written for the device, and what comes back.

Beside the manifest that `dgtl.device` reads lie the packed kernels, the runner as one file, and
``contents.json``, which says what configuration each kernel is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import tarfile
import time
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core import gpus
from dgtl.core.files import read_lines, read_object, write_whole
from dgtl.core.limits import check_trial
from dgtl.core.records import Status, Trial
from dgtl.core.typed import typed
from dgtl.device.archive import write_archive
from dgtl.device.folder import SCHEMA, Visit
from dgtl.tvm.measure import workers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dgtl.core.records import Hardware, Task
    from dgtl.measure.protocol import MeasureOptions
    from dgtl.tvm.measure.builders import Builders

DEVICES = {"llvm": "cpu", "cuda": "cuda"}
"""What the runner calls the device of a kind of target."""


@dataclasses.dataclass
class Order:
    """Configurations of a task to be timed in the next visit, or to be checked."""

    task: Task
    configs: list[str]
    best_s: float = math.inf
    check: bool = False


@dataclasses.dataclass(frozen=True)
class NetworkOrder:
    """A whole network to be run in the next visit.

    Args:
        library: built.
        binaries: of its CUDA sources, see `dgtl.tvm.cuda.write_binaries`.
        inputs, outputs: what to run it on, and what it should compute.
        repeats: how often to run it.
    """

    library: Path
    binaries: Mapping[str, str]
    inputs: Sequence[NDArray[np.float32]]
    outputs: Sequence[NDArray[np.float32]]
    repeats: int


@dataclasses.dataclass(frozen=True)
class NetworkResult:
    """A network that ran in a visit: its run times [s], its relative error, what went wrong."""

    run_times_s: tuple[float, ...]
    relative_error: float | None
    error: str


class WrittenVisit:
    """A visit folder as it is written.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._packs: list[dict[str, Any]] = []
        self._networks: list[dict[str, Any]] = []
        self._kernels: dict[str, dict[str, Any]] = {}
        self.failed: list[Trial] = []
        self.failed_checks: list[Trial] = []

    @property
    def handled(self) -> int:
        """Configurations built or failed."""
        return len(self._kernels) + len(self.failed) + len(self.failed_checks)

    def add(self, order: Order, builders: Builders) -> None:
        """Builds the configurations of a task into a pack."""
        begin = time.perf_counter()
        make = builders.build_checks if order.check else builders.build
        built = make(order.task, order.configs)
        share_s = (time.perf_counter() - begin) / len(built)
        number = len(self._packs)
        kernels: list[dict[str, Any]] = []
        file = f"packs/{number:03d}.tar.xz"
        with tarfile.open(self._folder / file, "w:xz") as tar:
            for config, result in zip(order.configs, built, strict=True):
                if isinstance(result, Trial):
                    failed = self.failed_checks if order.check else self.failed
                    failed.append(result.replace(wall_s=share_s, timestamp=time.time()))
                    continue
                name = f"{number:03d}-{len(kernels):04d}"
                kernels.append(_packed(tar, name, result, order.check))
                self._kernels[name] = {
                    "task": order.task.key,
                    "config": config,
                    "build_s": result.build_s,
                    "share_s": share_s,
                }
        best_s = order.best_s if math.isfinite(order.best_s) else None
        digest = _digest(self._folder / file)
        self._packs.append({"file": file, "sha256": digest, "best_s": best_s, "kernels": kernels})

    def add_network(self, key: str, order: NetworkOrder) -> None:
        """Takes in a network that was built."""
        folder = self._folder / "networks"
        folder.mkdir(exist_ok=True)
        stem = f"networks/{key}"
        shutil.copyfile(order.library, self._folder / f"{stem}.so")
        values = {f"input_{i}": value for i, value in enumerate(order.inputs)}
        values |= {f"output_{i}": value for i, value in enumerate(order.outputs)}
        np.savez(self._folder / f"{stem}.npz", **values)
        binaries = {}
        for i, (source, file) in enumerate(order.binaries.items()):
            name = f"{stem}.{i}.cubin"
            shutil.copyfile(file, self._folder / name)
            binaries[source] = [name, _digest(self._folder / name)]
        self._networks.append(
            {
                "id": key,
                "file": f"{stem}.so",
                "sha256": _digest(self._folder / f"{stem}.so"),
                "inputs": f"{stem}.npz",
                "repeats": order.repeats,
                "cubins": binaries,
            }
        )

    def finish(self, hardware: Hardware, options: MeasureOptions) -> None:
        """Writes the manifest, what the kernels are, and the runner."""
        arch = json.loads(hardware.target).get("arch")
        manifest = {
            "type": "dgtl-visit",
            "schema": SCHEMA,
            "id": uuid.uuid4().hex[:8],
            "device": DEVICES[hardware.kind],
            "arch": arch,
            "threads": hardware.num_cores,
            "options": {name: getattr(options, name) for name in Visit.OPTIONS},
            "packs": self._packs,
            "networks": self._networks,
        }
        contents = {
            "kernels": self._kernels,
            "failed": [trial.to_json() for trial in self.failed],
            "failed_checks": [trial.to_json() for trial in self.failed_checks],
        }
        _write(self._folder / "contents.json", contents)
        write_archive(self._folder / "device.pyz")
        _write(self._folder / "manifest.json", manifest)


def _packed(tar: tarfile.TarFile, name: str, built: workers.Built, check: bool) -> dict[str, Any]:
    """Adds what was built to a pack; its entry in the manifest."""
    tar.add(built.library, f"{name}.so")
    expected = None
    if check:
        tar.add(f"{built.library}.npz", f"{name}.npz")
        expected = {"seed": workers.CHECK_SEED, "expected": f"{name}.npz"}
    binaries = {source: f"{name}.{i}.cubin" for i, source in enumerate(built.binaries)}
    for source, file in binaries.items():
        tar.add(built.binaries[source], file)
    kernel = {"id": name, "library": f"{name}.so", "tensors": built.tensors}
    return {**kernel, "check": expected, "cubins": binaries}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1) + "\n")


def visits(folder: Path) -> list[Path]:
    """The visits of a run in their order."""
    numbered = [path for path in folder.glob("*") if path.name.isdigit()]
    return sorted(numbered, key=lambda path: int(path.name))


def is_done(visit: Path) -> bool:
    """Whether everything in a visit has a result."""
    path = visit / "results.jsonl"
    if not path.exists():
        return False
    last = b""
    for line in read_lines(path):
        last = line if line.strip() else last
    return bool(last) and _record(last, path).get("type") == "done"


@dataclasses.dataclass
class Found:
    """What a visit brought: timed kernels, checked ones (`ok` where right), networks by key."""

    trials: list[Trial]
    verdicts: list[Trial]
    networks: dict[str, NetworkResult]


def read(visit: Path, hardware: Hardware) -> Found:
    """The results of a visit that is done.

    Args:
        visit: its folder.
        hardware: what its kernels were built for.

    Raises:
        ValueError: results of another visit, of another device, or damaged ones.
    """
    contents = read_object(visit / "contents.json")
    manifest = read_object(visit / "manifest.json")
    try:
        found = Found(
            [Trial.from_json(record) for record in contents["failed"]],
            [Trial.from_json(record) for record in contents["failed_checks"]],
            {},
        )
        kernels = {key: typed(_Kernel, kernel) for key, kernel in contents["kernels"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{visit / 'contents.json'} is damaged: {error}") from error
    path = visit / "results.jsonl"
    for line in read_lines(path):
        record = _record(line, path)
        if record.get("visit") != manifest.get("id"):
            raise ValueError(f"{path} holds results of another visit")
        try:
            _take(found, record, kernels)
        except KeyError as error:
            raise ValueError(f"{path} is damaged: it has no kernel {error}") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if record["type"] == "device":
            _check_device(str(record.get("name")), hardware, path)
    return found


@dataclasses.dataclass(frozen=True)
class _Kernel:
    """What ``contents.json`` says of a kernel."""

    task: str
    config: str
    build_s: float
    share_s: float


@dataclasses.dataclass(frozen=True)
class _Result:
    """What the runner says of a kernel, a check or a network: see `dgtl.device.parent`."""

    id: str
    status: Status
    error: str
    timestamp: float
    times_s: tuple[float, ...] = ()
    run_s: float = 0.0
    quick: bool = False
    relative_error: float | None = None


def _take(found: Found, record: dict[str, Any], kernels: Mapping[str, _Kernel]) -> None:
    """Adds a result to what was found."""
    if record.get("type") not in ("kernel", "check", "network"):
        return
    result = typed(_Result, record)
    if record["type"] == "network":
        timing = NetworkResult(result.times_s, result.relative_error, result.error)
        found.networks[result.id] = timing
        return
    kernel = kernels[result.id]
    trial = Trial(
        kernel.task,
        kernel.config,
        result.status,
        error=result.error,
        timestamp=result.timestamp,
    )
    if record["type"] == "check":
        found.verdicts.append(trial)
        return
    trial = trial.replace(
        run_times_s=result.times_s if trial.ok else (),
        quick=result.quick,
        build_s=kernel.build_s,
        run_s=result.run_s,
        wall_s=kernel.share_s + result.run_s,
    )
    check_trial(trial)
    found.trials.append(trial)


def _check_device(product: str, hardware: Hardware, path: Path) -> None:
    name = gpus.name_of(product)
    if hardware.kind == "cuda" and hardware.name in gpus.GPUS and name != hardware.name:
        raise ValueError(
            f"{path} was timed on {product}, this run is for {hardware.name}: say "
            f"hardware.device={name} from the first visit on"
        )


def _record(line: bytes, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or "type" not in record:
        raise ValueError(f"{path} is damaged: copy it from the device again")
    return record
