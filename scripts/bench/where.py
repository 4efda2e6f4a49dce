"""Where a tuned network's time goes: by function, tuned and untuned, and what the runtime takes.

    python scripts/bench/where.py outputs/mobilenet_v2/dgp/...

Functions are timed inside the network, by the runtime's own hook around each call. Prints every
function that takes at least half a percent, slowest first, then the sums. Ends with one line of
JSON: the latency and the sums in milliseconds, and the network over the sum of its functions.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import tvm

from dgtl.core.titles import titles
from dgtl.results.run_folder import Run
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.workload import networks
from dgtl.tvm.workload.tasks import extract, lower

LEAST = 0.005
"""Share of the network from which a function has a line of its own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a run that built its network")
    parser.add_argument("--repeats", type=int, default=100, help="runs of the network")
    args = parser.parse_args()
    try:
        where(Run.read(args.run), args.repeats)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


def where(run: Run, repeats: int) -> None:
    """Times the network of a run and prints where its time goes.

    Raises:
        ValueError: a run that does not say its network, or did not build it.
    """
    library = run.folder / "model.so"
    if run.origin is None or not library.exists():
        raise ValueError(f"{run.folder} holds no network that was built")
    workload = networks.of_config(run.origin.config["workload"])
    functions = extract(lower(workload.model, tvm.target.Target(run.hardware.target)), run.hardware)
    tasks = {f.name: f.task for f in functions if f.task is not None}
    names = dict(zip(tasks, titles(list(tasks.values())), strict=True))
    latency_s, times = deploy.profile(library, run.hardware, workload.inputs, repeats=repeats)
    tuned_s = sum(f.seconds for f in times if f.name in tasks)
    other_s = sum(f.seconds for f in times if f.name not in tasks)
    print(f"{'function':60} {'calls':>5} {'ms':>8} {'share':>6}")
    for function in times:
        if function.seconds >= LEAST * latency_s:
            name = names.get(function.name, f"- {function.name}")
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


if __name__ == "__main__":
    main()
