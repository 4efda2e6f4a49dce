"""Networks of depthwise convolutions; shapes as in torchvision, batch normalisation folded.

Before an activation, weights have He's scale. Projections are linear and have half of its variance;
behind squeeze-and-excitation, whose gates are near 1/2, they have 1.5 times of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgtl.tvm.workload.networks.graph import Activation, Graph

if TYPE_CHECKING:
    import onnx


def mobilenet_v1(seed: int) -> onnx.ModelProto:
    g = Graph(seed, (1, 3, 224, 224))
    x = g.conv("data", 32, 3, 2, 1)
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
    for channels, stride in [*plan, (1024, 2), (1024, 1)]:
        x = g.conv(g.depthwise(x, 3, stride, 1), channels, 1)
    return g.model(g.dense(g.global_pool(x), 1000, act=None))


def _excite(g: Graph, x: str, squeezed: int, act: Activation, gate: str, **attributes) -> str:
    """Squeeze-and-excitation (Hu et al. 2018): channels weighed by their means."""
    y = g.conv(g.node("GlobalAveragePool", x), squeezed, 1, act=act)
    y = g.conv(y, g.shape(x)[1], 1, act=None, gain=1)
    return g.node("Mul", x, g.node(gate, y, **attributes))


def _inverted(
    g: Graph, x: str, k: int, s: int, expanded: int, channels: int, act: Activation, excite=None
) -> str:
    """Inverted residual (Sandler et al. 2018): expand, depthwise, excite, project; then add."""
    y = x
    if expanded != g.shape(x)[1]:
        y = g.conv(y, expanded, 1, act=act)
    y = g.depthwise(y, k, s, k // 2, act)
    if excite is not None:
        y = excite(y)
    y = g.conv(y, channels, 1, act=None, gain=1 if excite is None else 3)
    return g.add(x, y) if g.shape(x) == g.shape(y) else y


def mobilenet_v2(seed: int) -> onnx.ModelProto:
    """Sandler et al. 2018; ReLU6 as Clip."""
    g = Graph(seed, (1, 3, 224, 224))
    x = g.conv("data", 32, 3, 2, 1, act="relu6")
    for expansion, channels, blocks, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for s in (stride, *[1] * (blocks - 1)):
            x = _inverted(g, x, 3, s, expansion * g.shape(x)[1], channels, "relu6")
    return g.model(g.dense(g.global_pool(g.conv(x, 1280, 1, act="relu6")), 1000, act=None))


def mobilenet_v3_large(seed: int) -> onnx.ModelProto:
    """Howard et al. 2019."""
    g = Graph(seed, (1, 3, 224, 224))
    x = g.conv("data", 16, 3, 2, 1, act="hard_swish")
    # Kernel, expanded channels, output channels, squeezed channels (0: no excitation), stride.
    stages: dict[Activation, list[tuple[int, int, int, int, int]]] = {
        "relu": [
            (3, 16, 16, 0, 1),
            (3, 64, 24, 0, 2),
            (3, 72, 24, 0, 1),
            (5, 72, 40, 24, 2),
            *[(5, 120, 40, 32, 1)] * 2,
        ],
        "hard_swish": [
            (3, 240, 80, 0, 2),
            (3, 200, 80, 0, 1),
            *[(3, 184, 80, 0, 1)] * 2,
            (3, 480, 112, 120, 1),
            (3, 672, 112, 168, 1),
            (5, 672, 160, 168, 2),
            *[(5, 960, 160, 240, 1)] * 2,
        ],
    }
    for act, blocks in stages.items():
        for k, expanded, channels, squeezed, s in blocks:

            def excite(y: str, squeezed: int = squeezed) -> str:
                return _excite(g, y, squeezed, "relu", "HardSigmoid", alpha=1 / 6)

            x = _inverted(g, x, k, s, expanded, channels, act, excite if squeezed else None)
    x = g.global_pool(g.conv(x, 960, 1, act="hard_swish"))
    return g.model(g.dense(g.dense(x, 1280, act="hard_swish"), 1000, act=None))


def efficientnet_b0(seed: int) -> onnx.ModelProto:
    """Tan and Le 2019."""
    g = Graph(seed, (1, 3, 224, 224))
    x = g.conv("data", 32, 3, 2, 1, act="silu")
    for expansion, k, stride, channels, blocks in (
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ):
        for s in (stride, *[1] * (blocks - 1)):
            inputs = g.shape(x)[1]

            def excite(y: str, squeezed: int = inputs // 4) -> str:
                return _excite(g, y, squeezed, "silu", "Sigmoid")

            x = _inverted(g, x, k, s, expansion * inputs, channels, "silu", excite)
    x = g.conv(x, 1280, 1, act="silu")
    return g.model(g.dense(g.global_pool(x), 1000, act=None))


def _shuffle(g: Graph, x: str) -> str:
    """Channels of the two halves in turn."""
    n, c, h, w = g.shape(x)
    y = g.node("Transpose", g.reshape(x, n, 2, c // 2, h, w), perm=[0, 2, 1, 3, 4])
    return g.reshape(y, n, c, h, w)


def shufflenet_v2_x1_0(seed: int) -> onnx.ModelProto:
    """Ma et al. 2018, width 1."""
    g = Graph(seed, (1, 3, 224, 224))

    def branch(x: str, channels: int, s: int) -> str:
        x = g.depthwise(g.conv(x, channels, 1), 3, s, 1, act=None, gain=1)
        return g.conv(x, channels, 1)

    x = g.max_pool(g.conv("data", 24, 3, 2, 1), 3, 2, 1)
    for channels, blocks in ((116, 4), (232, 8), (464, 4)):
        half = channels // 2
        shortcut = g.conv(g.depthwise(x, 3, 2, 1, act=None, gain=1), half, 1)
        x = _shuffle(g, g.concat(shortcut, branch(x, half, 2)))
        for _ in range(blocks - 1):
            shortcut, y = g.split(x, 2)
            x = _shuffle(g, g.concat(shortcut, branch(y, half, 1)))
    x = g.node("ReduceMean", g.conv(x, 1024, 1), axes=[2, 3], keepdims=0)
    return g.model(g.dense(x, 1000, act=None))
