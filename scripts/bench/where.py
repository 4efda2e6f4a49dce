"""Where a tuned network's time goes: by function, tuned and untuned, and what the runtime takes.

    python scripts/bench/where.py outputs/mobilenet_v2/dgp/...
    python scripts/bench/where.py copy --model model.onnx     # of what `dgtl tune` made

Functions are timed inside the network, by the runtime's own hook around each call. Prints every
function that takes at least half a percent, slowest first, then the sums. Ends with one line of
JSON: the latency and the sums in milliseconds, and the network over the sum of its functions.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import tvm

from dgtl.core.records import Hardware
from dgtl.core.titles import titles
from dgtl.results.card import Card
from dgtl.results.run_folder import Origin, Run
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.workload import networks
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    from dgtl.tvm.workload.importer.model import Network

LEAST = 0.005
"""Share of the network from which a function has a line of its own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="of a run, or of what `dgtl tune` made")
    parser.add_argument(
        "--model", type=Path, help="its ONNX file, where the folder has no run.json"
    )
    parser.add_argument("--repeats", type=int, default=100, help="runs of the network")
    args = parser.parse_args()
    try:
        hardware, network = built(args.folder, args.model)
        where(args.folder / "model.so", hardware, network, args.repeats)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


def built(folder: Path, model: Path | None) -> tuple[Hardware, Network]:
    """What a folder's network was built for, and the network.

    Raises:
        ValueError: a folder that does not say it, or has built none.
    """
    if not (folder / "model.so").exists():
        raise ValueError(f"{folder} holds no network that was built")
    if model is None:
        origin = Origin.read(folder)
        if origin is None:
            raise ValueError(f"{folder} does not say which network it is of: give --model FILE")
        return Run.read(folder).hardware, networks.of_config(origin.config["workload"])
    card = Card.read(folder)
    shapes = {value.name: list(value.shape) for value in card.inputs}
    network = networks.load("onnx", 0, str(model), shapes=shapes)
    return Hardware(card.hardware, card.target, card.num_cores), network


def where(library: Path, hardware: Hardware, network: Network, repeats: int) -> None:
    """Times a network and prints where its time goes."""
    latency_s, times = deploy.profile(library, hardware, network.inputs, repeats=repeats)
    target = tvm.target.Target(hardware.target)
    winograd = any("winograd" in function.name for function in times)
    functions = extract(lower(network.model, target, winograd=winograd), hardware)
    tasks = {f.name: f.task for f in functions if f.task is not None}
    names = dict(zip(tasks, titles(list(tasks.values())), strict=True))
    tuned_s = sum(f.seconds for f in times if _source(f.name) in names)
    other_s = sum(f.seconds for f in times if _source(f.name) not in names)
    print(f"{'function':60} {'calls':>5} {'ms':>8} {'share':>6}")
    for function in times:
        if function.seconds >= LEAST * latency_s:
            name = names.get(_source(function.name), f"- {function.name}")
            share = function.seconds / latency_s
            print(f"{name[:60]:60} {function.calls:5} {function.seconds * 1e3:8.3f} {share:6.1%}")
    print(f"\n{'layers, tuned':60} {'':5} {tuned_s * 1e3:8.3f} {tuned_s / latency_s:6.1%}")
    print(f"{'other functions':60} {'':5} {other_s * 1e3:8.3f} {other_s / latency_s:6.1%}")
    rest_s = latency_s - tuned_s - other_s
    print(f"{'the runtime':60} {'':5} {rest_s * 1e3:8.3f} {rest_s / latency_s:6.1%}")
    result = {
        "network_ms": round(latency_s * 1e3, 4),
        "tuned_ms": round(tuned_s * 1e3, 4),
        "other_ms": round(other_s * 1e3, 4),
        "network_over_sum": round(latency_s / (tuned_s + other_s), 4),
    }
    print(json.dumps(result))


def _source(name: str) -> str:
    """The function that was tuned; TVM calls it otherwise once its weights are laid out for it."""
    return name.removesuffix("_prepacked")


if __name__ == "__main__":
    main()
