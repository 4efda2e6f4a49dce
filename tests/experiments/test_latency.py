"""The table of latencies: what was raced with all systems on one hardware, in ratio to others."""

from __future__ import annotations

import csv
import json

import pytest
import toys

from dgtl.core.records import Hardware
from experiments.latency.table import REFERENCES, Raced, write
from experiments.status.tables import state

pytestmark = pytest.mark.slow


def figures(quartile_ms: float, search_s: float = 0.0) -> dict[str, float]:
    return {
        "median_ms": 1.1 * quartile_ms,
        "quartile_ms": quartile_ms,
        "low_ms": 0.9 * quartile_ms,
        "high_ms": 1.2 * quartile_ms,
        "search_s": search_s,
    }


def raced(folder, network: str, dgtl_ms: float, hardware=toys.HARDWARE, without: str = "") -> None:
    systems = {"dgtl": figures(dgtl_ms, 60.0), **dict.fromkeys(REFERENCES, figures(10.0))}
    systems = {name: one for name, one in systems.items() if name != without}
    (folder / network).mkdir()
    Raced.now(network, systems, hardware, ["deploy.untuned=false"]).keep(folder / network)


def test_ratios_are_of_lowest_quartiles(tmp_path):
    raced(tmp_path, "one", 5.0)
    raced(tmp_path, "two", 20.0)
    raced(tmp_path, "three", 1.0, without=REFERENCES[1])
    lines = write(tmp_path, tmp_path / "results").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert rows[2] == [
        "one",
        "60",
        "5.00 [4.50, 6.00]",
        *["10.00 [9.00, 12.00]"] * 2,
        "0.50",
        "0.50",
    ]
    assert [row[0] for row in rows[2:]] == ["one", "two"]
    assert rows[3][-2:] == ["2.00", "2.00"]
    with (tmp_path / "results" / "latency.csv").open() as file:
        kept = list(csv.DictReader(file))
    assert [(row["network"], row["system"]) for row in kept[:2]] == [
        ("one", "dgtl"),
        ("one", REFERENCES[0]),
    ]


def test_the_table_says_which_model_tuned(tmp_path):
    raced(tmp_path, "one", 5.0)
    write(tmp_path, tmp_path / "results")
    read = Raced.read(tmp_path / "one" / "figures.json")
    assert state([read.model]) == "today"
    origin = json.loads((tmp_path / "results" / "latency.json").read_text())
    assert origin["methods"]["dgp"][0]["hash"] == read.model.hash


def test_what_does_not_compare_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no network in"):
        write(tmp_path, tmp_path)
    raced(tmp_path, "one", 5.0)
    raced(tmp_path, "two", 5.0, hardware=Hardware("other", toys.HARDWARE.target, 4))
    with pytest.raises(ValueError, match="several hardware"):
        write(tmp_path, tmp_path)
