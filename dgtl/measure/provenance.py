"""Under what a run measures: hardware, versions, revision, seed."""

from __future__ import annotations

import dataclasses
import time
import uuid
from typing import TYPE_CHECKING

import dgtl
from dgtl.core.records import Provenance
from dgtl.core.revision import revision

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
