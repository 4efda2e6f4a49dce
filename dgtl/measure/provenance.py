"""Under what a run measures: hardware, versions, revision, seed."""

from __future__ import annotations

import dataclasses
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import dgtl
from dgtl.core.records import Provenance

if TYPE_CHECKING:
    from dgtl.core.records import Hardware
    from dgtl.measure.protocol import MeasureOptions


def collect(
    hardware: Hardware, seed: int, versions: dict[str, str], options: MeasureOptions
) -> Provenance:
    """The provenance of measurements made from now on."""
    return Provenance(
        id=uuid.uuid4().hex[:8],
        hardware=hardware,
        seed=seed,
        versions={"dgtl": dgtl.__version__, **versions},
        revision=revision(),
        measure=dataclasses.asdict(options),
        timestamp=time.time(),
    )


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
