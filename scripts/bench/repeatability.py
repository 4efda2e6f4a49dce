"""How well two measurements of the same configuration agree on this machine, now.

    python scripts/bench/repeatability.py --candidates 32 --rounds 3

Measures the same random configurations of a convolution and of a depthwise convolution in several
rounds and compares each with the next. Ends with one line of JSON:
{layer: {median_change, p90_change}}, changes being |log2 ratio| of the latencies.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np
import tvm

from dgtl.tvm import hardware as machine
from dgtl.tvm.measure import LocalMeasurer
from dgtl.tvm.networks import Layer
from dgtl.tvm.sketches import ScheduleSpace
from dgtl.tvm.tasks import extract, lower

LAYERS = (
    Layer("conv2d", 28, 160, 160, 3, 1, 1),
    Layer("depthwise_conv2d", 7, 960, 960, 3, 1, 1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--candidates", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    hardware = machine.detect()
    target = tvm.target.Target(hardware.target)
    figures = {}
    for layer in LAYERS:
        function, task = next(
            (f, f.task) for f in extract(lower(layer.model(0), target), hardware) if f.task
        )
        space = ScheduleSpace(function.mod, target).space
        keys = space.keys(space.sample_distinct(np.random.default_rng(0), args.candidates))
        with LocalMeasurer(hardware, {task.key: function.mod}) as measurer:
            # The first round wakes workers and fills caches; it is not counted.
            rounds = [
                [t.latency_s for t in measurer.measure(task, keys, best_s=math.inf)]
                for _ in range(args.rounds + 1)
            ][1:]
        change = np.abs(np.diff(np.log2(rounds), axis=0)).ravel()
        median, p90 = np.quantile(change, [0.5, 0.9])
        figures[layer.name] = {"median_change": float(median), "p90_change": float(p90)}
        print(
            f"{layer.name}: |log2 ratio| of repeated latencies median {median:.3f}, 90 % {p90:.3f}"
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
