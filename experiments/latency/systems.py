"""The systems that run a network, each in a process of its own with the same threads."""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING, Any

import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from dgtl.front.api import tune
from dgtl.tvm import allow_intrinsics
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.deploy import race
from dgtl.tvm.deploy.race import Contender
from dgtl.tvm.workload.importer.to_relax import quiet
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from dgtl.core.records import Hardware
    from dgtl.tvm.workload.importer.model import Network

Entry = tuple[Contender, float]
"""A system with a network, and the seconds that its search took."""

UNTUNED_TURNS = 3
"""The untuned network takes a hundred times as long and is no close race."""


class MissingError(Exception):
    """A system that is not installed, or that does not take the network; in one line."""


def untuned(folder: Path, network: Network, hardware: Hardware, args: Any) -> Entry:
    """TVM without any schedule."""
    library = folder / "untuned.so"
    lowered = lower(network.model, tvm.target.Target(hardware.target))
    deploy.build(lowered, hardware, library)
    cores = hardware.num_cores
    return Contender.of_library("untuned", UNTUNED_TURNS, library, network.inputs, cores), 0.0


def dgtl(folder: Path, network: Network, hardware: Hardware, args: Any) -> Entry:
    """`dgtl.tune` for so many seconds."""
    out = folder / "dgtl"
    if not (out / "card.json").exists():
        tuned = tune(
            folder / "model.onnx",
            seconds=args.seconds,
            num_cores=hardware.num_cores,
            history=args.history,
            settings=args.set,
        )
        tuned.save(out)
    library, cores = out / "model.so", hardware.num_cores
    return Contender.of_library("dgtl", args.rounds, library, network.inputs, cores), args.seconds


def metaschedule(folder: Path, network: Network, hardware: Hardware, args: Any) -> Entry:
    """TVM's own pipeline of tuning, as it comes, for so many trials."""
    library, took = folder / "metaschedule.so", folder / "metaschedule.seconds"
    target = tvm.target.Target(hardware.target)
    if not library.exists():
        allow_intrinsics()
        begin = time.perf_counter()
        with quiet():
            mod = from_onnx(network.model, keep_params_in_input=False)
        pipeline = relax.pipeline.static_shape_tuning_pipeline(
            total_trials=args.trials, target=target, work_dir=str(folder / "metaschedule")
        )
        tvm.compile(pipeline(mod), target).export_library(str(library))
        took.write_text(str(time.perf_counter() - begin))
    cores = hardware.num_cores
    contender = Contender.of_library("metaschedule", args.rounds, library, network.inputs, cores)
    return contender, float(took.read_text())


def onnxruntime(folder: Path, network: Network, hardware: Hardware, args: Any) -> Entry:
    """ONNX Runtime as it comes, but for the threads."""
    return _onnxruntime("onnxruntime", folder, network, hardware, args.rounds, spin=True), 0.0


def onnxruntime_patient(folder: Path, network: Network, hardware: Hardware, args: Any) -> Entry:
    """ONNX Runtime whose threads sleep while they have nothing to do."""
    name = "onnxruntime_patient"
    return _onnxruntime(name, folder, network, hardware, args.rounds, spin=False), 0.0


def _onnxruntime(
    name: str, folder: Path, network: Network, hardware: Hardware, rounds: int, *, spin: bool
) -> Contender:
    model, inputs = str(folder / "model.onnx"), network.inputs
    return Contender.start(
        name, rounds, _start_onnxruntime, model, inputs, hardware.num_cores, spin
    )


def _start_onnxruntime(model: str, inputs: dict[str, np.ndarray], cores: int, spin: bool) -> None:
    """Makes this process run a network by ONNX Runtime."""
    import onnxruntime

    race.pin(cores)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    race.enter(lambda: session.run(None, inputs)[0])


def torch(folder: Path, network: Network, hardware: Hardware, args: Any) -> Entry:
    """PyTorch's compiler, on what onnx2torch makes of the network.

    Raises:
        MissingError: one of both is not installed.
    """
    for name in ("torch", "onnx2torch"):
        if importlib.util.find_spec(name) is None:
            raise MissingError(f"{name} is not installed")
    model, inputs = str(folder / "model.onnx"), network.inputs
    contender = Contender.start(
        "torch", args.rounds, _start_torch, model, inputs, hardware.num_cores
    )
    return contender, 0.0


def _start_torch(model: str, inputs: dict[str, np.ndarray], cores: int) -> None:
    race.pin(cores)
    import onnx2torch
    import torch

    torch.set_num_threads(cores)
    compiled = torch.compile(onnx2torch.convert(model).eval())
    values = [torch.from_numpy(value) for value in inputs.values()]

    def run() -> np.ndarray:
        with torch.inference_mode():
            result = compiled(*values)
        return (result if hasattr(result, "numpy") else result[0]).numpy()

    race.enter(run)


SYSTEMS: dict[str, Callable[..., Entry]] = {
    system.__name__: system
    for system in (untuned, dgtl, metaschedule, onnxruntime, onnxruntime_patient, torch)
}
"""By name: each makes a network run by it."""


def flops(network: Network, hardware: Hardware) -> float:
    """Operations of all layers of a network."""
    functions = extract(lower(network.model, tvm.target.Target(hardware.target)), hardware)
    return sum(f.weight * f.task.flops for f in functions if f.task is not None)
