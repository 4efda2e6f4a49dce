"""A knob: one choice of a design space, with the options that it has.

Tilings are all ordered factorisations of an extent that a policy allows, in an order that all
programs share, since configurations are kept as indices of options.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.core.limits import MOST_EXTENT
from dgtl.core.typed import typed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MOST_OPTIONS = 1 << 20
"""Splits that are looked at for a knob, and options of a space. The tilings of 25,088 into four
are 2,200, those of 5,040 into five 26,250."""

MOST_PARTS = 16
MOST_VALUE = 1 << 31


@functools.cache
def divisors(n: int) -> tuple[int, ...]:
    """All divisors, the least first."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return tuple(sorted({*small, *(n // d for d in small)}))


@functools.cache
def factorisations(extent: int, parts: int, max_inner: int) -> tuple[tuple[int, ...], ...]:
    """Ordered factorisations of ``extent`` into ``parts`` factors, the last at most ``max_inner``.

    In lexicographic order, which makes knob indices stable between programs.
    """
    if parts == 1:
        return ((extent,),) if extent <= max_inner else ()
    return tuple(
        (outer, *rest)
        for outer in divisors(extent)
        for rest in factorisations(extent // outer, parts - 1, max_inner)
    )


@functools.cache
def autotvm_splits(
    extent: int, parts: int, max_factor: int, *, tails: bool = False
) -> tuple[tuple[int, ...], ...]:
    """AutoTVM's splits of ``extent`` into ``parts``, in AutoTVM's order.

    Any factor but the outermost is at most ``max_factor``; the outermost is what is left. The
    innermost varies slowest. Policy *factors* takes divisors only; *verbose* (``tails``) takes
    powers of two as well, so that the outermost is rounded up and the product may exceed the extent
    (TVM v0.11, autotvm/task/space.py).
    """
    found = divisors(extent)
    if tails:
        # AutoTVM iterates over a set here, so that its order, which indices in logs follow, is the
        # interpreter's order of a set of small integers, not an ascending one.
        powers = [2**p for p in range(extent.bit_length())]
        factors = [f for f in set(found) | set(powers) if f <= max_factor]
    else:
        factors = [f for f in found if f <= max_factor]
    options = []
    for inner in itertools.product(factors, repeat=parts - 1):
        product = math.prod(inner)
        if extent % product == 0 or (tails and product < extent):
            options.append((-(-extent // product), *inner[::-1]))
    return tuple(options)


SPLIT_POLICIES: dict[str, Callable[[int, int, int], tuple[tuple[int, ...], ...]]] = {
    "perfect": factorisations,
    "factors": autotvm_splits,
    "verbose": functools.partial(autotvm_splits, tails=True),
}
"""Options of a tile from (extent, parts, limit): MetaSchedule's tilings, AutoTVM's two policies."""


def _looked_at(extent: int, parts: int, policy: str) -> int:
    """Splits that the policy looks at, at most: known before any is made."""
    if policy != "perfect":
        factors = len(divisors(extent)) + (extent.bit_length() if policy == "verbose" else 0)
        return int(factors ** (parts - 1))
    count, rest = 1, extent
    for prime in divisors(extent)[1:]:
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        count *= math.comb(power + parts - 1, power)
    return count


@dataclasses.dataclass(frozen=True)
class Knob:
    """One choice of a design space.

    Args:
        name: e.g. ``tile_w``.
        role: ``sketch``, ``tile``, ``unroll``, ``location`` or ``other``: what features make of it.
        options: one tuple per option [n_options][n_parts].
        axis: index of the task's axis that a tile splits, -1 otherwise.
        split: (extent, parts, limit) of a tile, from which its options follow.
        policy: which of `SPLIT_POLICIES` makes the options of ``split``.
        levels: for each part of a tile, which level of its axis's kind in the space's structure it
            belongs to; none given means that part p is level p.
    """

    name: str
    role: str
    options: tuple[tuple[int, ...], ...]
    axis: int = -1
    split: tuple[int, int, int] | None = None
    policy: str = "perfect"
    levels: tuple[int, ...] = ()

    @classmethod
    def tile(
        cls,
        name: str,
        axis: int,
        extent: int,
        parts: int,
        limit: int,
        policy: str = "perfect",
        levels: tuple[int, ...] = (),
    ) -> Knob:
        """All tilings of an axis that a policy allows, e.g. all ordered perfect ones.

        Args:
            name: of the knob.
            axis: index of the task's axis.
            extent: of the axis.
            parts: loops it becomes.
            limit: on the innermost part (``perfect``) or all but the outermost (the others).
            policy: one of `SPLIT_POLICIES`.
            levels: see `Knob`.

        Raises:
            ValueError: there are none, or more than any task has.
        """
        if policy not in SPLIT_POLICIES:
            raise ValueError(f"unknown policy {policy[:40]!r} of splits")
        if not 1 <= extent <= MOST_EXTENT or not 1 <= parts <= MOST_PARTS:
            raise ValueError(f"knob {name[:40]}: a split of {extent} into {parts}")
        if _looked_at(extent, parts, policy) > MOST_OPTIONS:
            raise ValueError(f"knob {name[:40]}: too many splits of {extent} into {parts}")
        options = SPLIT_POLICIES[policy](extent, parts, limit)
        return cls(name, "tile", options, axis, (extent, parts, limit), policy, levels)

    @classmethod
    def choice(cls, name: str, role: str, values: tuple[int, ...]) -> Knob:
        """A choice between single values."""
        return cls(name, role, tuple((value,) for value in values))

    def __len__(self) -> int:
        return len(self.options)

    @functools.cached_property
    def table(self) -> NDArray[np.int64]:
        """Options as an array [n_options, n_parts]."""
        return np.asarray(self.options, dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {"name": self.name, "role": self.role}
        if self.split is not None:
            record |= {"axis": self.axis, "split": list(self.split)}
            if self.policy != "perfect":
                record["policy"] = self.policy
            if self.levels:
                record["levels"] = list(self.levels)
            return record
        return {**record, "values": [option[0] for option in self.options]}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Knob:
        """Inverse of `to_json`. Raises ValueError for what is no knob."""
        kept = typed(_Knob, record)
        if kept.split is not None:
            return cls.tile(kept.name, kept.axis, *kept.split, kept.policy, kept.levels)
        if not all(abs(value) < MOST_VALUE for value in kept.values):
            raise ValueError(f"knob {kept.name[:40]}: values out of range")
        return cls.choice(kept.name, kept.role, kept.values)


@dataclasses.dataclass(frozen=True)
class _Knob:
    """What JSON has of a knob."""

    name: str
    role: str
    axis: int = -1
    split: tuple[int, int, int] | None = None
    policy: str = "perfect"
    levels: tuple[int, ...] = ()
    values: tuple[int, ...] = ()
