"""The revision of the program that runs."""

from __future__ import annotations

import subprocess
from pathlib import Path


def revision() -> str:
    """Git revision of the program, with ``+`` if it was changed since; empty outside a checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
