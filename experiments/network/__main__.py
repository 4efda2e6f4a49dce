"""Compares methods and schedulers that searched recorded networks, each as one.

    python run.py experiment=network
    python -m experiments.network

Prints two tables, over all networks and for each, and writes ``network.csv`` (one row per network,
method and seed), ``network.md``, ``network.html`` and the curves to ``results/``. What is followed
is the sum over layers of weight x best latency, over the simulated seconds of search: those of
building and running as recorded, those of the model as the replaying machine took them. It is
defined once every layer has a trial that ran. The best recorded is the same sum of the tables' best
rows. Nothing is judged beyond a network's horizon, at which the first search was cut by its budget,
so that no guess is made of what a search would have found later.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dgtl.report import style
from experiments.compare.report import markdown
from experiments.network.report import (
    draw,
    per_network,
    remark,
    table_of_methods,
    table_of_networks,
    write_page,
)
from experiments.network.searches import horizons, read_networks, read_searches
from experiments.shared.models import models_of
from experiments.shared.results import made, sentence, write_csv, write_origin


def compare(folder: Path, out: Path, reference: str) -> str:
    """Compares all runs below ``folder``, writes the results to ``out``, and returns the tables.

    Raises:
        ValueError: nothing to compare, runs that do not compare, an unknown reference.
    """
    methods = read_networks(folder)
    if reference not in methods:
        raise ValueError(
            f"no runs of '{reference}' to compare with: choose --reference of {', '.join(methods)}"
        )
    networks, searches = read_searches(methods)
    horizons_s = horizons(searches)
    hardware = next(iter(methods.values()))[0].report["hardware"]
    tables = (
        ("Methods", table_of_methods(methods, searches, horizons_s, reference), remark(reference)),
        (
            "Networks",
            table_of_networks(searches, horizons_s),
            per_network(networks, horizons_s, hardware),
        ),
    )
    models = {name: models_of(run.folder for run in same) for name, same in methods.items()}
    facts = made(models, hardware=f"{hardware}, recorded")
    text = "\n".join(markdown(lines, note) for _, lines, note in tables)
    text += f"\n{sentence(facts)}\n"
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "network.csv", [s.row(horizons_s[s.network]) for s in searches])
    (out / "network.md").write_text(text)
    figure = draw(networks, searches, horizons_s)
    style.save(figure, out / "network.png")
    write_page(out / "network.html", hardware, tables, figure, facts)
    write_origin(out / "network.md", models, (search.seed for search in searches), facts)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs/network"))
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument(
        "--reference",
        default="xgb_transfer/gradient",
        metavar="METHOD/SCHEDULER",
        help="whom times are taken in ratio to",
    )
    args = parser.parse_args()
    try:
        print(compare(args.folder, args.out, args.reference))
    except ValueError as error:
        sys.exit(f"network: {error}")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
