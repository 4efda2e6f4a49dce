"""How many cores this process may use: what the scheduler lets it run on, and what it is granted.

A container with ``--cpus=1`` sees every core of its host; threads beyond its share are only put to
sleep in turns.
"""

from __future__ import annotations

import os

from dgtl.core import cgroups


def available_cores() -> int:
    """Cores that this process may use, at least one.

    The smaller of its affinity (cpusets, taskset) and the whole cores of its control group's quota.
    """
    seen = len(os.sched_getaffinity(0))
    quota = cgroups.quota_cores()
    return seen if quota is None else max(min(seen, int(quota)), 1)
