"""Imports AutoTVM logs as history.

    python scripts/import_autotvm.py logs/V100 logs/K80 --out build/history
    python scripts/import_autotvm.py tuning.log.xz --device rtx3090 --out build/history

Writes one history file per hardware and ends with one line of JSON that accounts for every line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from dgtl.autotvm_logs.importer import import_logs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="logs, or folders of logs"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the history files")
    parser.add_argument("--device", help="name of the hardware; else the name of a log's folder")
    args = parser.parse_args()
    begin = time.perf_counter()
    try:
        imported = import_logs(args.paths, args.device)
        imported.write(args.out)
    except ValueError as error:
        sys.exit(f"import_autotvm: {error}")
    if imported.unpadded:
        print(
            f"import_autotvm: {imported.unpadded} trials are of layers that the log calls padded "
            "(SAME), but their configurations are of the layers without padding: taken as those",
            file=sys.stderr,
        )
    if imported.off_index:
        print(
            f"import_autotvm: {imported.off_index} trials have another index in their log: "
            "it was written with another version of the template",
            file=sys.stderr,
        )
    ok = sum(trial.ok for trial in imported.trials)
    summary = {
        "files": imported.files,
        "lines": imported.lines,
        "trials": len(imported.trials),
        "ok": ok,
        "failed": len(imported.trials) - ok,
        "skipped": dict(imported.skipped),
        "tasks": len(imported.tasks),
        "seconds": round(time.perf_counter() - begin, 2),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
