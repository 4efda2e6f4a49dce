"""What was published of table 1, to stand beside what is measured here. Other hardware.

Sun et al., *Fast and Efficient DNN Deployment via Deep Gaussian Transfer Learning*, ICCV 2021, the
slides of the talk; GPU and TVM version are not said there. Its columns of CHAMELEON and GGA were
not measured with it: CHAMELEON's are that system's own published figures against its own AutoTVM,
and GGA's (DAC 2020) are of the same kind.
"""

from __future__ import annotations

import dataclasses

SOURCE = "Sun et al., ICCV 2021, slides; other hardware"


@dataclasses.dataclass(frozen=True)
class Published:
    """Figures of one network and method; None where nothing was published.

    Args:
        search_h: search time [h].
        latency_ms: of the network [ms].
        search_reduction, latency_reduction: fractions against AutoTVM.
        hv: their product times 100, as printed.
    """

    search_h: float | None = None
    latency_ms: float | None = None
    search_reduction: float | None = None
    latency_reduction: float | None = None
    hv: float | None = None


TABLE_1: dict[tuple[str, str], Published] = {
    ("mobilenet_v1", "autotvm"): Published(31.14, 0.8980),
    ("mobilenet_v1", "dgp"): Published(10.06, 0.7664, 0.6769, 0.1465, 9.9168),
    ("alexnet", "autotvm"): Published(6.28, 1.3467),
    ("alexnet", "chameleon"): Published(None, None, 0.7216, 0.0588, 4.2409),
    ("alexnet", "dgp"): Published(2.14, 1.2537, 0.6596, 0.0691, 4.5573),
    ("vgg16", "autotvm"): Published(19.92, 6.7847),
    ("vgg16", "chameleon"): Published(None, None, 0.8256, 0.0344, 2.8418),
    ("vgg16", "dgp"): Published(4.61, 6.4972, 0.7683, 0.0424, 3.2556),
    ("resnet18", "autotvm"): Published(32.04, 1.8248),
    ("resnet18", "chameleon"): Published(None, None, 0.7667, 0.0416, 3.1915),
    ("resnet18", "gga"): Published(None, None, 0.9317, 0.0326, 3.0307),
    ("resnet18", "dgp"): Published(9.47, 1.7305, 0.7043, 0.0517, 3.6423),
}
"""By network and method, as ``workload=`` and ``model=`` name them."""
