"""Makes reports of runs again, from their trials alone.

    python scripts/report.py outputs/resnet18/dgp outputs/tables

Every run in a folder, or below it, gets its figures and its ``report.html`` anew; nothing is
measured. ``summary.json`` adds what no trial tells (the latency of the network, the time of
pre-training); its other numbers are computed from the trials and written again. A run that is not
finished gets a report of what it has so far, and no summary.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dgtl.report.html import write_report
from dgtl.results.run_folder import Run, find_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="runs, or above")
    args = parser.parse_args()
    try:
        folders = find_runs(args.folders)
    except ValueError as error:
        sys.exit(f"report: {error}")
    failed = 0
    for folder in folders:
        try:
            run = Run.read(folder)
        except ValueError as error:
            failed += 1
            print(f"report: {error}", file=sys.stderr)
            continue
        if (folder / "summary.json").exists():
            run.summary.write(folder / "summary.json")
        print(write_report(run), flush=True)
    if failed:
        sys.exit(f"report: {failed} of {len(folders)} runs could not be read")


if __name__ == "__main__":
    main()
