"""Finished replays of networks read back: the latency of the network over the seconds of search."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core.history import trials_in_order
from dgtl.tables.folds import network_fold
from dgtl.tables.read import read_tables
from dgtl.tables.select import choose
from experiments.compare.searches import by_name, finished_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from dgtl.core.records import Trial
    from dgtl.tables.read import Tables
    from experiments.compare.searches import Run

WITHIN = (0.05, 0.02, 0.01)
"""Of the best recorded latency, above it: how near a search has come."""

SECONDS = (5, 10, 20, 40, 80)
"""Of search, after which latencies are compared."""

CAP = 1.0
"""An excess counts no more in an area; as much counts while a layer has no trial that ran."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A recorded network.

    Args:
        name: of it.
        weights: how often it runs each layer, by task key.
        best_s: sum over layers of weight x latency of the best row [s].
    """

    name: str
    weights: dict[str, int]
    best_s: float

    @classmethod
    def of(cls, read: Tables, name: str, keys: Iterable[str]) -> Network:
        """Those of its layers that have these keys."""
        targets = network_fold(read, choose(read.tables, None, [name]), name).targets
        layers = {table.task.key: table for table in targets if table.task.key in set(keys)}
        best_s = {k: min(t.latency_s for t in layer.trials) for k, layer in layers.items()}
        weights = {key: layer.task.weight for key, layer in layers.items()}
        return cls(name, weights, sum(weights[key] * best_s[key] for key in weights))

    def excess(self, trials: Sequence[Trial]) -> NDArray[np.float64]:
        """Latency over the best recorded, minus 1, after each trial [N].

        Infinite until every layer has a trial that ran.
        """
        best_s = dict.fromkeys(self.weights, math.inf)
        found = []
        for trial in trials:
            best_s[trial.task] = min(best_s[trial.task], trial.latency_s)
            found.append(sum(self.weights[key] * best_s[key] for key in self.weights))
        return np.array(found) / self.best_s - 1.0


@dataclasses.dataclass(frozen=True)
class Search:
    """One method under one scheduler on one network with one seed.

    Args:
        network, method, seed: which; the method with its scheduler.
        ends_s: search time at the end of each trial [N], in seconds.
        excess: as `Network.excess` has it [N].
        model_s: seconds of the search that were the cost model's and the search's own.
        cut: the budget ended it, so that nobody knows what it would have found next; otherwise it
            had nothing more to propose.
    """

    network: str
    method: str
    seed: int
    ends_s: NDArray[np.float64]
    excess: NDArray[np.float64]
    model_s: float
    cut: bool

    @classmethod
    def of(cls, run: Run, network: Network, method: str) -> Search:
        """Judges the trials of one run."""
        trials = trials_in_order(run.folder / "trials.jsonl")
        ends_s = np.cumsum([trial.search_s for trial in trials])
        seconds = run.report["seconds"]
        cut = len(trials) >= run.report["trials"] * len(network.weights)
        cut |= seconds is not None and float(ends_s[-1]) >= seconds
        model_s = sum(trial.model_s for trial in trials)
        excess = network.excess(trials)
        return cls(network.name, method, run.summary.seed, ends_s, excess, model_s, cut)

    @property
    def search_s(self) -> float:
        """Seconds of the whole search."""
        return float(self.ends_s[-1])

    def reached_s(self, within: float) -> float:
        """Seconds until the latency is so near to the best recorded; infinite if it never was."""
        reached = np.flatnonzero(self.excess <= within)
        return float(self.ends_s[reached[0]]) if len(reached) else math.inf

    def after(self, times_s: ArrayLike) -> NDArray[np.float64]:
        """Excess at times [M] seconds, as [M]; a search that has ended keeps what it found."""
        ended = np.searchsorted(self.ends_s, times_s, side="right")
        return np.concatenate([[math.inf], self.excess])[ended]

    def area(self, horizon_s: float) -> float:
        """Mean over the seconds up to a horizon of the excess, which counts up to `CAP`."""
        edges_s = np.minimum(np.concatenate([[0.0], self.ends_s, [horizon_s]]), horizon_s)
        excess = np.minimum(np.concatenate([[CAP], self.excess]), CAP)
        return float(np.diff(edges_s) @ excess / horizon_s)

    def row(self, horizon_s: float) -> dict[str, Any]:
        """As a line of ``network.csv``; what was never reached, or is not known, is empty."""
        known = [second <= self.search_s or not self.cut for second in SECONDS]
        ratios = [_number(1.0 + float(x)) for x in self.after(SECONDS)]
        return {
            "network": self.network,
            "method": self.method,
            "seed": self.seed,
            "trials": len(self.ends_s),
            "search_s": round(self.search_s, 3),
            "model_s": round(self.model_s, 3),
            "first_s": _number(self.reached_s(sys.float_info.max)),
            **{f"within_{x:g}_s": _number(self.reached_s(x)) for x in WITHIN},
            "horizon_s": round(horizon_s, 3),
            "area": round(self.area(horizon_s), 5),
            **{
                f"ratio_after_{second}_s": ratio if sure else None
                for second, ratio, sure in zip(SECONDS, ratios, known, strict=True)
            },
            "ratio_at_end": _number(1.0 + float(self.excess[-1])),
        }


def _number(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


def read_networks(folder: Path) -> dict[str, list[Run]]:
    """All finished replays of networks below a folder, by method and scheduler.

    Raises:
        ValueError: no runs, runs of different tables, or of tables searched one by one.
    """
    runs = finished_runs(folder)
    for run in runs:
        if run.report.get("network") is None:
            raise ValueError(
                f"{run.folder} is no search of a network: python run.py hardware=replay "
                "workload=tables workload.network=NAME"
            )
    plain = [dataclasses.replace(run, overrides=_without_scheduler(run)) for run in runs]
    return by_name(plain, lambda run: f"{run.summary.model}/{run.report['scheduler']}")


def _without_scheduler(run: Run) -> tuple[str, ...]:
    return tuple(o for o in run.overrides if not o.startswith("scheduler="))


def read_searches(methods: dict[str, list[Run]]) -> tuple[dict[str, Network], list[Search]]:
    """The networks that were searched, by name, and all searches of them.

    Raises:
        ValueError: runs of one network that searched different layers of it, or two runs of one
            method and network with one seed.
    """
    runs = [run for same in methods.values() for run in same]
    report = runs[0].report
    read = read_tables(report["tables"], report["hardware"], report["min_rows"])
    keys = {run.report["network"]: _keys(run) for run in runs}
    if other := [run for run in runs if _keys(run) != keys[run.report["network"]]]:
        name = other[0].report["network"]
        raise ValueError(f"runs of {name} searched different layers of it: {other[0].folder}")
    networks = {name: Network.of(read, name, own) for name, own in keys.items()}
    folders: dict[tuple[str, str, int], Path] = {}
    searches = []
    for method, same in methods.items():
        for run in same:
            name, seed = run.report["network"], run.summary.seed
            other_folder = folders.setdefault((method, name, seed), run.folder)
            if other_folder != run.folder:
                raise ValueError(
                    f"{method} ran more than once on {name} with seed {seed}: "
                    f"{other_folder}, {run.folder}"
                )
            searches.append(Search.of(run, networks[name], method))
    return networks, searches


def _keys(run: Run) -> set[str]:
    return {key for fold in run.report["folds"].values() for key in fold}


def horizons(searches: Sequence[Search]) -> dict[str, float]:
    """Seconds of search, by network, up to which it is known what every search found.

    Where the first search was cut by its budget; of searches that all ended by themselves, where
    the last one did.
    """
    networks = {search.network for search in searches}
    return {name: _horizon([s for s in searches if s.network == name]) for name in networks}


def _horizon(searches: Sequence[Search]) -> float:
    cut = [search.search_s for search in searches if search.cut]
    return min(cut) if cut else max(search.search_s for search in searches)
