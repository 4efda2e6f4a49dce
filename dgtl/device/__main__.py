"""The command line: ``python -m dgtl.device FOLDER`` or ``python FOLDER/device.pyz FOLDER``."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from pathlib import Path

from .errors import RefusedError, Stopped, last_line
from .parent import run
from .process import OWN_COMMAND, work


def _stop(signum: int, frame: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise Stopped(signum)


def main() -> int:
    """Reads the command line; the exit code."""
    if sys.argv[1:2] == ["--worker"]:
        return work(sys.argv[2], Path(sys.argv[3]))
    parser = argparse.ArgumentParser(
        prog=" ".join(["python", *OWN_COMMAND[1:]]),
        description="Times what a visit folder holds, on the machine that has the device.",
    )
    parser.add_argument("folder", type=Path, help="the visit folder")
    parser.add_argument("--runtime", metavar="DIR", help="folder of TVM's runtime libraries")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="start no other pack when they are over"
    )
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        return run(options.folder, options.runtime, options.seconds)
    except Stopped as stop:
        return 128 + int(stop.args[0])
    except (RefusedError, OSError) as error:
        print(f"error: {last_line(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
