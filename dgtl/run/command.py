"""The command line around Hydra: what a user gets wrong is one line, whoever finds it."""

from __future__ import annotations

import os
import re
import sys
import traceback
from typing import TYPE_CHECKING

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from dgtl.core.locales import speak_utf8

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = "dgtl.run.live"
"""The module from whose frame on an error is the run's own, and keeps its traceback."""


class JobEndedError(Exception):
    """A job is over, the user knows why, and its exit code is not 0; of a sweep the others go on.

    Args:
        code: the exit code.
    """

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


def call(main: Callable[[], None]) -> None:
    """Calls a program that Hydra starts; errors before the run begins end it in one line."""
    speak_utf8()
    as_it_is = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Hydra would print its own errors, over several lines, and exit.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        main()
    except JobEndedError as ended:
        sys.exit(ended.code)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
    except Exception as error:
        line = one_line(error)
        if line is None or as_it_is:
            raise
        sys.exit(f"error: {line}")


def one_line(error: Exception) -> str | None:
    """What Hydra found wrong before the run began; None if that is not for the user to mend."""
    if any(
        frame.f_globals.get("__name__") == RUN
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ):
        return None
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={name}: choose of {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read as NAME=VALUE"
    unknown = re.match(r"Could not override '(.+?)'", str(error))
    if unknown is not None:
        return f"{unknown[1]}: no such setting (python run.py --cfg job shows all)"
    if str(error).startswith("Config group override must be"):
        return "a group is chosen by a name, as in model=dgp, and not by a number"
    if isinstance(error, HydraException | OmegaConfBaseException):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return " ".join(line for line in lines if "https://" not in line)
    # Hydra makes the folder; where its log cannot be opened there, logging hides the cause.
    folder = error if isinstance(error, OSError) else error.__cause__
    if isinstance(folder, OSError):
        return (
            f"the output folder cannot be written: {folder.filename}: {folder.strerror} "
            "(hydra.run.dir=FOLDER chooses another)"
        )
    return None
