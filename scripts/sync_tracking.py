"""Uploads finished runs to Weights & Biases.

    python scripts/sync_tracking.py                        # all below outputs/
    python scripts/sync_tracking.py outputs/resnet18
    python scripts/sync_tracking.py --rebuild outputs/resnet18/dgp

Only runs that have ended are uploaded, each once, and only the last W&B run of each. ``--rebuild``
makes the offline W&B run anew from the trials, as after ``tracking=disabled`` or a crash; nothing
is measured.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dgtl.results.run_folder import Run, find_runs
from dgtl.tracking import offline as tracking_offline


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="runs, or above")
    parser.add_argument(
        "--rebuild", type=Path, nargs="+", default=[], metavar="FOLDER", help="and make these anew"
    )
    parser.add_argument("--project", default="dgtl", help="of rebuilt runs")
    parser.add_argument("--group", default="", help="of rebuilt runs; else their workload")
    parser.add_argument("--no-upload", action="store_true", help="only rebuild")
    args = parser.parse_args()
    try:
        for folder in find_runs(args.rebuild):
            made = tracking_offline.rebuild(Run.read(folder), args.project, args.group)
            print(f"rebuilt {made}", flush=True)
        if args.no_upload:
            return
        folders = args.folders or args.rebuild or [Path("outputs")]
        found = [tracking_offline.not_uploaded(folder) for folder in find_runs(folders)]
        waiting = [path for path in found if path is not None]
        if waiting:
            tracking_offline.upload(waiting)
        print(f"{len(waiting)} runs uploaded")
    except ValueError as error:
        sys.exit(f"sync_tracking: {error}")


if __name__ == "__main__":
    main()
