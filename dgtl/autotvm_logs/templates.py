"""AutoTVM's templates: which layer each computes, and the configurations it offers.

Knobs stand in the order of their definition, and their options in AutoTVM's order, so that the
index in a log is the rank of the configuration in our space (`DesignSpace.index`). Tiles with one
option may follow: they only say where an axis lies that the template does not split.

Source: topi/cuda, topi/gpu and topi/x86 of TVM v0.11; version 0.1 of the records: TVM v0.6.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from dgtl.autotvm_logs.layers import (
    FF,
    RC,
    RX,
    RY,
    XX,
    YY,
    Layer,
    UnsupportedError,
    WinogradProduct,
    parse_conv,
    parse_dense,
    parse_tensor,
)
from dgtl.core.knob import Knob
from dgtl.core.space import DesignSpace

if TYPE_CHECKING:
    from collections.abc import Callable

    from dgtl.autotvm_logs.records import Record

CUDA_STRUCTURE = "SSSRRS"
"""Block, virtual thread, thread; reductions outside and inside of the staging; inner loops."""

X86_STRUCTURE = "SSRSRS"
"""As `dgtl.tvm.workload.sketches` tiles for CPUs, so that the columns are the same."""

LARGE_BATCH = 32
"""From here on TVM takes ``dense_large_batch``."""


@dataclasses.dataclass(frozen=True)
class Described:
    """A task of a template.

    Args:
        template: its name in TVM v0.7 and later.
        layer: what it computes.
        space: its configurations.
        n_knobs: how many of the space's knobs are AutoTVM's.
    """

    template: str
    layer: Layer
    space: DesignSpace
    n_knobs: int


@dataclasses.dataclass(frozen=True)
class _Call:
    """Arguments of a template, and what else its knobs depend on."""

    args: list[Any]
    kind: str
    version: float

    @property
    def explicit(self) -> tuple[int, ...]:
        """Options of ``unroll_explicit``."""
        return (1,) if self.kind in ("nvptx", "rocm") else (0, 1)

    @property
    def ow_policy(self) -> str:
        """How ``conv2d_NCHWc.x86`` splits the width; v0.6 took divisors only."""
        return "factors" if self.version == 0.1 else "verbose"


def describe(record: Record) -> Described:
    """The task of a record.

    Raises:
        UnsupportedError: a template that is none of `TEMPLATES`, or arguments it cannot take.
    """
    kind = target_kind(record.target)
    try:
        name = _modern_name(record, kind)
        if name not in TEMPLATES:
            raise UnsupportedError(f"template {name} is not supported")
        layer, knobs, fixed, structure = TEMPLATES[name](_Call(record.args, kind, record.version))
    except UnsupportedError:
        raise
    except (ValueError, TypeError, IndexError) as error:
        raise UnsupportedError(f"arguments of {record.template} are not understood") from error
    return Described(name, layer, DesignSpace((*knobs, *fixed), structure), len(knobs))


def target_kind(target: str) -> str:
    """``cuda``, ``llvm``...: the first word of a target."""
    return target.split(maxsplit=1)[0] if target.split() else ""


def _modern_name(record: Record, kind: str) -> str:
    """Version 0.1 names operator and variant apart; the target says which template that is."""
    operator = (record.template, record.variant, kind == "llvm")
    if operator == ("topi_nn_dense", "direct", False):
        batch = parse_tensor(record.args[0])[0][0]
        return "dense_large_batch.gpu" if batch >= LARGE_BATCH else "dense_small_batch.gpu"
    return RENAMED.get(operator, record.template)


RENAMED = {
    ("topi_nn_conv2d", "direct", False): "conv2d_nchw.cuda",
    ("topi_nn_conv2d", "winograd", False): "conv2d_nchw_winograd.cuda",
    ("topi_nn_depthwise_conv2d_nchw", "direct", False): "depthwise_conv2d_nchw.cuda",
    ("topi_x86_conv2d_NCHWc", "direct", True): "conv2d_NCHWc.x86",
    ("topi_x86_depthwise_conv2d_NCHWc_from_nchw", "direct", True): "depthwise_conv2d_NCHWc.x86",
    ("topi_nn_dense", "direct_nopack", True): "dense_nopack.x86",
    ("topi_nn_dense", "direct_pack", True): "dense_pack.x86",
    # Between v0.6 and v0.8 the dense templates of GPUs carried CUDA's name.
    ("dense_small_batch.cuda", "", False): "dense_small_batch.gpu",
    ("dense_large_batch.cuda", "", False): "dense_large_batch.gpu",
}
"""Template by (task name, variant, whether the target is a CPU) in older logs."""


def _split(
    name: str,
    axis: int,
    extent: int,
    parts: int,
    levels: tuple[int, ...] = (),
    limit: int | None = None,
    policy: str = "factors",
) -> Knob:
    return Knob.tile(name, axis, extent, parts, extent if limit is None else limit, policy, levels)


def _whole(name: str, axis: int, extent: int, level: int) -> Knob:
    """The one option of an axis that lies whole at another level than the outermost."""
    return _split(name, axis, extent, 1, (level,))


def _unroll(steps: tuple[int, ...], call: _Call) -> tuple[Knob, Knob]:
    return (
        Knob.choice("auto_unroll_max_step", "unroll", steps),
        Knob.choice("unroll_explicit", "unroll_explicit", call.explicit),
    )


def _unroll_kw() -> Knob:
    return Knob.choice("unroll_kw", "other", (1, 0))


Parts = tuple[Layer, tuple[Knob, ...], tuple[Knob, ...], str]
"""Layer, AutoTVM's knobs, tiles of axes without a knob, structure."""


def _conv2d_cuda(call: _Call) -> Parts:
    conv = parse_conv(call.args)
    knobs = (
        _split("tile_f", FF, conv.outputs, 4),
        _split("tile_y", YY, conv.out[0], 4),
        _split("tile_x", XX, conv.out[1], 4),
        _split("tile_rc", RC, conv.inputs, 2),
        _split("tile_ry", RY, conv.kernel[0], 2),
        _split("tile_rx", RX, conv.kernel[1], 2),
        *_unroll((0, 512, 1500), call),
    )
    return conv, knobs, (), CUDA_STRUCTURE


def _winograd_cuda(call: _Call) -> Parts:
    conv = parse_conv(call.args)
    if conv.kernel[0] != conv.kernel[1] or (*conv.stride, *conv.dilation) != (1, 1, 1, 1):
        raise UnsupportedError("Winograd needs a square kernel, stride 1 and dilation 1")
    product = WinogradProduct(conv)
    points, tiles, outputs, inputs = (axis.extent for axis in product.axes)
    knobs = (
        _split("tile_b", 0, points, 4, limit=1),
        _split("tile_y", 2, outputs, 4),
        _split("tile_x", 1, tiles, 4),
        _split("tile_rc", 3, inputs, 2),
        *_unroll((0, 128, 1500), call),
    )
    return product, knobs, (), CUDA_STRUCTURE


def _depthwise_cuda(call: _Call) -> Parts:
    conv = parse_conv(call.args, depthwise=True)
    height, width = conv.kernel
    knobs = (
        _split("tile_f", FF, conv.outputs, 4),
        _split("tile_y", YY, conv.out[0], 4),
        _split("tile_x", XX, conv.out[1], 4),
        *_unroll((0, 256, 1500), call),
    )
    # Data is staged once per block, outside of the whole reduction.
    whole = (_whole("tile_ry", RY, height, 1), _whole("tile_rx", RX, width, 1))
    return conv, knobs, whole, CUDA_STRUCTURE


def _dense_small_cuda(call: _Call) -> Parts:
    dense = parse_dense(call.args)
    # The inner part is bound to threads, the outer runs in each of them.
    return dense, (_split("tile_k", 2, dense.k, 2, (1, 0)),), (), CUDA_STRUCTURE


def _dense_large_cuda(call: _Call) -> Parts:
    dense = parse_dense(call.args)
    # The template's filters leave tile_k no option, whereupon it defines all three without any.
    # Data is staged inside the outermost part of tile_k: the other two are one level.
    knobs = (
        _split("tile_x", 0, dense.m, 4),
        _split("tile_y", 1, dense.n, 4),
        _split("tile_k", 2, dense.k, 3, (0, 1, 1)),
    )
    return dense, knobs, (), CUDA_STRUCTURE


def _conv2d_x86(call: _Call) -> Parts:
    conv = parse_conv(call.args)
    height, width = conv.out
    pointwise = conv.kernel == (1, 1)
    knobs = (
        _split("tile_ic", RC, conv.inputs, 2, (0, 1)),
        _split("tile_oc", FF, conv.outputs, 2, (0, 3)),
        _split("tile_ow", XX, width, 2, (1, 3), 64, call.ow_policy),
        # One row or two, with a tail where the height is odd.
        _split("tile_oh", YY, height, 2, (0, 3), 2, "verbose") if pointwise else _unroll_kw(),
    )
    return conv, knobs, (_whole("tile_kw", RX, conv.kernel[1], 1),), X86_STRUCTURE


def _depthwise_x86(call: _Call) -> Parts:
    conv = parse_conv(call.args, depthwise=True)
    knobs = (
        # The block of the input's channels is a matter of layout and of no loop.
        _split("tile_ic", -1, conv.inputs, 2),
        _split("tile_oc", FF, conv.outputs, 2, (0, 3)),
        _split("tile_ow", XX, conv.out[1], 2, (1, 3), 64),
        _unroll_kw(),
    )
    return conv, knobs, (_whole("tile_kw", RX, conv.kernel[1], 1),), X86_STRUCTURE


def _dense_nopack_x86(call: _Call) -> Parts:
    dense = parse_dense(call.args)
    knobs = (
        _split("tile_y", 0, dense.m, 2, (0, 3)),
        _split("tile_x", 1, dense.n, 2, (0, 3)),
        _split("tile_k", 2, dense.k, 2),
    )
    return dense, knobs, (), X86_STRUCTURE


def _dense_pack_x86(call: _Call) -> Parts:
    dense = parse_dense(call.args)
    knobs = (
        _split("tile_y", 0, dense.m, 3, (0, 1, 3)),
        _split("tile_x", 1, dense.n, 3, (0, 1, 3)),
        _split("tile_k", 2, dense.k, 2),
        # A second split of what tile_y tiles: of no axis of its own.
        _split("tile_inner", -1, dense.m, 2, limit=16),
    )
    return dense, knobs, (), X86_STRUCTURE


TEMPLATES: dict[str, Callable[[_Call], Parts]] = {
    "conv2d_nchw.cuda": _conv2d_cuda,
    "conv2d_nchw_winograd.cuda": _winograd_cuda,
    "depthwise_conv2d_nchw.cuda": _depthwise_cuda,
    "dense_small_batch.gpu": _dense_small_cuda,
    "dense_large_batch.gpu": _dense_large_cuda,
    "conv2d_NCHWc.x86": _conv2d_x86,
    "depthwise_conv2d_NCHWc.x86": _depthwise_x86,
    "dense_nopack.x86": _dense_nopack_x86,
    "dense_pack.x86": _dense_pack_x86,
}
