"""What is known of GPUs: the descriptors that features carry from one device to another.

From NVIDIA's data sheets and architecture white papers; boost clocks, one processor of a K80.
"""

from __future__ import annotations

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class GPU:
    """One device.

    Args:
        arch: what kernels are compiled for, e.g. ``sm_90``.
        processors: streaming multiprocessors.
        lanes: float32 operations that a processor starts per clock, fused ones counted once.
        clock_mhz: boost clock [MHz].
        bandwidth_gb_s: of the device's memory [GB/s].
        l2_mb: level-2 cache [MB].
        shared_kb: shared memory of a processor [kB].
    """

    arch: str
    processors: int
    lanes: int
    clock_mhz: int
    bandwidth_gb_s: float
    l2_mb: float
    shared_kb: int

    @property
    def limit_gflops(self) -> float:
        """Arithmetic limit in float32 [GFLOPS]: two operations per lane and clock."""
        return 2e-3 * self.processors * self.lanes * self.clock_mhz


GPUS = {
    "k80": GPU("sm_37", 13, 192, 875, 240, 1.5, 112),
    "gtx1080ti": GPU("sm_61", 28, 128, 1582, 484, 2.75, 96),
    "p100": GPU("sm_60", 56, 64, 1480, 732, 4, 64),
    "v100": GPU("sm_70", 80, 64, 1530, 900, 6, 96),
    "gtx1650": GPU("sm_75", 14, 64, 1665, 128, 1, 64),
    "t4": GPU("sm_75", 40, 64, 1590, 320, 4, 64),
    "rtx2080ti": GPU("sm_75", 68, 64, 1545, 616, 5.5, 64),
    "a100": GPU("sm_80", 108, 64, 1410, 1555, 40, 164),
    "a10": GPU("sm_86", 72, 128, 1695, 600, 6, 100),
    "rtx3090": GPU("sm_86", 82, 128, 1695, 936, 6, 100),
    "l4": GPU("sm_89", 58, 128, 2040, 300, 48, 100),
    "rtx4090": GPU("sm_89", 128, 128, 2520, 1008, 72, 100),
    "h100": GPU("sm_90", 132, 128, 1980, 3350, 50, 228),
    "h200": GPU("sm_90", 132, 128, 1980, 4800, 50, 228),
}
"""By the name that histories call them."""

_NO_NAMES = {"nvidia", "geforce", "tesla", "gpu", "pcie", "sxm", "nvl"}
_SIZE = re.compile(r"\d+gb|hbm\d?e?|sxm\d")
"""Words of a product that say nothing of which device it is."""


def name_of(product: str) -> str:
    """The name of a device from what its driver calls it.

    ``NVIDIA H100 80GB HBM3`` is ``h100``; what no entry of `GPUS` names keeps its own words, as
    does a variant of one (``gtx1650-super``).
    """
    words = re.findall(r"[a-z0-9]+", product.lower())
    words = [word for word in words if word not in _NO_NAMES and not _SIZE.fullmatch(word)]
    series = "".join(words[:2]) if words[:1] in (["gtx"], ["rtx"]) else None
    return "-".join([series, *words[2:]] if series else words)
