"""The command `dgtl`: tune a model, check the installation, look after the local history."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dgtl
from dgtl.core.locales import speak_utf8
from dgtl.front.api import SECONDS, wait_passively
from dgtl.front.options import Options, in_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERRUPTED = 130
"""Exit code of a tuning that was interrupted before anything was found; the shell's own."""

UNTUNED = 2
"""Exit code where every trial of a layer failed, or none was made; all is written all the same."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; what a user gets wrong is one line and exit code 1."""
    if arguments is None:
        speak_utf8()
    args = parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except ValueError as error:
        print(f"error: {in_options(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno == errno.ENOSPC:
            print(f"error: the disk is full ({error.filename})", file=sys.stderr)
            return 1
        raise
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    top = argparse.ArgumentParser(
        prog="dgtl",
        description="Tunes neural networks for the processor in front of you.",
        epilog="dgtl COMMAND --help says more of each.",
    )
    top.add_argument("--version", action="version", version=f"dgtl {dgtl.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    tune = commands.add_parser(
        "tune",
        help="an ONNX file to a library",
        description="Tunes a model for this machine. Ctrl-C ends the search and keeps its finds.",
    )
    tune.set_defaults(run=_tune)
    tune.add_argument("model", type=Path, metavar="MODEL.onnx", help="weights beside it are read")
    tune.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=N,N,...",
        help="of an input with open extents; once for each",
    )
    tune.add_argument(
        "--constant",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of an input that the tuned network is not to take; once for each",
    )
    tune.add_argument(
        "--inputs", type=Path, metavar="FILE.npz", help="values to check and time with"
    )
    tune.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help="of the search (%(default)g)"
    )
    tune.add_argument(
        "--out", type=Path, metavar="FOLDER", help="for what comes out (MODEL_tuned/)"
    )
    tune.add_argument("--cores", type=int, metavar="N", help="that the network may use (all)")
    tune.add_argument("--seed", type=int, default=0, metavar="N", help="of random choices (0)")
    tune.add_argument(
        "--no-history",
        action="store_true",
        help="neither learn from what was tuned here before nor remember this",
    )
    tune.add_argument(
        "--fresh", action="store_true", help="leave aside what an earlier call left in FOLDER"
    )
    tune.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="any setting of conf/, such as budget.batch=32",
    )

    doctor = commands.add_parser("doctor", help="checks the installation")
    doctor.set_defaults(run=_doctor)

    history = commands.add_parser("history", help="what was tuned on this machine")
    actions = history.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="tasks and trials, by processor")
    listing.set_defaults(run=_list)
    export = actions.add_parser("export", help="one file with all of it")
    export.add_argument("file", type=Path, metavar="FILE.jsonl.xz")
    export.set_defaults(run=_export)
    imports = actions.add_parser("import", help="takes in histories of dgtl and logs of AutoTVM")
    imports.add_argument("files", type=Path, nargs="+", metavar="FILE")
    imports.set_defaults(run=_import)
    return top


def _tune(args: argparse.Namespace) -> int:
    options = Options(
        model=args.model,
        out=args.out or Path(f"{args.model.stem}_tuned"),
        seconds=args.seconds,
        shapes=dict(map(shape, args.shape)),
        constants=dict(map(constant, args.constant)),
        inputs=args.inputs,
        num_cores=args.cores,
        seed=args.seed,
        history=not args.no_history,
        fresh=args.fresh,
        settings=tuple(args.settings),
    )
    if not options.model.is_file():
        raise ValueError(f"{options.model}: no such file")
    wait_passively()
    from dgtl.front.tuning import tuned_into

    summary = tuned_into(options)
    print(f"\n{options.out}/ holds the network: README.md says how to run it. In Python:")
    print(f"    import dgtl\n    network = dgtl.load({os.fspath(options.out)!r})")
    failed = [task for task in summary.untuned if task.trials]
    if failed:
        print(
            f"error: every trial of {failed[0].title} failed, "
            f"which runs by the default schedule: {options.out}/report.html says why",
            file=sys.stderr,
        )
    if summary.nothing_ran and not failed:
        print("error: no time was left for a trial: give --seconds more", file=sys.stderr)
    return UNTUNED if failed or summary.nothing_ran else 0


def _doctor(_: argparse.Namespace) -> int:
    from dgtl.front.doctor import examine

    return examine()


def _list(_: argparse.Namespace) -> int:
    from dgtl.front import knowledge

    print(knowledge.listing())
    return 0


def _export(args: argparse.Namespace) -> int:
    from dgtl.front import knowledge

    print(knowledge.export(args.file))
    return 0


def _import(args: argparse.Namespace) -> int:
    from dgtl.front import knowledge

    for path in args.files:
        print(knowledge.take_in(path))
    return 0


def shape(text: str) -> tuple[str, list[int]]:
    """Name and extents of ``NAME=N,N,...``.

    Raises:
        ValueError: it is something else.
    """
    return _named("--shape", text, lambda said: [int(n) for n in said.split(",")], "1,3,224,224")


def constant(text: str) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE``, a number or nested lists of them.

    Raises:
        ValueError: it is something else.
    """
    return _named("--constant", text, json.loads, "16000")


def _named(option: str, text: str, read: Callable[[str], Any], example: str) -> tuple[str, Any]:
    name, _, said = text.rpartition("=")
    try:
        if not name:
            raise ValueError
        return name, read(said)
    except ValueError:
        raise ValueError(f"{option} {text}: write it as {option} NAME={example}") from None


if __name__ == "__main__":
    sys.exit(main())
