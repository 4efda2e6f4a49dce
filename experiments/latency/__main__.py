"""Latencies of networks, timed in turns: dgtl, untuned TVM, MetaSchedule, ONNX Runtime, PyTorch.

    python -m experiments.latency resnet18 mobilenet_v2 --seconds 120
    python -m experiments.latency model.onnx --shape x=1,3,224,224 --systems dgtl,onnxruntime
    python -m experiments.latency --table results       # of all that were raced in --out

All on the same file, the same input and the same cores: each keeps a warm process of its own, which
sleeps while another has its turn, so that what else the machine does hits all of them alike. Others
on the machine slow a run down and never speed it up: what is compared is the lowest quartile of all
run times, with its 95 % interval by a bootstrap over turns. What was tuned is kept in ``--out`` and
used again. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from dgtl.device.values import differences
from dgtl.tvm import hardware as machine
from dgtl.tvm.deploy import race
from dgtl.tvm.workload import networks
from experiments.latency import table
from experiments.latency.systems import SYSTEMS, MissingError, flops
from experiments.latency.table import Raced

if TYPE_CHECKING:
    from dgtl.tvm.deploy.race import Contender
    from dgtl.tvm.workload.importer.model import Network

QUARTILE = 0.25
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", help="ONNX files, or names of built-in networks")
    parser.add_argument("--shape", action="append", default=[], help="of an input: x=1,3,224,224")
    parser.add_argument("--systems", default="untuned,dgtl,onnxruntime,onnxruntime_patient")
    parser.add_argument("--seconds", type=float, default=120.0, help="of dgtl's search")
    parser.add_argument("--trials", type=int, default=2000, help="of MetaSchedule's search")
    parser.add_argument("--history", action="store_true", help="dgtl learns from what was tuned")
    parser.add_argument("--set", action="append", default=[], help="a setting of dgtl's, as run.py")
    parser.add_argument("--cores", type=int, help="threads of each; default: all cores")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each")
    parser.add_argument("--peak", type=float, help="arithmetic limit [GFLOPS], of bench/peak.py")
    parser.add_argument("--out", type=Path, default=Path("build/latency"))
    parser.add_argument("--table", type=Path, help="folder for the table of all in --out")
    args = parser.parse_args()
    if not args.models and args.table is None:
        parser.error("give models to race, or --table FOLDER")
    chosen = args.systems.split(",")
    if unknown := [name for name in chosen if name not in SYSTEMS]:
        parser.error(f"no such system: {unknown[0]}; choose of {', '.join(SYSTEMS)}")
    if args.rounds < 1:
        parser.error("--rounds: at least 1")
    figures = {}
    for model in args.models:
        name = Path(model).stem
        print(f"{name}:", flush=True)
        try:
            figures[name] = compare(model, chosen, args)
        except ValueError as error:
            raise SystemExit(f"error: {model}: {error}") from error
    if args.table is not None:
        try:
            print(table.write(args.out, args.table))
        except ValueError as error:
            raise SystemExit(f"error: {error}") from error
    if args.models:
        print(json.dumps(figures))


def compare(model: str, chosen: list[str], args: Any) -> dict[str, dict[str, float]]:
    """Latencies [ms] of a network by each system.

    Raises:
        ValueError: the network cannot be imported, or two systems compute different things.
    """
    hardware = machine.detect(args.cores)
    network, folder = _network(model, args)
    contenders: list[Contender] = []
    searched: dict[str, float] = {}
    try:
        for name in chosen:
            try:
                contender, searched[name] = SYSTEMS[name](folder, network, hardware, args)
            except MissingError as missing:
                print(f"  without {name}: {missing}")
                continue
            contenders.append(contender)
        _agree(contenders)
        race.race(contenders, args.rounds)
    finally:
        for contender in contenders:
            contender.close()
    found = {c.name: _figures(c) | {"search_s": round(searched[c.name], 1)} for c in contenders}
    Raced.now(Path(model).stem, found, hardware, args.set).keep(folder)
    for name, row in found.items():
        print(
            f"  {name:20s} {row['quartile_ms']:9.3f} ms [{row['low_ms']:.3f}, {row['high_ms']:.3f}]"
            f", median {row['median_ms']:.3f}"
        )
    if args.peak is not None:
        least_ms = flops(network, hardware) / args.peak / 1e6
        print(f"  {'arithmetic limit':20s} {least_ms:9.3f} ms")
    return found


def _network(model: str, args: Any) -> tuple[Network, Path]:
    """The network, and its folder with the file that all systems read."""
    shapes = {
        name: [int(n) for n in text.split(",")]
        for name, _, text in (shape.partition("=") for shape in args.shape)
    }
    file = model if model.endswith(".onnx") else None
    name = "onnx" if file is not None else model
    network = networks.load(name, 0, file, shapes=shapes or None)
    folder = args.out / Path(model).stem
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(network.model, folder / "model.onnx")
    return network, folder


def _agree(contenders: list[Contender]) -> None:
    """Whether all compute the same.

    Raises:
        ValueError: they do not.
    """
    first, *others = contenders
    expected = first.output()
    for other in others:
        error = max(differences(expected, other.output()))
        if error > 1e-2:
            raise ValueError(f"{other.name} and {first.name} differ: relative error {error:.1e}")


def _figures(contender: Contender) -> dict[str, float]:
    """Median, lowest quartile and the interval of that [ms]."""
    turns = contender.by_turn
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(turns), (RESAMPLES, len(turns)))
    drawn = [np.quantile(np.concatenate([turns[i] for i in draw]), QUARTILE) for draw in draws]
    low, high = np.quantile(drawn, [0.025, 0.975])
    figures = {
        "median_ms": contender.latency_ms,
        "quartile_ms": float(np.quantile(contender.times_s, QUARTILE)) * 1e3,
        "low_ms": float(low) * 1e3,
        "high_ms": float(high) * 1e3,
    }
    return {name: round(value, 4) for name, value in figures.items()}


if __name__ == "__main__":
    main()
