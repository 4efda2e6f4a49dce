"""Every template offers AutoTVM's configurations in AutoTVM's order."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written_logs import CASES, CUDA, KNOBS, conv_args, entity, line, old_line, size, tensor

from dgtl.autotvm_logs.layers import UnsupportedError, parse_conv
from dgtl.autotvm_logs.records import parse
from dgtl.autotvm_logs.templates import TEMPLATES, describe
from dgtl.core.knob import Knob, autotvm_splits
from dgtl.core.space import DesignSpace

# Number of splits into 2, 3 and 4 parts, enumerated for AutoTVM's own spaces.
N_SPLITS = {7: (2, 3, 4), 28: (6, 18, 40), 224: (12, 63, 224), 1024: (11, 66, 286)}

# From logs of TVM v0.8 on a V100 (microsoft/nnfusion, MIT): arguments, index, entity.
LOGGED = [
    (
        "conv2d_nchw.cuda",
        conv_args((128, 1008, 21, 21), (168, 1008, 1, 1), 1, "SAME"),
        4044674,
        [[3, 7, 4], [1, 1, 21], [7, 3, 1], [63], [1], [1], 512, 0],
    ),
    (
        "conv2d_nchw.cuda",
        conv_args((128, 1008, 21, 21), (168, 1008, 1, 1), 1, "SAME"),
        2442147,
        [[1, 2, 7], [1, 1, 21], [1, 1, 7], [1008], [1], [1], 0, 0],
    ),
    (
        "depthwise_conv2d_nchw.cuda",
        conv_args((128, 168, 42, 42), (168, 1, 3, 3), 1, "SAME"),
        4200003,
        [[4, 1, 1], [14, 1, 1], [2, 3, 1], 0, 1],
    ),
    (
        "depthwise_conv2d_nchw.cuda",
        conv_args((128, 168, 42, 42), (168, 1, 3, 3), 1, "SAME"),
        2790279,
        [[2, 21, 4], [14, 3, 1], [1, 2, 1], 1500, 0],
    ),
]


def values(template: str, space: DesignSpace, rank: int) -> list:
    """A configuration as a log writes it, less the outermost parts of splits."""
    config = space.values(space.at([rank])[0])
    chosen = []
    for name, kind, _ in KNOBS[template]:
        option = config[name]
        chosen.append(list(option[1:]) if kind == "sp" else option[0])
    return chosen


def logged(template: str, rank: int) -> list:
    return [v[1:] if kind == "sp" else int(v) for _, kind, v in entity(template, rank)]


def test_every_template_has_a_case() -> None:
    assert set(CASES) == set(KNOBS) == set(TEMPLATES)


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_rank_in_our_space_is_the_index_of_autotvm(template: str, data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, size(template) - 1))
    space = describe(parse(line(template))).space
    assert space.size == size(template)
    assert values(template, space, rank) == logged(template, rank)
    assert space.index(space.at([rank])) == [rank]


@pytest.mark.parametrize(("template", "args", "index", "chosen"), LOGGED)
def test_rank_is_the_index_of_a_real_log(template, args, index, chosen) -> None:
    space = describe(parse(line(template, args=args))).space
    assert values(template, space, index) == chosen


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_version_1_names_the_same_template(template: str) -> None:
    old, new = describe(parse(old_line(template, 0))), describe(parse(line(template)))
    assert old.template == new.template == template
    assert old.layer == new.layer


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_a_space_survives_json_and_stays_small(template: str) -> None:
    space = describe(parse(line(template))).space
    text = json.dumps(space.to_json())
    again = DesignSpace.from_json(json.loads(text))
    assert again.knobs == space.knobs
    assert len(text) < 120 * len(space.knobs) + 100


def test_tilings_of_metaschedule_are_written_as_before() -> None:
    knob = Knob.tile("tile_xx", 2, 12, 4, 64)
    record = {"name": "tile_xx", "role": "tile", "axis": 2, "split": [12, 4, 64]}
    assert knob.to_json() == record
    assert Knob.from_json(record) == knob
    assert knob.options[0] == (1, 1, 1, 12)


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_tiles_without_tails_cover_their_axis(template: str) -> None:
    described = describe(parse(line(template)))
    for knob in described.space.knobs:
        if knob.role == "tile" and knob.axis >= 0:
            extent = described.layer.axes[knob.axis].extent
            assert (knob.table.prod(axis=1) >= extent).all()
            assert knob.policy == "verbose" or (knob.table.prod(axis=1) == extent).all()


@pytest.mark.parametrize("extent", sorted(N_SPLITS))
def test_number_of_splits_is_that_of_autotvm(extent: int) -> None:
    counts = tuple(len(autotvm_splits(extent, parts, extent)) for parts in (2, 3, 4))
    assert counts == N_SPLITS[extent]


@pytest.mark.parametrize("rows", [1, 2, 3, 14])
def test_pointwise_convolutions_on_cpus_take_one_row_or_two(rows: int) -> None:
    args = conv_args((1, 4, rows, 8), (4, 4, 1, 1), 1, 0, 1, "NCHW", "NCHW", "float32")
    space = describe(parse(line("conv2d_NCHWc.x86", args=args))).space
    knob = next(knob for knob in space.knobs if knob.name == "tile_oh")
    assert [option[-1] for option in knob.options] == ([1, 2] if rows > 1 else [1])


def test_same_pads_by_the_dilated_kernel() -> None:
    conv = parse_conv(conv_args((1, 3, 15, 16), (4, 3, 3, 2), 2, "SAME", 2))
    assert conv.padding == (2, 1, 2, 1)
    assert conv.out == (8, 8)


def test_blocked_layouts_are_the_same_layer() -> None:
    layouts = ("NCHW4c", "NCHW8c", "float32")
    blocked = conv_args((1, 3, 14, 14, 4), (2, 3, 3, 3, 4, 8), 1, 1, 1, *layouts)
    plain = conv_args((1, 12, 14, 14), (16, 12, 3, 3), 1, 1, 1, "NCHW", "NCHW", "float32")
    assert parse_conv(blocked) == parse_conv(plain)


@pytest.mark.parametrize(
    ("template", "args", "reason"),
    [
        ("conv2d_nhwc.cuda", [], "template conv2d_nhwc.cuda is not supported"),
        ("conv2d_nchw.cuda", conv_args((1, 8, 9, 9), (8, 4, 3, 3)), "grouped"),
        ("conv2d_nchw.cuda", conv_args((1, 8, 2, 2), (8, 8, 3, 3)), "do not fit"),
        ("conv2d_nchw.cuda", [tensor(1, 8, 9, 9)], "not understood"),
        ("conv2d_nchw.cuda", conv_args((1, -1, 9, 9), (8, 8, 3, 3)), "unknown shape"),
        ("conv2d_nchw.cuda", conv_args((1, 8, 9, 9), (8, 8, 3, 3), 1, "ODD"), "not understood"),
        ("depthwise_conv2d_nchw.cuda", conv_args((1, 8, 9, 9), (8, 2, 3, 3)), "multiplier"),
        ("conv2d_nchw_winograd.cuda", conv_args((1, 8, 9, 9), (8, 8, 3, 3), 2), "Winograd needs"),
        (
            "conv2d_NCHWc.x86",
            conv_args((1, 9, 9, 8), (3, 3, 8, 8), 1, 0, 1, "NHWC", "NHWC", "float32"),
            "layouts",
        ),
        ("dense_nopack.x86", [tensor(4, 8), tensor(4, 9), None, "float32"], "do not fit"),
    ],
)
def test_what_cannot_be_described_has_a_reason(template: str, args: list, reason: str) -> None:
    config = {"index": 0, "code_hash": None, "entity": []}
    content = {"input": [CUDA, template, args, {}], "config": config, "version": 0.2}
    record = parse(json.dumps({**content, "result": [[0.1], 0, 1.0, 1.0]}))
    with pytest.raises(UnsupportedError, match=reason):
        describe(record)


def test_unroll_explicit_has_one_option_on_rocm() -> None:
    record = parse(line("conv2d_nchw.cuda", target="rocm -model=gfx900"))
    assert describe(record).space.knobs[-1].options == ((1,),)


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_flops_are_those_of_the_direct_layer(template: str) -> None:
    layer = describe(parse(line(template))).layer
    extents = layer.shape_key.split("_")[-1 if "*" not in layer.shape_key else -3].split("x")
    assert layer.flops == 2.0 * np.prod([int(n) for n in extents])
