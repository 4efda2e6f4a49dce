"""What moves, copies, picks or pads values, between two convolutions."""

from __future__ import annotations

import numpy as np

from zoo.case import between, case

BIG = 2**31 - 1


def resize(g, x, mode, coordinates, scale=2.0, **attributes):
    return g(
        "Resize",
        x,
        None,
        [1.0, 1.0, scale, scale],
        mode=mode,
        coordinate_transformation_mode=coordinates,
        **attributes,
    )


def channel_shuffle(g, x, groups=2):
    b, c, h, w = g.shape(x)
    y = g("Reshape", x, np.array([b, groups, c // groups, h, w]))
    return g("Reshape", g("Transpose", y, perm=[0, 2, 1, 3, 4]), np.array([b, c, h, w]))


def halves(g, x):
    return g("Split", x, [4, 4], outputs=2, axis=1)


between("concat", lambda g, x: g("Concat", x, g("Relu", x), axis=1))
between("split_equal", lambda g, x: g("Concat", *reversed(halves(g, x)), axis=1))
between(
    "split_opset11",
    lambda g, x: g("Add", *g("Split", x, outputs=2, axis=1, split=[4, 4])),
    opset=11,
)
between(
    "split_opset18",
    lambda g, x: g("Mul", *g("Split", x, outputs=2, axis=1, num_outputs=2)),
    opset=18,
)
between("split_unequal", lambda g, x: g("Relu", g("Split", x, [3, 5], outputs=2, axis=1)[1]))


@case("conv2d", "conv2d")
def sequence(g):
    """As exporters write torch.split of which some parts are put together."""
    x = g.conv(g.input(1, 4, 12, 12))
    parts = g("SplitToSequence", x, np.array(2), axis=1)
    parts = g("SequenceInsert", g("SequenceErase", parts, np.array(0)), g("Relu", x))
    y = g("ConcatFromSequence", parts, axis=1)
    return g("Conv", y, g.normal(8, 14, 3, 3, scale=0.1), pads=[1] * 4)


between("split_space", lambda g, x: g("Max", *g("Split", x, [6, 6], outputs=2, axis=2)))
between("slice_channels", lambda g, x: g("Slice", x, [2], [7], [1]))
between("slice_space", lambda g, x: g("Slice", x, [1, 2], [-1, BIG], [2, 3]))
between("slice_strided", lambda g, x: g("Slice", x, [0, 0], [BIG, BIG], [2, 3], [2, 2]))
between("slice_backwards", lambda g, x: g("Slice", x, [-1], [-BIG], [3], [-1]))
between(
    "slice_opset9", lambda g, x: g("Slice", x, starts=[0, 1], ends=[4, 9], axes=[1, 2]), opset=9
)
between("gather_channels", lambda g, x: g("Gather", x, [7, 0, 3, 3], axis=1))
between("gather_one_row", lambda g, x: g("Unsqueeze", g("Gather", x, 5, axis=2), [2]))
between("tile", lambda g, x: g("Tile", x, [1, 1, 2, 1]))
between("tile_channels", lambda g, x: g("Tile", x, [1, 2, 1, 1]))
between("expand", lambda g, x: g("Expand", g("GlobalAveragePool", x), [1, 8, 6, 6]))
between("cumsum", lambda g, x: g("CumSum", x, np.array(2)))
between("cumsum_of_channels", lambda g, x: g("CumSum", x, np.array(1)))
between(
    "squeeze_unsqueeze",
    lambda g, x: g("Unsqueeze", g("Squeeze", g("GlobalMaxPool", x), [2, 3]), [2, 3]),
)
between("transposed_space", lambda g, x: g("Transpose", x, perm=[0, 1, 3, 2]), transposes=1)
between("trilu_of_maps", lambda g, x: g("Trilu", x, upper=0), transposes=2)

between("pad_constant", lambda g, x: g("Pad", x, [0, 0, 1, 2, 0, 0, 0, 1], 0.5))
between("pad_zero", lambda g, x: g("Pad", x, [0, 0, 1, 1, 0, 0, 1, 1]))
between("pad_reflect", lambda g, x: g("Pad", x, [0, 0, 2, 2, 0, 0, 2, 2], mode="reflect"))
between("pad_edge", lambda g, x: g("Pad", x, [0, 0, 1, 1, 0, 0, 1, 1], mode="edge"))
between("pad_channels", lambda g, x: g("Pad", x, [0, 0, 0, 0, 0, 4, 0, 0]))
between("pad_negative", lambda g, x: g("Pad", x, [0, 0, -1, -1, 0, 0, -1, -1]))
between("pad_opset9", lambda g, x: g("Pad", x, pads=[0, 0, 1, 1, 0, 0, 1, 1], value=1.0), opset=9)

for _mode, _attributes in (("nearest", {"nearest_mode": "floor"}), ("linear", {})):
    for _coordinates in ("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"):
        between(
            f"resize_{_mode}_{_coordinates}",
            lambda g, x, m=_mode, c=_coordinates, a=_attributes: resize(g, x, m, c, **a),
        )
between("resize_cubic", lambda g, x: resize(g, x, "cubic", "half_pixel", cubic_coeff_a=-0.75))
between("resize_down", lambda g, x: resize(g, x, "linear", "half_pixel", scale=0.5))
between(
    "resize_to_sizes",
    lambda g, x: g("Resize", x, None, None, [1, 8, 17, 19], mode="linear"),
)
for _name, _mode, _coordinates, _opset, _attributes in (
    ("fraction", "linear", "half_pixel", 17, {"scale": 0.4}),
    ("cubic_fraction", "cubic", "align_corners", 17, {"scale": 0.4}),
    ("nearest_fraction", "nearest", "half_pixel", 17, {"scale": 1.3}),
    ("to_one_corner", "linear", "align_corners", 17, {"scale": 0.1}),
    ("antialias", "linear", "half_pixel", 18, {"scale": 0.5, "antialias": 1}),
    ("cubic_antialias", "cubic", "half_pixel", 18, {"scale": 0.5, "antialias": 1}),
    ("symmetric", "linear", "half_pixel_symmetric", 19, {"scale": 1.3}),
):
    between(
        f"resize_{_name}",
        lambda g, x, m=_mode, c=_coordinates, a=_attributes: resize(g, x, m, c, **a),
        opset=_opset,
        transposes=2,
    )
between(
    "resize_channels_last",
    lambda g, x: g(
        "Transpose",
        g("Resize", g("Transpose", x, perm=[0, 2, 3, 1]), None, [1.0, 2.0, 2.0, 1.0]),
        perm=[0, 3, 1, 2],
    ),
    transposes=2,
)
for _name, _inputs, _attributes in (
    ("scales", (None, [2.0, 3.0]), {"axes": [3, 2], "nearest_mode": "floor"}),
    ("sizes", (None, None, [17, 19]), {"axes": [-2, -1], "mode": "linear"}),
    (
        "region",
        ([0.1, 0.7], None, [9]),
        {"axes": [3], "coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"},
    ),
    ("ratio", (None, None, [18, 30]), {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}),
    (
        "ratio_down",
        (None, None, [5, 6]),
        {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"},
    ),
):
    between(
        f"resize_some_axes_{_name}",
        lambda g, x, i=_inputs, a=_attributes: g("Resize", x, *i, **a),
        opset=18,
    )
between("upsample_opset9", lambda g, x: g("Upsample", x, [1.0, 1.0, 2.0, 2.0]), opset=9)
between(
    "upsample_linear_opset9",
    lambda g, x: g("Upsample", x, [1.0, 1.0, 2.0, 2.0], mode="linear"),
    opset=9,
)

# A rearrangement of its own each; in the order N, C, H, W where it is written so.
between("depth_to_space_dcr", lambda g, x: g("DepthToSpace", x, blocksize=2), transposes=3)
between(
    "depth_to_space_crd", lambda g, x: g("DepthToSpace", x, blocksize=2, mode="CRD"), transposes=3
)
between("space_to_depth", lambda g, x: g("SpaceToDepth", x, blocksize=2), transposes=3)
between("channel_shuffle", channel_shuffle, transposes=3)
between(
    "reshape_to_maps_of_other_size",
    lambda g, x: g("Reshape", x, [1, 2, 24, 24]),
    transposes=2,
)
between("reshape_to_the_same", lambda g, x: g("Reshape", x, [0, 0, 12, -1]))

between("softmax_of_channels", lambda g, x: g("Softmax", x, axis=1))
between("softmax_of_columns", lambda g, x: g("Softmax", x, axis=-1))
between("softmax_flattening_opset11", lambda g, x: g("Softmax", x, axis=1), opset=11, transposes=2)
between("log_softmax_of_channels", lambda g, x: g("LogSoftmax", x, axis=1))


@case("conv2d", "grouped_conv2d", "depthwise_conv2d", "conv2d", transposes=3)
def shufflenet_unit(g):
    x = g.conv(g.input(1, 4, 12, 12), 16)
    y = channel_shuffle(g, g("Relu", g.conv(x, 16, 1, group=4)), groups=4)
    y = g.conv(g.conv(y, 16, group=16), 16, 1)
    return g("Relu", g("Add", x, y))


@case("conv2d", "conv2d", "conv2d", "conv2d")
def inception_block(g):
    """Four ways, one of them pooled, side by side."""
    x = g("Relu", g.conv(g.input(1, 4, 12, 12)))
    pooled = g("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4)
    ways = [g.conv(x, 4, 1), g.conv(x, 8), g.conv(pooled, 4, 1)]
    return g("Relu", g("Concat", *ways, pooled, axis=1))


@case("conv2d", "conv2d", "conv2d")
def dense_block(g):
    """Each convolution reads all values before it."""
    x = g.input(1, 4, 12, 12)
    for _ in range(3):
        x = g("Concat", x, g("Relu", g.conv(x, 4)), axis=1)
    return x


@case("conv2d", "conv2d", "conv2d_transpose", "conv2d")
def unet_skip(g):
    x = g("Relu", g.conv(g.input(1, 4, 12, 12)))
    y = g("Relu", g.conv(g("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), 16))
    y = g.conv(y, 8, 2, op="ConvTranspose", strides=[2, 2], pads=[0] * 4)
    return g.conv(g("Concat", x, y, axis=1))


@case("conv2d", "conv2d")
def sliced_focus(g):
    """YOLOv5's first layer: four strided slices as channels."""
    x = g.input(1, 3, 16, 16)
    slices = [
        g("Slice", g("Slice", x, [i], [BIG], [2], [2]), [j], [BIG], [3], [2])
        for j in (0, 1)
        for i in (0, 1)
    ]
    return g.conv(g("Relu", g.conv(g("Concat", *slices, axis=1))))


def _scattered(g, x):
    """As exporters write what is assigned to a slice."""
    indices = np.stack(np.meshgrid([0], [2, 5], range(12), indexing="ij"), -1)
    return g("ScatterND", x, indices.astype(np.int64), g.normal(1, 2, 12, 12))


between("scatter_nd", _scattered, transposes=2)
between(
    "scatter_elements",
    lambda g, x: g(
        "ScatterElements", x, np.int64([[[[3] * 12] * 5] * 8]), g.normal(1, 8, 5, 12), axis=2
    ),
    transposes=2,
)
