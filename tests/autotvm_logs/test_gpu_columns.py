"""Features of GPU configurations: finite, named alike, and what the schedule does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from written_logs import CASES, CUDA, X86, conv_args, line

from dgtl.autotvm_logs.importer import import_logs
from dgtl.core.knob import Knob
from dgtl.core.space import DesignSpace
from dgtl.features.loop_nest import FeatureMap

if TYPE_CHECKING:
    from pathlib import Path

    from dgtl.core.history import SourceTask

GPU = sorted(name for name, (target, _) in CASES.items() if target == CUDA)
CPU = sorted(name for name, (target, _) in CASES.items() if target == X86)


def source_of(folder: Path, template: str, **changes) -> SourceTask:
    path = folder / "V100" / "tuning.log"
    path.parent.mkdir(exist_ok=True)
    path.write_text(line(template, **changes) + "\n")
    return import_logs([path]).sources[0]


def sampled(source: SourceTask, n: int = 200) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    configs = source.space.sample(np.random.default_rng(0), n)
    features = FeatureMap(source.task, source.space)
    return configs, dict(zip(features.names, features(configs).T, strict=True))


@pytest.mark.parametrize("template", sorted(CASES))
def test_features_of_every_template_are_finite_and_uniquely_named(
    tmp_path: Path, template: str
) -> None:
    source = source_of(tmp_path, template)
    features = FeatureMap(source.task, source.space)
    values = features(source.space.sample(np.random.default_rng(0), 300))
    assert values.shape == (300, len(features.names))
    assert np.isfinite(values).all()
    assert len(set(features.names)) == len(features.names)


def test_templates_of_one_kind_of_hardware_share_their_columns(tmp_path: Path) -> None:
    def names(template: str) -> tuple[str, ...]:
        source = source_of(tmp_path, template)
        return FeatureMap(source.task, source.space).names

    assert len({names(template) for template in GPU}) == 1
    assert len({names(template) for template in CPU}) == 1
    assert {"blocks", "shared", "traffic", "warp_waste", "unrolled"} <= set(names(GPU[0]))


@pytest.mark.parametrize("stride", [1, 2])
def test_columns_of_a_convolution_are_what_its_schedule_does(tmp_path: Path, stride: int) -> None:
    args = conv_args((2, 12, 29, 17), (24, 12, 3, 3), stride, 1)
    source = source_of(tmp_path, "conv2d_nchw.cuda", args=args)
    configs, columns = sampled(source)
    extents = {axis.name: axis.extent for axis in source.task.axes}
    for row, config in enumerate(configs):
        value = source.space.values(config)
        f, y, x = value["tile_f"], value["tile_y"], value["tile_x"]
        rc, ry, rx = (value[f"tile_r{a}"][1] for a in "cyx")
        threads = f[2] * y[2] * x[2]
        b_f, b_y, b_x = (np.prod(tile[1:]) for tile in (f, y, x))
        # Bytes that a block stages: input with halo, and weights. No more rows than there are.
        rows = min((b_y - 1) * stride + ry, 29 + 2)
        width = min((b_x - 1) * stride + rx, 17 + 2)
        data, weight = 4 * rc * rows * width, 4 * b_f * rc * ry * rx
        blocks = extents["nn"] * f[0] * y[0] * x[0]
        expected = {
            "threads": np.log2(threads),
            "warp_waste": np.log2(-(-threads // 32) * 32 / threads),
            "blocks": np.log2(blocks),
            "vthreads": np.log2(f[1] * y[1] * x[1]),
            "outputs_per_thread": np.log2(np.prod([tile[1] * tile[3] for tile in (f, y, x)])),
            "shared_data": np.log2(data),
            "shared_weight": np.log2(weight),
            "shared": np.log2(data + weight),
            "thread_x": np.log2(x[2]),
            "inner_x": np.log2(x[3]),
            "unroll_explicit": value["unroll_explicit"][0],
            "unroll": np.log2(1 + value["auto_unroll_max_step"][0]),
        }
        for name, number in expected.items():
            assert columns[name][row] == pytest.approx(number, abs=1e-4), name


def test_depthwise_stages_its_whole_window(tmp_path: Path) -> None:
    source = source_of(tmp_path, "depthwise_conv2d_nchw.cuda")
    configs, columns = sampled(source)
    assert (columns["stages"] == 0).all()
    channels = [np.prod(source.space.values(c)["tile_f"][1:]) for c in configs]
    np.testing.assert_allclose(columns["shared_weight"], np.log2(np.array(channels) * 9 * 4), 1e-5)


def test_the_innermost_parts_of_a_three_way_reduction_are_one_level(tmp_path: Path) -> None:
    source = source_of(tmp_path, "dense_large_batch.gpu")
    configs, columns = sampled(source)
    inner = [np.prod(source.space.values(c)["tile_k"][1:]) for c in configs]
    np.testing.assert_allclose(columns["tile_r1_1"], np.log2(inner), atol=1e-5)
    outer = [source.space.values(c)["tile_k"][0] for c in configs]
    np.testing.assert_allclose(columns["stages"], np.log2(outer), atol=1e-5)


def test_channels_of_blocked_layouts_are_the_vector_of_a_cpu(tmp_path: Path) -> None:
    source = source_of(tmp_path, "conv2d_NCHWc.x86")
    configs, columns = sampled(source)
    blocks = [source.space.values(c)["tile_oc"][-1] for c in configs]
    np.testing.assert_allclose(columns["vector"], np.log2(blocks), atol=1e-5)


def test_sketches_of_metaschedule_have_the_columns_too(tmp_path: Path) -> None:
    task = source_of(tmp_path, "conv2d_nchw.cuda").task
    tiles = tuple(
        Knob.tile(f"tile_{axis.name}", a, axis.extent, 5 if axis.kind == "S" else 3, 64)
        for a, axis in enumerate(task.axes)
    )
    space = DesignSpace(tiles, "SSSRRSRS")
    features = FeatureMap(task, space)
    configs = space.sample(np.random.default_rng(0), 100)
    values = features(configs)
    assert np.isfinite(values).all()
    threads = [np.prod([v[2] for v in space.values(c).values() if len(v) == 5]) for c in configs]
    column = values[:, features.names.index("threads")]
    np.testing.assert_allclose(column, np.log2(threads), atol=1e-4)
