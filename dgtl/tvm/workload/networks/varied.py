"""Networks for more than classes of pictures: detection, segmentation, text, sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import TensorProto

from dgtl.tvm.workload.networks.graph import Graph

if TYPE_CHECKING:
    import onnx


def yolo_head(seed: int) -> onnx.ModelProto:
    """YOLOv3-tiny of three scales at 416x416 (Redmon and Farhadi 2018): 3 boxes of 80 classes."""
    g = Graph(seed, (1, 3, 416, 416))

    def conv(x: str, channels: int, k: int) -> str:
        return g.conv(x, channels, k, 1, k // 2, act="leaky_relu")

    def boxes(x: str) -> str:
        return g.conv(x, 255, 1, act=None, gain=1)

    def merged(x: str, channels: int, finer: str) -> str:
        scales = g.constant([1.0, 1.0, 2.0, 2.0])
        form = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        up = g.node("Resize", conv(x, channels, 1), "", scales, **form, nearest_mode="floor")
        return g.concat(up, finer)

    x, maps = "data", {}
    for channels in (16, 32, 64, 128, 256):
        maps[channels] = conv(x, channels, 3)
        x = g.max_pool(maps[channels], 2, 2)
    x = g.max_pool(conv(x, 512, 3), 2, 1, pads=[0, 0, 1, 1])
    x = conv(conv(x, 1024, 3), 256, 1)
    coarse = boxes(conv(x, 512, 3))
    x = conv(merged(x, 128, maps[256]), 256, 3)
    middle = boxes(x)
    fine = boxes(conv(merged(x, 128, maps[128]), 128, 3))
    return g.model(coarse, middle, fine)


def unet(seed: int) -> onnx.ModelProto:
    """A small U-Net (Ronneberger et al. 2015), padded: 128x128, 16 to 128 channels, 2 classes."""
    g = Graph(seed, (1, 3, 128, 128))

    def twice(x: str, channels: int) -> str:
        return g.conv(g.conv(x, channels, 3, 1, 1), channels, 3, 1, 1)

    x, skips = "data", []
    for channels in (16, 32, 64):
        x = twice(x, channels)
        skips.append(x)
        x = g.max_pool(x, 2, 2)
    x = twice(x, 128)
    for skip in reversed(skips):
        channels = g.shape(skip)[1]
        x = twice(g.concat(g.upconv(x, channels), skip), channels)
    return g.model(g.conv(x, 2, 1, act=None))


def transformer_encoder(seed: int) -> onnx.ModelProto:
    """BERT-mini without its pooler (Turc et al. 2019): 4 layers of width 256, 128 tokens."""
    tokens, width, heads, vocabulary = 128, 256, 4, 30522
    g = Graph(seed, (1, tokens), TensorProto.INT64)

    def split_heads(x: str, perm: list[int]) -> str:
        x = g.reshape(x, 1, tokens, heads, width // heads)
        return g.node("Transpose", x, perm=perm)

    words = g.node("Gather", g.weight((vocabulary, width), 1, 0.5), "data")
    x = g.layer_norm(g.add(words, g.weight((tokens, width), 1, 0.5)))
    for _ in range(4):
        query = split_heads(g.linear(x, width), [0, 2, 1, 3])
        key = split_heads(g.linear(x, width), [0, 2, 3, 1])
        value = split_heads(g.linear(x, width), [0, 2, 1, 3])
        scores = g.node("MatMul", query, key)
        scores = g.node("Div", scores, g.constant((width / heads) ** 0.5))
        y = g.node("MatMul", g.node("Softmax", scores, axis=-1), value)
        y = g.reshape(g.node("Transpose", y, perm=[0, 2, 1, 3]), 1, tokens, width)
        x = g.layer_norm(g.add(x, g.linear(y, width)))
        y = g.linear(g.activate(g.linear(x, 4 * width), "gelu"), width)
        x = g.layer_norm(g.add(x, y))
    return g.model(x)


def audio_conv1d(seed: int) -> onnx.ModelProto:
    """M5 (Dai et al. 2017) on a second of sound at 16 kHz, 10 classes."""
    g = Graph(seed, (1, 1, 16000))
    x = g.max_pool(g.conv("data", 128, 80, 4, 38), 4, 4)
    for channels in (128, 256, 512):
        x = g.max_pool(g.conv(x, channels, 3, 1, 1), 4, 4)
    return g.model(g.dense(g.global_pool(x), 10, act=None))
