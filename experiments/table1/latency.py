"""Latencies of a campaign, re-measured at its end: all methods of a network in turns.

Each run timed its own network, hours apart; what is compared is timed together. The times are kept
beside the runs and made again when a run has built its network anew.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.results.run_folder import Origin
from experiments.table1.campaign import say_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from experiments.table1.campaign import Cell

STARTS = 3
"""Processes that run each network, one after another: where its pages come to lie differs."""
ROUNDS = 8
"""Turns of each process; a turn is as many runs as fit in a quarter of a second."""

UNDISTURBED = 0.25
"""Quantile of the run times that counts. Others on the host slow a network down, to nearly twice
its latency for seconds at a time, and never speed it up: a median jumps between the two."""


def remeasure(
    complete: Sequence[Cell],
    time_all: Callable[[Sequence[Cell]], dict[str, list[float]]] | None = None,
    say: Callable[[str], None] = say_at_once,
) -> None:
    """Times the networks of complete live cells, those of one network and seed against each other.

    Args:
        complete: cells that have ended.
        time_all: run times [s] by method of cells of one network and seed; by a race if None.
        say: called with each line.
    """
    time_all = _race if time_all is None else time_all
    for group in groups(complete):
        path, stamps = _path(group[0]), _stamps(group)
        if stamps.items() <= _read(path).get("stamps", {}).items():
            continue
        say(f"timing {group[0].network} seed {group[0].seed}: {', '.join(stamps)} in turns")
        times = time_all(group)
        path.write_text(json.dumps({"stamps": stamps, "times_s": times}) + "\n")


def latency_ms(cell: Cell) -> float | None:
    """What was re-measured of a cell's present network [ms], undisturbed; None if nothing was."""
    kept, stamp = _read(_path(cell)), _stamp(cell)
    if stamp is None or kept.get("stamps", {}).get(cell.model) != stamp:
        return None
    return 1e3 * float(np.quantile(kept["times_s"][cell.model], UNDISTURBED))


def groups(complete: Sequence[Cell]) -> list[list[Cell]]:
    """Cells of one network and seed together, those that built it."""
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in complete:
        if _stamp(cell) is None:
            continue  # of some layers only, there is no network to run
        found.setdefault((cell.network, cell.seed), []).append(cell)
    return list(found.values())


def _path(cell: Cell) -> Path:
    return cell.folder.parent.parent / f"latency-{cell.seed}.json"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _stamps(group: Sequence[Cell]) -> dict[str, list[int] | None]:
    return {cell.model: _stamp(cell) for cell in group}


def _stamp(cell: Cell) -> list[int] | None:
    library = cell.folder / "model.so"
    if not library.exists():
        return None
    return [library.stat().st_size, library.stat().st_mtime_ns]


def _race(group: Sequence[Cell]) -> dict[str, list[float]]:
    # Here, so that a report of recorded tables does without TVM.
    from dgtl.tvm import hardware as machine
    from dgtl.tvm.deploy.race import Contender, race
    from dgtl.tvm.workload import networks

    origin = Origin.read(group[0].folder)
    assert origin is not None, "a complete cell has an origin"
    inputs = networks.of_config(origin.config["workload"]).inputs
    cores = machine.detect(origin.config["hardware"]["num_cores"]).num_cores
    times: dict[str, list[float]] = {cell.model: [] for cell in group}
    for _ in range(STARTS):
        contenders: list[Contender] = []
        try:
            for cell in group:
                library = cell.folder / "model.so"
                contenders.append(Contender.of_library(cell.model, ROUNDS, library, inputs, cores))
            race(contenders, ROUNDS)
        finally:
            for contender in contenders:
                contender.close()
        for contender in contenders:
            times[contender.name] += contender.times_s
    return times
