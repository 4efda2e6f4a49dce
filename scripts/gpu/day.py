"""What to do on a day when a GPU is there, in parts of minutes, each safe to stop.

    python scripts/gpu/day.py build --arch sm_90                # beforehand: no second of the GPU
    python scripts/gpu/day.py runtime --wheels WHEELS           # what the device may lack
    python build/day/device.pyz build/day/check --seconds 200   # on the device, part by part
    python scripts/gpu/day.py take                              # afterwards: what it came to

Parts: ``check`` (is the result right, and how far do timings of one kernel differ?) and
``history-0``, ``history-1`` and so on (layers that no shipped network has, so many kernels each, at
random). What is built or done is not built again; ``take`` writes ``build/day/DEVICE.jsonl``, to be
packed into ``dgtl/data`` by scripts/collect_history.py. Networks are tuned by the command itself:
``run.py hardware=cuda measure=folder``, see docs/gpu.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tvm

from dgtl.core.history import History, TrialLog
from dgtl.core.records import Hardware, Task
from dgtl.core.space import DesignSpace
from dgtl.device.archive import write_archive
from dgtl.device.runtime import library_names
from dgtl.measure import provenance
from dgtl.measure.protocol import MeasureOptions
from dgtl.search.annealing import untried
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure.visit_folder import Order, is_done, read
from dgtl.tvm.measure.visits import write_visit
from dgtl.tvm.workload.sketches import ScheduleSpace
from dgtl.tvm.workload.suites import SUITES
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgtl.tvm.workload.networks import Layer

OPTIONS = MeasureOptions(min_repeat_ms=4.0, build_timeout_s=5.0, cache_flush_mb=48.0)
"""Shorter timings than tuning takes, for there are many; about the level-2 cache of an H100."""

CHECKED = (
    SUITES["default"][8],
    SUITES["default"][22],
    SUITES["default"][-7],
    SUITES["default"][-5],
)
LAYERS_A_PART = 6


class Layers:
    """The tunable functions of layers on a GPU.

    Args:
        layers: what to look at.
        hardware: the GPU.
    """

    def __init__(self, layers: Sequence[Layer], hardware: Hardware):
        target = tvm.target.Target(hardware.target)
        self.functions: dict[str, tvm.ir.IRModule] = {}
        self.tasks: list[tuple[Task, DesignSpace]] = []
        for layer in layers:
            for function in extract(lower(layer.model(0), target), hardware):
                if function.task is not None:
                    self.functions[function.task.key] = function.mod
                    space = ScheduleSpace(function.mod, target).space
                    self.tasks.append((function.task, space))


def write(folder: Path, hardware: Hardware, layers: Layers, orders: list[Order]) -> None:
    """Builds a part, unless it is there."""
    if folder.exists():
        print(f"{folder}: built before")
        return
    spaces_of = folder.with_name(f"{folder.name}.tasks.json")
    spaces = [{**task.to_json(), "space": space.to_json()} for task, space in layers.tasks]
    spaces_of.write_text(json.dumps(spaces))
    write_visit(
        folder,
        hardware,
        layers.functions,
        OPTIONS,
        orders,
        on_built=lambda done, failed: print(
            f"{folder}: {done} kernels, {failed} failed", flush=True
        ),
    )


def build(args: argparse.Namespace) -> None:
    """Builds the parts."""
    found = machine.gpu(args.device, args.arch)
    for remark in found.remarks:
        print(remark)
    hardware, rng = found.hardware, np.random.default_rng(0)
    args.out.mkdir(parents=True, exist_ok=True)
    write_archive(args.out / "device.pyz")

    layers = Layers(CHECKED, hardware)
    drawn = [untried(space, rng, 6) for _, space in layers.tasks]
    checks = [
        Order(task, keys[:2], check=True)
        for (task, _), keys in zip(layers.tasks, drawn, strict=True)
    ]
    # The same kernels four times, apart in time.
    timed = [
        Order(task, keys)
        for _ in range(4)
        for (task, _), keys in zip(layers.tasks, drawn, strict=True)
    ]
    write(args.out / "check", hardware, layers, [*checks, *timed])
    chosen = SUITES["default"][: args.layers]
    for number, first in enumerate(range(0, len(chosen), LAYERS_A_PART)):
        layers = Layers(chosen[first : first + LAYERS_A_PART], hardware)
        orders = [Order(task, untried(space, rng, args.kernels)) for task, space in layers.tasks]
        write(args.out / f"history-{number}", hardware, layers, orders)


def runtime(args: argparse.Namespace) -> None:
    """Gathers what the device needs: TVM's runtime libraries, and wheels unpacked."""
    folder = args.out / "runtime"
    folder.mkdir(parents=True, exist_ok=True)
    for name in library_names("cuda"):
        shutil.copy(Path(tvm.__file__).parent / "lib" / name, folder)
    for wheel in sorted(args.wheels.glob("*.whl")) if args.wheels else ():
        with zipfile.ZipFile(wheel) as content:
            content.extractall(args.out / "site")
    print(
        f"on the device: PYTHONPATH={args.out}/site python {args.out}/device.pyz {args.out}/PART "
        f"--runtime {folder} --seconds 200"
    )


def take(args: argparse.Namespace) -> None:
    """Prints what the parts came to, and writes the history."""
    hardware = machine.gpu(args.device, args.arch).hardware
    if is_done(args.out / "check"):
        print_check(args.out / "check")
    path = args.out / f"{hardware.name}.jsonl"
    known = History.read(path) if path.exists() else History()
    with TrialLog(path) as log:
        source = provenance.collect(hardware, 0, machine.versions(), OPTIONS)
        log.provenance(source)
        for part in sorted(p for p in args.out.glob("history-*") if p.is_dir()):
            if not is_done(part):
                print(f"{part}: not done")
                continue
            trials = read(part, hardware).trials
            for record in json.loads(part.with_name(f"{part.name}.tasks.json").read_text()):
                own = [trial for trial in trials if trial.task == record["key"]]
                if known.trials(record["key"]) or not own:
                    continue
                log.task(Task.from_json(record), DesignSpace.from_json(record["space"]))
                for trial in own:
                    log.trial(trial.replace(stage="random", provenance=source.id))
            print(f"{part}: {sum(trial.ok for trial in trials)} of {len(trials)} kernels ran")
    print(path)


def print_check(part: Path) -> None:
    """Whether results are right, and how far timings of one kernel lie apart."""
    contents = json.loads((part / "contents.json").read_text())["kernels"]
    medians: dict[tuple[str, str], list[float]] = {}
    for line in (part / "results.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["type"] == "device":
            print(json.dumps(record))
        elif record["type"] == "check":
            error = record["relative_error"]
            print(f"check {record['id']}: {record['status']}, relative error {error}")
        elif record["type"] == "kernel" and record["status"] == "ok":
            kernel = contents[record["id"]]
            key = kernel["task"], kernel["config"]
            medians.setdefault(key, []).append(statistics.median(record["times_s"]))
    spreads = [max(times) / min(times) - 1 for times in medians.values() if len(times) > 1]
    print(
        f"{len(spreads)} kernels timed again and again: their medians differ by "
        f"{statistics.median(spreads):.2%} in the median, {max(spreads):.2%} at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("do", choices=("build", "runtime", "take"))
    parser.add_argument("--out", type=Path, default=Path("build/day"))
    parser.add_argument("--arch", default="sm_90")
    parser.add_argument(
        "--device", default=None, help="name of the GPU, where arch says too little"
    )
    parser.add_argument("--layers", type=int, default=24, help="of the history")
    parser.add_argument("--kernels", type=int, default=150, help="of each layer")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that the device lacks")
    args = parser.parse_args()
    try:
        {"build": build, "runtime": runtime, "take": take}[args.do](args)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
