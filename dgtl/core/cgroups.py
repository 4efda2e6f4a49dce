"""What the control groups of this process grant it: time on cores, and memory.

A container or a service may have less than its machine shows. Groups lie in each other, and each
may set a limit: the narrowest counts. Of version 1 every resource has a tree of its own.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path("/sys/fs/cgroup")
"""Where control groups are mounted."""

GROUPS = Path("/proc/self/cgroup")
"""What this process belongs to; a container may not see so much of the path."""


def quota_cores(root: Path = ROOT, groups: Path = GROUPS) -> float | None:
    """Cores' worth of time that is granted; None if there is no limit.

    Args:
        root, groups: see `ROOT` and `GROUPS`.
    """
    return _narrowest("cpu", _quota, root, groups)


def memory_bytes(root: Path = ROOT, groups: Path = GROUPS) -> int | None:
    """Memory [bytes] that is granted; None if there is no limit. Arguments as of `quota_cores`."""
    found = _narrowest("memory", _memory, root, groups)
    return None if found is None else int(found)


def _narrowest(
    controller: str, read: Callable[[Path], float | None], root: Path, groups: Path
) -> float | None:
    """The least of the limits of a resource on the way to the root."""
    limits = (
        read(base / part)
        for base, path in _places(controller, root, groups)
        for part in (path, *path.parents)
    )
    return min((limit for limit in limits if limit is not None), default=None)


def _places(controller: str, root: Path, groups: Path) -> Iterator[tuple[Path, Path]]:
    """Where limits of a resource may be: the root of a tree, and the group's path below it."""
    yield root, Path()
    yield root / controller, Path()
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = groups.read_text().splitlines()
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        group = Path(path.lstrip("/"))
        if controllers == "":
            yield root, group
        elif controller in controllers.split(","):
            yield root / controller, group
            yield root / controllers, group


def _quota(folder: Path) -> float | None:
    """Cores of one group, of either version."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    return None


def _memory(folder: Path) -> int | None:
    """Bytes of one group, of either version: 1 says a huge number where there is no limit."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # another version; "max"
            return int((folder / name).read_text())
    return None
