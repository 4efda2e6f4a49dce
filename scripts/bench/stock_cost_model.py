"""TVM's MetaSchedule with its own boosted trees and with the deep GP, on the same layers.

    python scripts/bench/stock_cost_model.py --network resnet18 --tasks 56x56 14x14 --trials 64

`tune_tir` on each fused function of the network whose title has one of the texts, once with each
cost model, everything else by default but for batches of 16 (``--batch``) and workers that do not
wait for tensor intrinsics, which no float32 layer has. Prints for each the best latency so far [us]
after every batch, and the rank correlation of what was predicted of a batch before it was measured
with what was measured. The last line is JSON. Nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from scipy.stats import spearmanr
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

import dgtl
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure.local import machine_lock
from dgtl.tvm.workload.networks import NETWORKS
from dgtl.tvm.workload.tasks import extract, lower

if TYPE_CHECKING:
    from collections.abc import Callable

    from dgtl.core.records import Hardware
    from dgtl.tvm.workload.tasks import FusedFunction

MODELS: dict[str, Callable[[], Any]] = {
    "stock": ms.cost_model.XGBModel,
    "dgtl": lambda: dgtl.cost_model(history=False),
}


@derived_object
class Watched(ms.cost_model.PyCostModel):  # type: ignore[misc]
    """A cost model that is asked about every batch before it learns of it."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        self.best_us: list[float] = []
        self.ranks: list[float] = []
        self.model_s = 0.0

    def predict(self, context: Any, candidates: Any) -> Any:
        begin = time.perf_counter()
        scores = self.model.predict(context, candidates)
        self.model_s += time.perf_counter() - begin
        return scores

    def update(self, context: Any, candidates: Any, results: Any) -> None:
        scores = self.model.predict(context, candidates)
        ran = [i for i, result in enumerate(results) if result.run_secs]
        times_s = [np.median([float(s) for s in results[i].run_secs]) for i in ran]
        if len(ran) > 2:
            self.ranks.append(float(spearmanr(scores[ran], [-t for t in times_s]).statistic))
        self.best_us.append(min([*self.best_us[-1:], *(t * 1e6 for t in times_s)], default=np.inf))
        begin = time.perf_counter()
        self.model.update(context, candidates, results)
        self.model_s += time.perf_counter() - begin


def without_intrinsics() -> None:
    """In a worker of TVM: see `dgtl.tvm`."""
    name = "tvm.s_tir.tensor_intrin"
    sys.modules.setdefault(name, types.ModuleType(name))


def tune(
    function: FusedFunction, hardware: Hardware, model: Any, trials: int, batch: int, seed: int
) -> dict[str, Any]:
    """What a search with a cost model comes to."""
    watched = Watched(model)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="dgtl-stock-") as folder:
        ms.tir_integration.tune_tir(
            function.mod,
            tvm.target.Target(hardware.target),
            folder,
            max_trials_global=trials,
            num_trials_per_iter=batch,
            builder=ms.builder.LocalBuilder(
                max_workers=hardware.num_cores, initializer=without_intrinsics
            ),
            cost_model=watched,
            seed=seed,
        )
    return {
        "best_us": [round(us, 2) for us in watched.best_us],
        "rank_correlation": [round(rank, 3) for rank in watched.ranks],
        "model_s": round(watched.model_s, 1),
        "total_s": round(time.perf_counter() - begin, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--network", default="resnet18", choices=NETWORKS)
    parser.add_argument("--tasks", nargs="*", default=[""], help="texts in the titles of layers")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--cores", type=int, help="that kernels may use; all if left out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    hardware = machine.detect(args.cores)
    # By default TVM takes half of the cores; workers inherit this.
    os.environ["TVM_NUM_THREADS"] = str(hardware.num_cores)
    network = lower(NETWORKS[args.network](0), tvm.target.Target(hardware.target))
    functions = [f for f in extract(network, hardware) if f.task is not None]
    chosen = [f for f in functions if any(text in f.task.title for text in args.tasks)]
    if not chosen:
        titles = "; ".join(f.task.title for f in functions)
        sys.exit(f"error: no layer is called {args.tasks}: choose of {titles}")
    ends: dict[str, list[float]] = {name: [] for name in MODELS}
    for function in chosen:
        for name, make in MODELS.items():
            with machine_lock():
                found = tune(function, hardware, make(), args.trials, args.batch, args.seed)
            ends[name].append(found["best_us"][-1])
            print(json.dumps({"task": function.task.title, "model": name, **found}), flush=True)
    ratios = np.array(ends["dgtl"]) / np.array(ends["stock"])
    print(
        json.dumps(
            {"tasks": len(chosen), "latency_ratio": round(float(np.exp(np.log(ratios).mean())), 4)}
        )
    )


if __name__ == "__main__":
    main()
