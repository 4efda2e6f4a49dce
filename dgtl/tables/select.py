"""Choosing tables and layers by their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dgtl.core.titles import titles
from dgtl.tables.networks import OTHER, SHAPES, networks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dgtl.core.history import SourceTask


def pattern_matcher(patterns: Iterable[str] | None) -> Callable[[str], bool]:
    """Whether one of the regular expressions of ``workload.tasks`` finds something in a text.

    Raises:
        ValueError: an expression that is none, or no list of them.
    """
    if patterns is None:
        return lambda text: True
    if isinstance(patterns, str):
        raise ValueError(f"workload.tasks={patterns}: give a list: 'workload.tasks=[{patterns}]'")
    patterns = list(patterns)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ValueError(
                f"workload.tasks: {pattern} is read as a number; in quotes it is text: "
                f"workload.tasks=['\"{pattern}\"']"
            )
    try:
        found = [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise ValueError(
            f"workload.tasks: {error.pattern!r} is no regular expression: {error}"
        ) from error
    return lambda text: any(pattern.search(text) for pattern in found)


def choose(
    tables: Sequence[SourceTask],
    patterns: Iterable[str] | None = None,
    networks: Sequence[str] | None = None,
) -> list[SourceTask]:
    """The tables of which a regular expression finds key or title, of one of the networks.

    Raises:
        ValueError: no table is left, or a network or an expression is unknown.
    """
    wanted = pattern_matcher(patterns)
    names = titles([table.task for table in tables])
    chosen = [
        table
        for table, name in zip(tables, names, strict=True)
        if wanted(table.task.key) or wanted(name)
    ]
    if networks is not None:
        unknown = set(networks) - {*SHAPES, OTHER}
        if unknown:
            raise ValueError(
                f"workload.networks: {', '.join(sorted(unknown))} not known; "
                f"choose of {', '.join((*SHAPES, OTHER))}"
            )
        chosen = [t for t in chosen if not networks_of(t.task).isdisjoint(networks)]
    if not chosen:
        raise ValueError("no table is left: see workload.tasks and workload.networks")
    return chosen
