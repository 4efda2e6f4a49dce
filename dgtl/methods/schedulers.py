"""The schedulers by their names.

What decides trials imports none of them but its own: so `dgtl.results.model_hash` tells which
scheduler a result depends on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgtl.methods.even import Even
from dgtl.methods.expected import Expected
from dgtl.methods.gradient import Gradient

if TYPE_CHECKING:
    from dgtl.methods.schedule import Scheduler

SCHEDULERS: dict[str, type[Scheduler]] = {one.name: one for one in (Even, Gradient, Expected)}
