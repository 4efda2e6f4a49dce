"""How many cores this process may use: what the scheduler lets it run on, and what it is granted.

A container with ``--cpus=1`` sees every core of its host; threads beyond its share are only put to
sleep in turns.
"""

from __future__ import annotations

import os
from pathlib import Path


def available_cores() -> int:
    """Cores that this process may use, at least one.

    The smaller of its affinity (cpusets, taskset) and the whole cores of its control group's quota.
    """
    seen = len(os.sched_getaffinity(0))
    quota = quota_cores()
    return seen if quota is None else max(min(seen, int(quota)), 1)


def quota_cores(
    root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")
) -> float | None:
    """Cores' worth of time that the control groups grant; None if they set no limit.

    Args:
        root: where control groups are mounted, of version 1 or 2.
        groups: what this process belongs to; a container may not see so much of the path.
    """
    limits = [
        quota
        for base, path in _groups(root, groups)
        for part in (path, *path.parents)
        if (quota := _quota(base / part)) is not None
    ]
    return min(limits, default=None)


def _groups(root: Path, groups: Path) -> list[tuple[Path, Path]]:
    """Where the quota of the CPU may be: a folder, and the group's path below it."""
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:
        lines = []
    found = [(root, Path()), (root / "cpu", Path())]
    for line in lines:
        if len(line) == 3:
            _, controllers, path = line
            if controllers == "":
                found.append((root, Path(path.lstrip("/"))))
            elif "cpu" in controllers.split(","):
                found += [(root / name, Path(path.lstrip("/"))) for name in ("cpu", controllers)]
    return found


def _quota(folder: Path) -> float | None:
    """The quota of one group, of either version."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
