"""Layers that histories are measured of: shapes as image networks have them, none of the four."""

from __future__ import annotations

from dgtl.tvm.workload.networks import conv, dense, depthwise, products

SUITES = {
    "default": [
        *(conv(224, i, o) for i, o in ((3, 32), (16, 32))),
        *(conv(112, i, o) for i, o in ((32, 64), (48, 96), (64, 64))),
        *(conv(56, i, o) for i, o in ((96, 96), (128, 128), (64, 192))),
        *(conv(28, i, o) for i, o in ((96, 128), (160, 160), (256, 256))),
        *(conv(14, i, o) for i, o in ((192, 320), (384, 384), (512, 256))),
        *(conv(7, i, o) for i, o in ((384, 384), (640, 640))),
        *(conv(s, i, o) for s, i, o in ((13, 192, 256), (17, 128, 192))),
        *(conv(s, i, o) for s, i, o in ((27, 96, 128),)),
        *(conv(s, i, o, 3, 2) for s, i, o in ((224, 3, 48), (112, 32, 96))),
        *(conv(s, i, o, 3, 2) for s, i, o in ((56, 64, 192), (28, 160, 256), (14, 320, 512))),
        *(conv(s, i, o, 1, 1, 0) for s, i, o in ((112, 16, 96), (56, 64, 256))),
        *(conv(s, i, o, 1, 1, 0) for s, i, o in ((56, 96, 192), (28, 128, 512))),
        *(conv(s, i, o, 1, 1, 0) for s, i, o in ((14, 256, 1024),)),
        *(conv(s, i, o, 1, 1, 0) for s, i, o in ((14, 1024, 256), (14, 384, 384))),
        *(conv(s, i, o, 1, 1, 0) for s, i, o in ((7, 512, 2048), (7, 2048, 512), (7, 768, 1280))),
        *(conv(s, i, o, 1, 2, 0) for s, i, o in ((56, 256, 512), (56, 96, 192))),
        *(conv(s, i, o, 1, 2, 0) for s, i, o in ((28, 512, 1024), (14, 320, 640))),
        *(conv(s, i, o, 5, 1, 2) for s, i, o in ((27, 96, 256), (14, 48, 128))),
        *(conv(224, 3, o, 7, 2, 3) for o in (48, 96)),
        *(conv(224, 3, o, 11, 4, 2) for o in (48, 96)),
        *(depthwise(s, c) for s, c in ((112, 48), (56, 144), (28, 192))),
        *(depthwise(s, c) for s, c in ((14, 576), (7, 640), (7, 960))),
        *(depthwise(s, c, 3, 2) for s, c in ((112, 96), (56, 144), (28, 192), (14, 384))),
        *(depthwise(s, c, 5) for s, c in ((14, 480), (7, 672))),
        *(dense(i, o) for i, o in ((512, 512), (2048, 1000))),
        *(dense(i, o) for i, o in ((4096, 2048), (6400, 4096), (16384, 2048))),
    ],
    "winograd": [
        *(products(4, s, i, o) for s, i, o in ((7, 384, 384), (7, 640, 640))),
        *(products(4, s, i, o) for s, i, o in ((14, 192, 320), (14, 384, 384), (14, 512, 256))),
        *(products(4, s, i, o) for s, i, o in ((28, 96, 128), (28, 160, 160), (28, 256, 256))),
        *(products(4, s, i, o) for s, i, o in ((56, 96, 96), (56, 128, 128), (56, 64, 192))),
        *(products(4, s, i, o) for s, i, o in ((112, 64, 64), (112, 48, 96), (112, 32, 64))),
        *(products(2, s, i, o) for s, i, o in ((7, 384, 384), (7, 640, 640), (13, 192, 256))),
        *(products(2, s, i, o) for s, i, o in ((14, 192, 320), (14, 384, 384), (17, 128, 192))),
        *(products(2, s, i, o) for s, i, o in ((28, 160, 160), (56, 96, 96))),
    ],
}
SUITES["one_core"] = SUITES["default"][2::3]
