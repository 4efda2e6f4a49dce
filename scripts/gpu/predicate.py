"""How often the predicate of `dgtl.core.gpu_limits` agrees with TVM's verification.

    python scripts/gpu/predicate.py --arch sm_90 --configs 10000

Of twenty layers so many random configurations each: half of them as a search would draw them, for
what of these TVM refuses; half from the whole space, for what of those that TVM accepts the
predicate throws away. Prints a line per layer, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import time

import numpy as np
import tvm

from dgtl.core.cores import available_cores
from dgtl.core.space import DesignSpace
from dgtl.tvm import hardware as machine
from dgtl.tvm.workload.networks import Layer, conv, dense, depthwise
from dgtl.tvm.workload.sketches import InvalidConfigurationError, ScheduleSpace
from dgtl.tvm.workload.tasks import extract, lower

LAYERS = (
    *(conv(112, 3, 32, 3, 2), conv(56, 64, 64), conv(56, 64, 256, 1), conv(28, 128, 128)),
    *(conv(28, 96, 192, 3, 2), conv(14, 256, 256), conv(14, 512, 1024, 1, 2), conv(7, 512, 512)),
    *(conv(35, 48, 64, 5), conv(17, 160, 192, 7), conv(27, 64, 192, 5), conv(13, 24, 40)),
    *(depthwise(112, 32), depthwise(56, 128, 3, 2), depthwise(14, 512), depthwise(28, 240, 5)),
    *(dense(512, 1000), dense(4096, 4096), dense(768, 3072), dense(1280, 10)),
)


def study(layer: Layer, arch: str, n: int) -> dict[str, float]:
    """Counts of one layer."""
    hardware = machine.gpu(arch=arch).hardware
    target = tvm.target.Target(hardware.target)
    functions = extract(lower(layer.model(0), target), hardware)
    mod = next(function.mod for function in functions if function.task is not None)
    schedules = ScheduleSpace(mod, target)
    space = schedules.space
    free = DesignSpace(space.knobs, space.structure)
    rng = np.random.default_rng(0)

    def accepted(config: np.ndarray) -> bool:
        try:
            schedules.schedule(config)
        except InvalidConfigurationError:
            return False
        return True

    passed = [accepted(config) for config in space.sample(rng, n // 2)]
    drawn = free.sample(rng, n // 2)
    accepts = space.accepts(drawn)
    by_tvm = np.array([accepted(config) for config in drawn])
    many = free.sample(rng, 1_000_000)
    begin = time.perf_counter()
    space.accepts(many)
    return {
        "passed": len(passed),
        "refused_by_tvm": passed.count(False),
        "accepted_by_tvm": int(by_tvm.sum()),
        "thrown_away": int((by_tvm & ~accepts).sum()),
        "share_accepted": float(accepts.mean()),
        "per_s": len(many) / (time.perf_counter() - begin),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", default="sm_90")
    parser.add_argument("--configs", type=int, default=10_000, help="of each layer")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    cores = available_cores()
    total: dict[str, float] = {}
    with concurrent.futures.ProcessPoolExecutor(cores, context) as pool:
        futures = [pool.submit(study, layer, args.arch, args.configs) for layer in LAYERS]
        for layer, future in zip(LAYERS, futures, strict=True):
            found = future.result()
            print(
                f"{layer.name:32s} of {found['passed']} passed TVM refuses "
                f"{found['refused_by_tvm']}; of {found['accepted_by_tvm']} that TVM accepts "
                f"{found['thrown_away']} are thrown away; {found['share_accepted']:.2%} of the "
                f"space; {found['per_s'] / 1e6:.1f} M/s",
                flush=True,
            )
            for name in ("passed", "refused_by_tvm", "accepted_by_tvm", "thrown_away"):
                total[name] = total.get(name, 0) + found[name]
            total["least_per_s"] = min(total.get("least_per_s", np.inf), found["per_s"])
    print(json.dumps(total))


if __name__ == "__main__":
    main()
