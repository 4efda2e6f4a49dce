"""What it takes to learn from a history of millions: docs/scaling.md.

    python scripts/bench/large_history.py --trials 10000000 --out build/large

Makes a history in columns of so many trials from the recorded tables: every task again and again
under other keys, its times disturbed, each copy as a whole and each trial by itself. Then, in a
process of its own, opens it, chooses what is most like the layers of a network, and pre-trains on
that. Prints seconds, those of all processors together too, and the largest memory of that process;
the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dgtl.core.columns import ColumnHistory, trial_table, write_columns
from dgtl.core.history import SHIPPED, SHIPPED_TABLES, History, usable
from dgtl.features.similarity import most_alike
from dgtl.methods.dgp import DGP
from dgtl.models.deep_gp.state import DGPConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from dgtl.core.history import SourceTask

OF_A_COPY, OF_A_TRIAL = 0.3, 0.05
"""Standard deviations of the natural logarithm by which times are disturbed."""


def make(path: Path, trials: int) -> None:
    """Writes the history."""
    sources = [s for s in History.read(SHIPPED_TABLES, SHIPPED) if len(s.ok_trials) > 1]
    copies = -(-trials // sum(len(s.trials) for s in sources))
    records = [
        {
            **{**s.task.to_json(), "key": f"{s.task.key}#{copy}"},
            **{"space": s.space.to_json(), "trials": len(s.trials)},
        }
        for s in sources
        for copy in range(copies)
    ]
    write_columns(records, _copies(sources, copies), path)


def _copies(sources: list[SourceTask], copies: int) -> Iterator[pa.Table]:
    rng = np.random.default_rng(0)
    for source in sources:
        table = trial_table(source.trials)
        times = table["run_times_s"].combine_chunks()
        offsets = np.asarray(times.offsets)
        values = np.asarray(times.values)
        for copy in range(copies):
            noise = np.exp(rng.normal(0, OF_A_TRIAL, len(table)) + rng.normal(0, OF_A_COPY))
            each = np.repeat(noise, np.diff(offsets))
            disturbed = pa.ListArray.from_arrays(times.offsets, pa.array(values * each))
            key = pa.array([f"{source.task.key}#{copy}"] * len(table))
            changed = table.set_column(table.schema.get_field_index("task"), "task", key)
            yield changed.set_column(
                table.schema.get_field_index("run_times_s"), "run_times_s", disturbed
            ).cast(table.schema)


def learn(path: Path, most: int, network: DGPConfig, answer: Connection) -> None:
    """Opens, chooses and pre-trains; what each took [s], and the memory [GiB]."""
    seconds: dict[str, float] = {}
    begin, begin_cpu = time.perf_counter(), time.process_time()

    def lap(name: str) -> None:
        nonlocal begin, begin_cpu
        seconds[name] = time.perf_counter() - begin
        seconds[f"{name} (CPU)"] = time.process_time() - begin_cpu
        begin, begin_cpu = time.perf_counter(), time.process_time()

    history = ColumnHistory(path)
    lap("open")
    targets = [history.tasks[i].task for i in range(0, len(history.tasks), len(history.tasks) // 8)]
    excluded = {task.shape_key for task in targets}
    stored = usable(history.tasks, targets[0].hardware, excluded, any_hardware=True)
    chosen = most_alike([s.task for s in stored], [s.n_trials for s in stored], targets, most)
    lap("choose")
    sources = history.read([(stored[i], n) for i, n in chosen.items()], 0)
    lap("read")
    method = DGP(network=network)
    with tempfile.TemporaryDirectory() as cache:
        method.prepare(sources, Path(cache), 0)
    lap("pre-train")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    counts = {"tasks": len(history.tasks), "trials": history.n_trials}
    counts |= {"chosen_tasks": len(sources), "chosen_trials": sum(len(s.trials) for s in sources)}
    answer.send({**counts, **{k: round(v, 2) for k, v in seconds.items()}, "GiB": round(memory, 2)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000_000)
    parser.add_argument("--most", type=int, default=25_000, help="trials that are learned from")
    parser.add_argument("--steps", type=int, default=1000, help="of the deep GP")
    parser.add_argument("--batch", type=int, default=512, help="rows of each step")
    parser.add_argument("--out", type=Path, default=Path("build/large"))
    args = parser.parse_args()
    path = args.out / f"{args.trials}.parquet"
    if not path.exists():
        begin = time.perf_counter()
        make(path, args.trials)
        print(f"made in {time.perf_counter() - begin:.0f} s: {path.stat().st_size / 2**20:.0f} MiB")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin cost others their time
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    network = DGPConfig(steps=args.steps, batch=args.batch)
    process = multiprocessing.get_context("spawn").Process(
        target=learn, args=(path, args.most, network, theirs)
    )
    process.start()
    theirs.close()
    result = ours.recv()
    process.join()
    result["MiB"] = round(path.stat().st_size / 2**20)
    result["seconds"] = round(sum(result[k] for k in ("open", "choose", "read", "pre-train")), 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
