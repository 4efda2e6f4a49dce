"""What many devices and long histories cost: unit costs measured here, the rest by simulation.

    python scripts/bench/scaling.py                  # the tables of docs/scaling.md

Measured are appending, reading and packing a trial (seconds of a processor), and a session of TVM's
tracker on loopback, the fastest of many. The seconds of a build, a run and of proposing a batch are
those of docs/benchmarks.md and may be given.
The simulation is of one host: builds on its cores, each device with one candidate at a time, the
model in between; all layers of a network side by side, the tuning sets first, then the winners.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import tempfile
import time
import warnings
from pathlib import Path

from dgtl.core.columns import ColumnHistory, pack
from dgtl.core.history import SHIPPED, History, TrialLog, write_records
from dgtl.features.similarity import most_alike

DEVICES = (1, 10, 100, 1000)
HISTORIES = (10**6, 10**7, 10**8)

TRIALS_OF_A_TASK = 320
"""Of the recorded tables and the shipped history together: 79,120 trials of 249 tasks."""


@dataclasses.dataclass
class Costs:
    """Seconds, or bytes, of one of each.

    Args:
        build_s, run_s: of a candidate, on one core and on one device.
        propose_s: of a batch of a layer, on one core: model and search.
        session_s: of the host for a session with a device through the tracker.
        append_s: of keeping a trial.
        line_bytes, xz_bytes, column_bytes: of a trial in a history.
        read_s, memory_bytes: of a trial that is read from lines, and kept.
        open_s: of a task of a history in columns, when it is opened.
        choose_s: of a task, when the most alike are chosen.
        take_s: of a trial that is read from columns.
    """

    build_s: float = 0.34
    run_s: float = 0.11
    propose_s: float = 3.0
    session_s: float = 0.0
    append_s: float = 0.0
    line_bytes: float = 0.0
    xz_bytes: float = 0.0
    column_bytes: float = 0.0
    read_s: float = 0.0
    memory_bytes: float = 1500.0
    open_s: float = 0.0
    choose_s: float = 0.0
    take_s: float = 0.0


def measure(costs: Costs, folder: Path) -> None:
    """Fills in what can be measured without a device."""
    history = History.read(SHIPPED)
    sources = list(history)
    n = history.n_trials
    begin = time.process_time()
    with TrialLog(folder / "h.jsonl") as log:
        for source in sources:
            log.task(source.task, source.space)
            for trial in source.trials:
                log.trial(trial)
    costs.append_s = (time.process_time() - begin) / n
    costs.line_bytes = (folder / "h.jsonl").stat().st_size / n
    begin = time.process_time()
    History.read(folder / "h.jsonl")
    costs.read_s = (time.process_time() - begin) / n
    write_records(history.records(), folder / "h.jsonl.xz")
    costs.xz_bytes = (folder / "h.jsonl.xz").stat().st_size / n
    pack([folder / "h.jsonl"], folder / "h.parquet")
    costs.column_bytes = (folder / "h.parquet").stat().st_size / n
    begin = time.process_time()
    columns = ColumnHistory(folder / "h.parquet")
    costs.open_s = (time.process_time() - begin) / len(columns.tasks)
    begin = time.process_time()
    tasks = [stored.task for stored in columns.tasks]
    most_alike(tasks, [s.n_trials for s in columns.tasks], tasks[:8], n // 2)
    costs.choose_s = (time.process_time() - begin) / len(tasks)
    begin = time.process_time()
    columns.read([(stored, stored.n_trials) for stored in columns.tasks], 0)
    costs.take_s = (time.process_time() - begin) / n
    costs.session_s = _session_s()


def _session_s(sessions: int = 50) -> float:
    """Seconds of a session through a tracker, all on loopback."""
    from tvm import rpc
    from tvm.rpc.server import Server
    from tvm.rpc.tracker import Tracker

    tracker = Tracker("127.0.0.1", 9190, port_end=9400, silent=True)
    server = Server(
        "127.0.0.1",
        9090,
        port_end=9180,
        key="bench",
        tracker_addr=("127.0.0.1", tracker.port),
        silent=True,
    )
    try:
        connection = rpc.connect_tracker("127.0.0.1", tracker.port)
        seconds = []
        for _ in range(sessions):
            begin = time.perf_counter()
            connection.request("bench", session_timeout=30).cpu()
            seconds.append(time.perf_counter() - begin)
        return min(seconds)
    finally:
        server.terminate()
        tracker.terminate()


def search_s(
    costs: Costs, devices: int, cores: int, layers: int, batches: tuple[int, ...]
) -> float:
    """Seconds of the search of a network, layers side by side, each batch after the one before."""
    builders = [0.0] * cores
    boards = [0.0] * devices
    host = 0.0  # sessions and files are the host's, one after another
    ready = [0.0] * layers
    for size in batches:
        for layer in sorted(range(layers), key=ready.__getitem__):
            core = heapq.heappop(builders)
            proposed = max(core, ready[layer]) + costs.propose_s
            heapq.heappush(builders, proposed)
            done = proposed
            for _ in range(size):
                built = max(heapq.heappop(builders), proposed) + costs.build_s
                heapq.heappush(builders, built)
                begun = max(heapq.heappop(boards), built)
                host = max(host, begun) + costs.session_s + costs.append_s
                ended = max(begun, host) + costs.run_s
                heapq.heappush(boards, ended)
                done = max(done, ended)
            ready[layer] = done
    return max(ready)


def tables(costs: Costs, most: int) -> str:
    """Both tables of docs/scaling.md."""
    lines = ["| devices | 4 cores | 64 cores | devices busy, 64 cores |", "|---|---|---|---|"]
    for devices in DEVICES:
        few, many = (search_s(costs, devices, cores, 20, (64, 16)) for cores in (4, 64))
        busy = 20 * 80 * costs.run_s / many / devices
        lines.append(f"| {devices} | {few:.0f} s | {many:.0f} s | {busy:.1%} |")
    lines += ["", "| | " + " | ".join(f"10^{len(str(n)) - 1}" for n in HISTORIES) + " |"]
    lines.append("|---" * (1 + len(HISTORIES)) + "|")
    rows = {
        "lines": lambda n: f"{n * costs.line_bytes / 2**30:.1f} GiB",
        "lines, xz": lambda n: f"{n * costs.xz_bytes / 2**30:.2f} GiB",
        "columns": lambda n: f"{n * costs.column_bytes / 2**30:.2f} GiB",
        "lines read": lambda n: f"{n * costs.read_s:.0f} s",
        "and in memory": lambda n: f"{n * costs.memory_bytes / 2**30:.1f} GiB",
        "columns opened": lambda n: f"{n / TRIALS_OF_A_TASK * costs.open_s:.1f} s",
        "the most alike chosen": lambda n: f"{n / TRIALS_OF_A_TASK * costs.choose_s:.1f} s",
        f"{most} of them read": lambda n: f"{most * costs.take_s:.1f} s",
    }
    for name, value in rows.items():
        lines.append(f"| {name} | " + " | ".join(value(n) for n in HISTORIES) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build-s", type=float, default=Costs.build_s)
    parser.add_argument("--run-s", type=float, default=Costs.run_s)
    parser.add_argument("--propose-s", type=float, default=Costs.propose_s)
    parser.add_argument("--most", type=int, default=100_000, help="trials that are learned from")
    args = parser.parse_args()
    costs = Costs(build_s=args.build_s, run_s=args.run_s, propose_s=args.propose_s)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        measure(costs, Path(folder))
    print(tables(costs, args.most))
    print(json.dumps({k: float(f"{v:.3g}") for k, v in dataclasses.asdict(costs).items()}))


if __name__ == "__main__":
    main()
