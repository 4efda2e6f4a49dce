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
import time
from pathlib import Path

import numpy as np
import tvm

from dgtl.history import History, TrialLog, pack
from dgtl.measure import MeasureOptions
from dgtl.provenance import collect as collect_provenance
from dgtl.tvm import hardware as machine
from dgtl.tvm.measure import LocalMeasurer, best_of
from dgtl.tvm.networks import Layer
from dgtl.tvm.sketches import ScheduleSpace
from dgtl.tvm.tasks import extract, lower

ROUNDS = (
    ("random", 32),
    ("random", 64),
    ("random", 96),
    ("mutated", 128),
    ("random", 160),
    ("mutated", 200),
)
"""Kind of proposals, and trials that a layer has at the end of the round."""


def conv(size, inputs, outputs, kernel=3, stride=1, pad=1) -> Layer:
    return Layer("conv2d", size, inputs, outputs, kernel, stride, pad)


def depthwise(size, channels, kernel=3, stride=1) -> Layer:
    return Layer("depthwise_conv2d", size, channels, channels, kernel, stride, kernel // 2)


def dense(inputs, outputs) -> Layer:
    return Layer("dense", 1, inputs, outputs)


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
    keys: list[str] = []
    for _ in range(50):
        if kind == "random" or not ranked:
            configs = space.sample(rng, n)
        else:
            configs = space.parse_all([ranked[i].config for i in rng.integers(0, len(ranked), n)])
            for _ in range(int(rng.integers(1, 4))):
                configs = space.neighbours(rng, configs)
        keys += [k for k in dict.fromkeys(space.keys(configs)) if k not in seen]
        seen.update(keys)
        if len(keys) >= n:
            break
    return keys[:n]


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
        for file in sorted(args.out.glob("*.jsonl")):
            pack(file, args.pack / f"{file.name}.xz")
            print(f"{args.pack / file.name}.xz")
        return

    hardware = machine.detect(args.cores)
    target = tvm.target.Target(hardware.target)
    path = args.out / f"{hardware.name}-{args.suite}-{hardware.num_cores}.jsonl"
    options = MeasureOptions(min_repeat_ms=8.0)
    provenance = collect_provenance(hardware, args.seed, machine.versions(), options)
    modules, layers = {}, []
    for layer in SUITES[args.suite]:
        for function in extract(lower(layer.model(0), target), hardware):
            if function.task is not None:
                modules[function.task.key] = function.mod
                layers.append((function.task, ScheduleSpace(function.mod, target).space))
    with (
        TrialLog(path) as log,
        LocalMeasurer(hardware, modules, options) as measurer,
    ):
        history = History.read(path)
        log.provenance(provenance)
        begin, done = time.time(), 0
        for number, (kind, total) in enumerate(ROUNDS[: args.rounds]):
            for task, space in layers:
                trials = history.trials(task.key)
                missing = min(total, space.size) - len(trials)
                if missing <= 0:
                    continue
                if not trials:
                    log.task(task, space)
                    history.add({**task.to_json(), "space": space.to_json()})
                rng = np.random.default_rng([args.seed, number, *task.key.encode()])
                keys = propose(kind, space, trials, rng, missing)
                for trial in measurer.measure(task, keys, best_s=best_of(trials)):
                    trial = trial.replace(stage=kind, provenance=provenance.id)
                    log.trial(trial)
                    history.add(trial.to_json())
                done += len(keys)
                best = task.gflops(best_of(history.trials(task.key)))
                rate = done / (time.time() - begin)
                print(
                    f"{number} {task.key:60s} {best:7.1f} GFLOPS  {rate:.1f} trials/s", flush=True
                )


if __name__ == "__main__":
    main()
