"""Measures a history of many layers on this machine, to learn from.

    python scripts/collect_history.py --out build/history
    python scripts/collect_history.py --out build/history --suite one_core --cores 1
    python scripts/collect_history.py --out build/history --pack dgtl/data

Layers of the shapes that image networks have; breadth first, so that it can be stopped and started
again at any time. Most configurations are random; the rest are mutations of a layer's best, so that
models see what good schedules look like too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from dgtl.core.records import best_trial
from dgtl.search.annealing import mutants, untried
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure.campaign import open_campaign, pack_all
from dgtl.tvm.workload.networks import conv, dense, depthwise

ROUNDS = (
    ("random", 32),
    ("random", 64),
    ("random", 96),
    ("mutated", 128),
    ("random", 160),
    ("mutated", 200),
)
"""Kind of proposals, and trials that a layer has at the end of the round."""


SUITES = {
    "default": [
        *(conv(224, i, o) for i, o in ((3, 32), (16, 32))),
        *(conv(112, i, o) for i, o in ((32, 64), (48, 96), (64, 64))),
        *(conv(56, i, o) for i, o in ((96, 96), (128, 128), (64, 192))),
        *(conv(28, i, o) for i, o in ((96, 128), (160, 160), (256, 256))),
        *(conv(14, i, o) for i, o in ((192, 320), (384, 384), (512, 256))),
        *(conv(7, i, o) for i, o in ((384, 384), (640, 640))),
        *(conv(s, i, o) for s, i, o in ((13, 192, 256), (17, 128, 192))),
        *(conv(s, i, o) for s, i, o in ((27, 96, 128),)),
        *(conv(s, i, o, 3, 2) for s, i, o in ((224, 3, 48), (112, 32, 96))),
        *(conv(s, i, o, 3, 2) for s, i, o in ((56, 64, 192), (28, 160, 256), (14, 320, 512))),
        *(conv(s, i, o, 1, 1, 0) for s, i, o in ((112, 16, 96), (56, 64, 256))),
        *(conv(s, i, o, 1, 1, 0) for s, i, o in ((56, 96, 192), (28, 128, 512))),
        *(conv(s, i, o, 1, 1, 0) for s, i, o in ((14, 256, 1024),)),
        *(conv(s, i, o, 1, 1, 0) for s, i, o in ((14, 1024, 256), (14, 384, 384))),
        *(conv(s, i, o, 1, 1, 0) for s, i, o in ((7, 512, 2048), (7, 2048, 512), (7, 768, 1280))),
        *(conv(s, i, o, 1, 2, 0) for s, i, o in ((56, 256, 512), (56, 96, 192))),
        *(conv(s, i, o, 1, 2, 0) for s, i, o in ((28, 512, 1024), (14, 320, 640))),
        *(conv(s, i, o, 5, 1, 2) for s, i, o in ((27, 96, 256), (14, 48, 128))),
        *(conv(224, 3, o, 7, 2, 3) for o in (48, 96)),
        *(conv(224, 3, o, 11, 4, 2) for o in (48, 96)),
        *(depthwise(s, c) for s, c in ((112, 48), (56, 144), (28, 192))),
        *(depthwise(s, c) for s, c in ((14, 576), (7, 640), (7, 960))),
        *(depthwise(s, c, 3, 2) for s, c in ((112, 96), (56, 144), (28, 192), (14, 384))),
        *(depthwise(s, c, 5) for s, c in ((14, 480), (7, 672))),
        *(dense(i, o) for i, o in ((512, 512), (2048, 1000))),
        *(dense(i, o) for i, o in ((4096, 2048), (6400, 4096), (16384, 2048))),
    ],
}
SUITES["one_core"] = SUITES["default"][2::3]


def propose(kind: str, space, trials, rng, n: int) -> list[str]:
    """``n`` new configuration keys: random, or mutations of the eight best."""
    seen = {trial.config for trial in trials}
    ranked = sorted((t for t in trials if t.ok), key=lambda t: t.latency_s)[:8]
    if kind == "random" or not ranked:
        return untried(space, rng, n, seen)
    return mutants(space, rng, space.of_trials(ranked), n, seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("build/history"))
    parser.add_argument("--suite", choices=sorted(SUITES), default="default")
    parser.add_argument("--cores", type=int, default=None, help="cores a kernel may use")
    parser.add_argument("--rounds", type=int, default=len(ROUNDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pack", type=Path, help="only compress what is there into this folder")
    args = parser.parse_args()
    if args.pack:
        print(*pack_all(args.out, args.pack), sep="\n")
        return

    try:
        collect(args)
    except ValueError as error:
        sys.exit(f"collect_history: {error}")


def collect(args: argparse.Namespace) -> None:
    """Measures what the rounds lack.

    Raises:
        ValueError: no compiler, more cores than there are, a file that cannot be used.
    """
    machine.require_linker()
    hardware = machine.detect(args.cores)
    path = args.out / f"{hardware.name}-{args.suite}-{hardware.num_cores}.jsonl"
    with open_campaign(path, SUITES[args.suite], hardware, args.seed) as campaign:
        for number, (kind, total) in enumerate(ROUNDS[: args.rounds]):
            for task, space in campaign.tasks:
                trials = campaign.history.trials(task.key)
                missing = min(total, space.size) - len(trials)
                if missing <= 0:
                    continue
                rng = np.random.default_rng([args.seed, number, *task.key.encode()])
                keys = propose(kind, space, trials, rng, missing)
                trials += campaign.measure(task, space, keys, kind)
                best = best_trial(trials)
                gflops = 0.0 if best is None else task.gflops(best.latency_s)
                rate = campaign.trials_per_s
                print(
                    f"{number} {task.key:60s} {gflops:7.1f} GFLOPS  {rate:.1f} trials/s", flush=True
                )


if __name__ == "__main__":
    main()
