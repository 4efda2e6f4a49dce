"""Builds and runs scheduled modules with TVM's own LocalBuilder and LocalRunner.

    python scripts/bench/stock_measure.py FOLDER --target TARGET --repeats 3 --min-repeat-ms 20

The other side of `scripts/bench/measure.py`, which starts it. A process of its own that never
imports dgtl: `dgtl.tvm` replaces a module whose import is most of what these builders cost. Prints
one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import tvm
from tvm.s_tir import meta_schedule as ms

TIMEOUT_S = 900.0
"""TVM's 30 s would kill every build where starting a worker takes longer than that."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="modules as *.json")
    parser.add_argument("--target", required=True)
    parser.add_argument("--workers", type=int, required=True, help="builders side by side")
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--min-repeat-ms", type=int, required=True)
    args = parser.parse_args()

    target = tvm.target.Target(args.target)
    mods = [tvm.ir.load_json(path.read_text()) for path in sorted(args.folder.glob("*.json"))]
    infos = [ms.arg_info.ArgInfo.from_entry_func(mod, remove_preproc=True) for mod in mods]
    config = ms.runner.EvaluatorConfig(
        number=1,
        repeat=args.repeats,
        min_repeat_ms=args.min_repeat_ms,
        enable_cpu_cache_flush=False,
    )
    # Not timed: both constructors start workers and try them, and the runner keeps its one.
    builder = ms.builder.LocalBuilder(max_workers=args.workers, timeout_sec=TIMEOUT_S)
    runner = ms.runner.LocalRunner(timeout_sec=TIMEOUT_S, evaluator_config=config)

    begin = time.perf_counter()
    built = builder.build([ms.builder.BuilderInput(mod, target) for mod in mods])
    build_s = time.perf_counter() - begin
    inputs = [
        ms.runner.RunnerInput(result.artifact_path, "cpu", info)
        for result, info in zip(built, infos, strict=True)
        if result.artifact_path is not None
    ]
    results = [future.result() for future in runner.run(inputs)]
    seconds = time.perf_counter() - begin
    ran = sum(result.error_msg is None for result in results)
    print(json.dumps({"seconds": seconds, "build_s": build_s, "candidates": len(mods), "ok": ran}))


if __name__ == "__main__":
    main()
