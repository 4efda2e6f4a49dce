"""What the local history is worth: a second network with and without what the first one taught.

    python scripts/bench/knowledge.py squeezenet1_1 mobilenet_v1 --seconds 60 --out build/knowledge

Tunes the first network into a history of its own, then the second one twice for as many seconds,
without and with that history. No layer of one may have the shape of a layer of the other. Prints a
line for each, and the geometric mean over the second one's layers of throughput with over without;
``knowledge.json`` in the folder has them. Nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from dgtl.front.options import Options
from dgtl.front.tuning import tuned_into
from dgtl.results.run_folder import Run
from dgtl.tvm.workload.networks import NETWORKS

if TYPE_CHECKING:
    from dgtl.results.summary import Summary


def shapes(folder: Path) -> set[str]:
    """Shape keys of the layers of a run."""
    return {result.task.shape_key for result in Run.read(folder).results}


def tuned(network: str, folder: Path, seconds: float, *, history: bool, seed: int) -> Summary:
    """The summary of a network that is tuned into a folder."""
    model = folder.parent / f"{network}.onnx"
    onnx.save(NETWORKS[network](0), str(model))
    return tuned_into(Options(model, folder, seconds, history=history, seed=seed))


def gain(without: Summary, knowing: Summary) -> float | None:
    """Geometric mean of throughput with over without, over the layers that both tuned."""
    pairs = zip(without.tasks, knowing.tasks, strict=True)
    logs = [
        math.log(b.best_gflops / a.best_gflops)
        for a, b in pairs
        if a.best_gflops is not None and b.best_gflops is not None
    ]
    return math.exp(statistics.fmean(logs)) if logs else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", choices=NETWORKS, help="network that teaches")
    parser.add_argument("second", choices=NETWORKS, help="network that is tuned twice")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder; stopped, it goes on there")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ["DGTL_HISTORY"] = str(args.out.absolute() / "history")

    def run(network: str, name: str, *, history: bool) -> Summary:
        return tuned(network, args.out / name, args.seconds, history=history, seed=args.seed)

    without = run(args.second, "without", history=False)
    run(args.first, "first", history=True)
    shared = shapes(args.out / "first") & shapes(args.out / "without")
    if shared:
        raise SystemExit(f"both networks have {'; '.join(sorted(shared))}: choose others")
    knowing = run(args.second, "with", history=True)
    result = {
        "first": args.first,
        "second": args.second,
        "seconds": args.seconds,
        "seed": args.seed,
        "gain": gain(without, knowing),
        **{
            name: {
                "latency_ms": summary.latency_ms,
                "sum_of_tasks_ms": summary.sum_of_tasks_ms,
                "trials": summary.trials,
                "untried": len(summary.untuned),
            }
            for name, summary in (("without", without), ("with", knowing))
        },
    }
    (args.out / "knowledge.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
