"""TVM's own cost model and the deep GP as MetaSchedule would ask them, on the same recorded trials.

    python scripts/bench/stock_cost_model.py --told 0 16 64

Of each of some layers of the shipped tables of an AMD EPYC, `--rows` recorded configurations become
candidates of MetaSchedule. Both models are told the first ``n`` of them and predict the others:
rank correlation with what was measured, and how near the best of the ``--top`` predicted comes to
the best. The boosted trees are TVM's `XGBModel`, but without its first 100 trials of random scores;
told nothing, they are random all the same. No history that the deep GP learned has these layers.
Nothing is built or run. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import types
from collections import defaultdict
from typing import Any

import numpy as np
import tvm
from scipy.stats import spearmanr
from tvm.s_tir import meta_schedule as ms

import dgtl
from dgtl.core.history import SHIPPED_TABLES, History
from dgtl.tvm import hardware as machine
from dgtl.tvm.workload.networks import Layer
from dgtl.tvm.workload.sketches import ScheduleSpace
from dgtl.tvm.workload.tasks import extract, lower

LAYERS = {
    "conv 3x3 256->256 14x14": Layer("conv2d", 14, 256, 256, 3, 1, 1),
    "conv 3x3 128->128 28x28": Layer("conv2d", 28, 128, 128, 3, 1, 1),
    "conv 1x1 512->512 14x14": Layer("conv2d", 14, 512, 512),
    "depthwise 3x3 512 14x14": Layer("depthwise_conv2d", 14, 512, 512, 3, 1, 1),
}
HARDWARE = "amd-epyc-znver4"
TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 4})
"""What the tables were recorded for."""


def recorded(layer: Layer, rows: int, seed: int) -> tuple[Any, list[Any], np.ndarray]:
    """A layer's context, candidates and their measured latencies [s], in random order."""
    functions = extract(lower(layer.model(0), TARGET), machine.detect())
    (function,) = [f for f in functions if f.task is not None]
    schedules = ScheduleSpace(function.mod, TARGET)
    (table,) = [
        source
        for source in History.read(SHIPPED_TABLES)
        if source.task.hardware.name == HARDWARE
        and function.task is not None
        and source.task.shape_key == function.task.shape_key
    ]
    drawn = np.random.default_rng(seed).permutation(len(table.ok_trials))[:rows]
    trials = [table.ok_trials[i] for i in drawn]
    info = ms.arg_info.ArgInfo.from_prim_func(function.mod["main"])
    candidates = [
        ms.MeasureCandidate(schedules.schedule(config), info)
        for config in table.space.of_trials(trials)
    ]
    context = ms.TuneContext(mod=function.mod, target=TARGET, task_name=function.name)
    return context, candidates, np.array([trial.latency_s for trial in trials])


def told(model: Any, context: Any, candidates: list[Any], times_s: np.ndarray, n: int) -> Any:
    """What a model that is told the first ``n`` candidates predicts of the others."""
    if n:
        results = [ms.runner.RunnerResult([float(time_s)], None) for time_s in times_s[:n]]
        model.update(context, candidates[:n], results)
    return model.predict(context, candidates[n:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--told", type=int, nargs="*", default=[0, 16, 64])
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--top", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    np.random.seed(args.seed)  # what TVM's model draws from
    ours = dgtl.cost_model(history=False)
    # The rules here name no intrinsic, and TVM takes half a minute to register them.
    name = "tvm.s_tir.tensor_intrin"
    sys.modules.setdefault(name, types.ModuleType(name))
    found: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for title, layer in LAYERS.items():
        context, candidates, times_s = recorded(layer, args.rows, args.seed)
        for n in args.told:
            fresh = type(ours)(ours.method)
            for model, who in (
                (ms.cost_model.XGBModel(num_warmup_samples=0), "stock"),
                (fresh, "dgtl"),
            ):
                begin = time.perf_counter()
                scores = told(model, context, candidates, times_s, n)
                seconds = time.perf_counter() - begin
                rank: Any = spearmanr(scores, -times_s[n:])
                top = times_s[n:][np.argsort(-scores)[: args.top]].min()
                row = (float(rank.statistic), float(times_s[n:].min() / top))
                found[who, n].append(row)
                print(
                    f"{title}, {who}, told {n}: rank correlation {row[0]:.3f}, best of top "
                    f"{args.top} over best {row[1]:.3f}, {seconds:.1f} s",
                    flush=True,
                )
    means = {
        f"{who}_{n}": [round(float(mean), 3) for mean in np.mean(rows, axis=0)]
        for (who, n), rows in found.items()
    }
    print(json.dumps({"layers": len(LAYERS), "rank_correlation_and_best_of_top": means}))


if __name__ == "__main__":
    main()
