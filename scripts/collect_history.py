"""Measures a history of many layers on this machine, to learn from.

    python scripts/collect_history.py --out build/history
    python scripts/collect_history.py --out build/history --suite one_core --cores 1
    python scripts/collect_history.py --out build/history --pack dgtl/data

Layers of the shapes that image networks have; breadth first, so that it can be stopped and started
again at any time. Most configurations are random; the rest are mutations of a layer's best, so that
models see what good schedules look like too. On few cores fewer do:

    python scripts/collect_history.py --out build/history --rounds random:32 mutated:48 mutated:64
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
from dgtl.tvm.toolchain import require_toolchain
from dgtl.tvm.workload.suites import SUITES

ROUNDS = (
    ("random", 32),
    ("random", 64),
    ("random", 96),
    ("mutated", 128),
    ("random", 160),
    ("mutated", 200),
)
"""Kind of proposals, and trials that a layer has at the end of the round."""


def round_of(text: str) -> tuple[str, int]:
    """``random:32`` as of `ROUNDS`."""
    kind, _, total = text.partition(":")
    if kind not in ("random", "mutated") or not total.isdecimal():
        raise argparse.ArgumentTypeError(f"random:TRIALS or mutated:TRIALS, not {text!r}")
    return kind, int(total)


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
    parser.add_argument("--rounds", type=round_of, nargs="+", default=ROUNDS, metavar="KIND:TRIALS")
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
    require_toolchain()
    hardware = machine.detect(args.cores)
    path = args.out / f"{hardware.name}-{args.suite}-{hardware.num_cores}.jsonl"
    with open_campaign(path, SUITES[args.suite], hardware, args.seed) as campaign:
        for number, (kind, total) in enumerate(args.rounds):
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
