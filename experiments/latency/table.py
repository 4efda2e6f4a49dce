"""Latencies of several campaigns as one table: each network's are kept where it was raced."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from dgtl.core.files import write_whole
from experiments.shared.models import Model, todays
from experiments.shared.results import made, markdown_table, sentence, write_csv, write_origin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dgtl.core.records import Hardware

FIGURES = "figures.json"
"""Of one network, in its folder."""

REFERENCES = ("onnxruntime", "onnxruntime_patient")
"""Whom latencies are taken in ratio to."""


@dataclasses.dataclass(frozen=True)
class Raced:
    """A network as it was raced.

    Args:
        network: its name.
        systems: what `experiments.latency` says of each, by name.
        model: that dgtl searched with.
        hardware, revision: where and by which program.
    """

    network: str
    systems: dict[str, dict[str, float]]
    model: Model
    hardware: str
    revision: str

    @classmethod
    def now(
        cls,
        network: str,
        systems: dict[str, dict[str, float]],
        hardware: Hardware,
        settings: Sequence[str],
    ) -> Raced:
        """What was raced just now, by the program as it is.

        Args:
            network, systems: see `Raced`.
            hardware: that it ran on.
            settings: of `dgtl.tune`.
        """
        overrides = ("budget=seconds", *settings)
        model = Model(todays(Model(overrides=overrides)), None, overrides)
        name = f"{hardware.name}, {hardware.num_cores} cores"
        return cls(network, systems, model, name, made({})["revision"])

    def keep(self, folder: Path) -> None:
        """Writes it into the network's folder."""
        write_whole(folder / FIGURES, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Raced:
        """What `keep` wrote."""
        content = json.loads(path.read_text())
        return cls(**{**content, "model": Model.read(content["model"])})

    def row(self) -> list[str]:
        """Its line of the table: lowest quartiles, and dgtl's in ratio to the others'."""
        cells = [self.network, f"{self.systems['dgtl']['search_s']:.0f}"]
        for name in ("dgtl", *REFERENCES):
            one = self.systems[name]
            interval = f"[{one['low_ms']:.2f}, {one['high_ms']:.2f}]"
            cells.append(f"{one['quartile_ms']:.2f} {interval}")
        own = self.systems["dgtl"]["quartile_ms"]
        return [*cells, *(f"{own / self.systems[name]['quartile_ms']:.2f}" for name in REFERENCES)]


def write(out: Path, results: Path) -> str:
    """Writes ``latency.md``, ``.csv`` and ``.json`` of all networks below a folder; the table.

    Raises:
        ValueError: none was raced there with all systems of the table, or on unlike hardware.
    """
    raced = [Raced.read(path) for path in sorted(out.glob(f"*/{FIGURES}"))]
    raced = [one for one in raced if {"dgtl", *REFERENCES} <= one.systems.keys()]
    if not raced:
        raise ValueError(f"no network in {out} was raced by dgtl, {' and '.join(REFERENCES)}")
    if len({one.hardware for one in raced}) > 1:
        raise ValueError(f"networks in {out} were raced on several hardware")
    head = ["network", "search [s]", "dgtl [ms]", "ONNX Runtime [ms]", "not spinning [ms]"]
    lines = [[*head, "dgtl / ONNX Runtime", "dgtl / not spinning"]]
    lines += [one.row() for one in raced]
    models = {"dgp": list(dict.fromkeys(one.model for one in raced))}
    facts: dict[str, Any] = made(models, hardware=raced[0].hardware)
    facts["revision"] = " and ".join(dict.fromkeys(one.revision for one in raced))
    note = (
        "Lowest quartiles of run times taken in turns, with their 95 % intervals; ratios below 1: "
        "dgtl is faster. ONNX Runtime as it comes, and with threads that do not spin while they "
        "wait."
    )
    text = f"{markdown_table(lines)}\n\n{note}\n\n{sentence(facts)}\n"
    results.mkdir(parents=True, exist_ok=True)
    (results / "latency.md").write_text(text)
    rows = [
        {"network": one.network, "system": name, **figures}
        for one in raced
        for name, figures in one.systems.items()
    ]
    write_csv(results / "latency.csv", rows)
    write_origin(results / "latency.md", models, [0], facts)
    return text
