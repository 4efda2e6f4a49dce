"""Traces as text, which tells whether two are of one sketch, whoever made them."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvm.s_tir.schedule import Trace

DECISION = re.compile(r", decision=(\[[^\]]*\]|-?\d+)")
ANNOTATED = re.compile(r"ann_val=-?\d+")
"""A number in an annotation: how far to parallelise, which TVM's mutators change."""


@dataclasses.dataclass(frozen=True)
class TraceText:
    """A trace without its decisions, and these.

    Args:
        text: its statements up to the post-processors, without dead ones and decisions; variables
            are numbered as they come, so that equal texts are equal sketches.
        decisions: of its sampling statements, in order; a single number has one element.
    """

    text: str
    decisions: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, trace: Trace) -> TraceText:
        """Of a trace of any schedule."""
        # One call of TVM for a whole trace: going through its instructions would take ten times
        # as long, and a search asks of thousands.
        text = str(trace.simplified(True))
        decisions = tuple(
            tuple(int(part) for part in found.strip("[]").split(","))
            for found in DECISION.findall(text)
        )
        return cls(ANNOTATED.sub("ann_val=", DECISION.sub("", text)), decisions)
