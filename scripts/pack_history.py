"""Packs histories into one file in columns, of which runs read only what they learn from.

    python scripts/pack_history.py outputs/history --out outputs/history.parquet
    python run.py history.path=outputs/history.parquet workload=resnet18

Files of lines stay the place where runs write; this is made again when they have grown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dgtl.core.columns import pack


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
