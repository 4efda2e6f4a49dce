"""Text is UTF-8, whatever the locale of the user says."""

from __future__ import annotations

import locale
import os
import sys


def speak_utf8() -> None:
    """Starts this program again in Python's UTF-8 mode, where its locale is of another encoding.

    First thing of a program: what it reads and prints has letters that others lack.
    """
    if locale.getencoding().lower() not in ("utf-8", "utf8") and not sys.flags.utf8_mode:
        environment = {**os.environ, "PYTHONUTF8": "1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
