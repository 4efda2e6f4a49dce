"""Networks of ordinary convolutions and dense layers, and `tiny`.

Shapes as in TVM's and torchvision's model zoos (AlexNet: "one weird trick"). Batch normalisation is
folded into convolution and bias, as for inference, but in `resnext_blocks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgtl.tvm.workload.networks.graph import Graph

if TYPE_CHECKING:
    import onnx


def alexnet(seed: int) -> onnx.ModelProto:
    g = Graph(seed, (1, 3, 224, 224))
    x = g.max_pool(g.conv("data", 64, 11, 4, 2), 3, 2)
    x = g.max_pool(g.conv(x, 192, 5, 1, 2), 3, 2)
    x = g.conv(g.conv(g.conv(x, 384, 3, 1, 1), 256, 3, 1, 1), 256, 3, 1, 1)
    x = g.flatten(g.max_pool(x, 3, 2))
    return g.model(g.dense(g.dense(g.dense(x, 4096), 4096), 1000, act=None))


def vgg16(seed: int) -> onnx.ModelProto:
    g = Graph(seed, (1, 3, 224, 224))
    x = "data"
    for channels, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            x = g.conv(x, channels, 3, 1, 1)
        x = g.max_pool(x, 2, 2)
    x = g.flatten(x)
    return g.model(g.dense(g.dense(g.dense(x, 4096), 4096), 1000, act=None))


def resnet18(seed: int) -> onnx.ModelProto:
    g = Graph(seed, (1, 3, 224, 224))
    x = g.max_pool(g.conv("data", 64, 7, 2, 3), 3, 2, 1)
    for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for s in (stride, 1):
            shortcut = x if s == 1 else g.conv(x, channels, 1, s, act=None)
            y = g.conv(g.conv(x, channels, 3, s, 1), channels, 3, 1, 1, act=None)
            x = g.activate(g.add(y, shortcut), "relu")
    return g.model(g.dense(g.global_pool(x), 1000, act=None))


def tiny(seed: int) -> onnx.ModelProto:
    """One layer of each kind, in milliseconds: for tests and first steps."""
    g = Graph(seed, (1, 3, 32, 32))
    x = g.conv("data", 16, 3, 2, 1)
    y = g.conv(g.depthwise(x, 3, 1, 1), 16, 1, act=None)
    x = g.max_pool(g.activate(g.add(y, x), "relu"), 2, 2)
    return g.model(g.dense(g.global_pool(x), 10, act=None))


def resnet50(seed: int) -> onnx.ModelProto:
    """He et al. 2016; the stride in the 3x3 convolution, as torchvision has it."""
    g = Graph(seed, (1, 3, 224, 224))
    x = g.max_pool(g.conv("data", 64, 7, 2, 3), 3, 2, 1)
    for channels, stride, blocks in ((64, 1, 3), (128, 2, 4), (256, 2, 6), (512, 2, 3)):
        for s in (stride, *[1] * (blocks - 1)):
            y = g.conv(g.conv(x, channels, 1), channels, 3, s, 1)
            # A small branch beside its shortcut: sixteen sums must not let activations grow.
            y = g.conv(y, 4 * channels, 1, act=None, gain=0.5)
            if g.shape(x) != g.shape(y):
                x = g.conv(x, 4 * channels, 1, s, act=None, gain=1)
            x = g.activate(g.add(y, x), "relu")
    return g.model(g.dense(g.global_pool(x), 1000, act=None))


def resnext_blocks(seed: int) -> onnx.ModelProto:
    """The second stage of ResNeXt-50 32x4d (Xie et al. 2017), batch normalisation not folded."""
    g = Graph(seed, (1, 256, 56, 56))
    x = "data"
    for s in (2, 1, 1, 1):
        y = g.batch_norm(g.conv(x, 256, 1, act=None, bias=False))
        y = g.batch_norm(g.conv(y, 256, 3, s, 1, groups=32, act=None, bias=False))
        y = g.batch_norm(g.conv(y, 512, 1, act=None, bias=False), act=None, scale=0.5)
        if g.shape(x) != g.shape(y):
            x = g.batch_norm(g.conv(x, 512, 1, s, act=None, gain=1, bias=False), act=None)
        x = g.activate(g.add(y, x), "relu")
    return g.model(x)


def squeezenet1_1(seed: int) -> onnx.ModelProto:
    """Iandola et al. 2016, version 1.1: no batch normalisation, classes by a convolution."""
    g = Graph(seed, (1, 3, 224, 224))
    x = g.conv("data", 64, 3, 2)
    for stage in (((16, 64),) * 2, ((32, 128),) * 2, ((48, 192),) * 2 + ((64, 256),) * 2):
        x = g.max_pool(x, 3, 2, ceil_mode=1)
        for squeeze, expand in stage:
            x = g.conv(x, squeeze, 1)
            x = g.concat(g.conv(x, expand, 1), g.conv(x, expand, 3, 1, 1))
    return g.model(g.global_pool(g.conv(x, 1000, 1)))
