"""Packs histories into one file in columns, of which runs read only what they learn from.

    python scripts/pack_history.py outputs/history --out outputs/history.parquet
    python run.py history.path=outputs/history.parquet workload=resnet18

Files of lines stay the place where runs write; this is made again when they have grown. It holds
one task's trials after another, and reads the files one by one, so that they need not fit into the
memory together unless all are of the same tasks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dgtl.core.columns import SUFFIX, trial_table, write_columns
from dgtl.core.history import History


def pack(paths: list[Path], out: Path) -> int:
    """Writes the histories as one file; how many trials that are.

    Raises:
        ValueError: a history that cannot be used, or a name that is not one of such files.
    """
    if out.suffix != SUFFIX:
        raise ValueError(f"{out}: name it {SUFFIX}")
    history = History.read(*paths)
    sources = list(history)
    records = [provenance.to_json() for provenance in history.provenances.values()]
    records += [
        {**s.task.to_json(), "space": s.space.to_json(), "trials": len(s.trials)} for s in sources
    ]
    write_columns(records, (trial_table(source.trials) for source in sources), out)
    return history.n_trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="files or folders of histories")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    try:
        n_trials = pack(args.paths, args.out)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{args.out}: {n_trials} trials, {args.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
