"""AutoTVM log lines for tests: written here from nothing but the format, for every template."""

from __future__ import annotations

import json

CUDA = "cuda -keys=cuda,gpu -arch=sm_70 -max_num_threads=1024"
X86 = "llvm -mcpu=skylake-avx512"


def tensor(*shape: int, dtype: str = "float32") -> list:
    return ["TENSOR", list(shape), dtype]


def conv_args(data: tuple, weight: tuple, stride=1, padding=0, dilation=1, *rest) -> list:
    return [tensor(*data), tensor(*weight), stride, padding, dilation, *(rest or ["float32"])]


LAYOUTS = ("NCHW", "NCHW", "float32")

CASES = {
    "conv2d_nchw.cuda": (CUDA, conv_args((1, 12, 14, 10), (8, 12, 3, 3), 1, "SAME")),
    "conv2d_nchw_winograd.cuda": (CUDA, conv_args((2, 6, 16, 16), (8, 6, 3, 3), 1, [1, 1])),
    "depthwise_conv2d_nchw.cuda": (CUDA, conv_args((4, 12, 9, 9), (12, 1, 3, 3), 2, [1, 1, 1, 1])),
    "dense_small_batch.gpu": (CUDA, [tensor(1, 96), tensor(20, 96), None, "float32"]),
    "dense_large_batch.gpu": (CUDA, [tensor(64, 24), tensor(12, 24), None, "float32"]),
    "conv2d_NCHWc.x86": (
        X86,
        conv_args((1, 6, 14, 14), (8, 6, 3, 3), 1, [1, 1, 1, 1], 1, *LAYOUTS),
    ),
    "depthwise_conv2d_NCHWc.x86": (
        X86,
        conv_args((1, 8, 14, 14), (8, 1, 3, 3), [2, 2], [1, 1, 1, 1], [1, 1], *LAYOUTS),
    ),
    "dense_nopack.x86": (X86, [tensor(4, 18), tensor(10, 18), None, "float32"]),
    "dense_pack.x86": (X86, [tensor(24, 18), tensor(10, 18), None, "float32"]),
}
"""Template: (target, arguments)."""

OLD_NAMES = {
    "conv2d_nchw.cuda": ("topi_nn_conv2d", "direct"),
    "conv2d_nchw_winograd.cuda": ("topi_nn_conv2d", "winograd"),
    "depthwise_conv2d_nchw.cuda": ("topi_nn_depthwise_conv2d_nchw", "direct"),
    "dense_small_batch.gpu": ("topi_nn_dense", "direct"),
    "dense_large_batch.gpu": ("topi_nn_dense", "direct"),
    "conv2d_NCHWc.x86": ("topi_x86_conv2d_NCHWc", "direct"),
    "depthwise_conv2d_NCHWc.x86": ("topi_x86_depthwise_conv2d_NCHWc_from_nchw", "direct"),
    "dense_nopack.x86": ("topi_nn_dense", "direct_nopack"),
    "dense_pack.x86": ("topi_nn_dense", "direct_pack"),
}
"""Template: task name and variant of version 0.1."""


def splits(extent: int, parts: int, keep=lambda inner: True) -> list[list]:
    """AutoTVM's splits without tails: ascending divisors, the innermost part varying slowest."""
    found: list[list[int]] = [[]]
    divisors = [d for d in range(1, extent + 1) if extent % d == 0]
    for _ in range(parts - 1):
        found = [[d, *inner] for inner in found for d in divisors]
    product_fits = [inner for inner in found if extent % _product(inner) == 0 and keep(inner)]
    return [[-1, *inner] for inner in product_fits]


def _product(numbers: list[int]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


def _gpu_unroll(step: int) -> list[tuple]:
    unroll = ("auto_unroll_max_step", "ot", [0, step, 1500])
    return [unroll, ("unroll_explicit", "ot", [0, 1])]


KNOBS = {
    "conv2d_nchw.cuda": [
        ("tile_f", "sp", splits(8, 4)),
        ("tile_y", "sp", splits(14, 4)),
        ("tile_x", "sp", splits(10, 4)),
        ("tile_rc", "sp", splits(12, 2)),
        ("tile_ry", "sp", splits(3, 2)),
        ("tile_rx", "sp", splits(3, 2)),
        *_gpu_unroll(512),
    ],
    # 16 is a multiple of 8: 4x4 outputs a tile, 6x6 points; 2 images of 4x4 tiles.
    "conv2d_nchw_winograd.cuda": [
        ("tile_b", "sp", [[-1, 1, 1, 1]]),
        ("tile_y", "sp", splits(8, 4)),
        ("tile_x", "sp", splits(32, 4)),
        ("tile_rc", "sp", splits(6, 2)),
        *_gpu_unroll(128),
    ],
    "depthwise_conv2d_nchw.cuda": [
        ("tile_f", "sp", splits(12, 4)),
        ("tile_y", "sp", splits(5, 4)),
        ("tile_x", "sp", splits(5, 4)),
        *_gpu_unroll(256),
    ],
    "dense_small_batch.gpu": [("tile_k", "sp", splits(96, 2))],
    "dense_large_batch.gpu": [
        ("tile_x", "sp", splits(64, 4)),
        ("tile_y", "sp", splits(12, 4)),
        ("tile_k", "sp", splits(24, 3)),
    ],
    # 14 by divisors 1, 2, 7, 14 and powers 1, 2, 4, 8, in the order of a set of small integers.
    "conv2d_NCHWc.x86": [
        ("tile_ic", "sp", splits(6, 2)),
        ("tile_oc", "sp", splits(8, 2)),
        ("tile_ow", "sp", [[-1, n] for n in (1, 2, 4, 7, 8, 14)]),
        ("unroll_kw", "ot", [True, False]),
    ],
    "depthwise_conv2d_NCHWc.x86": [
        ("tile_ic", "sp", splits(8, 2)),
        ("tile_oc", "sp", splits(8, 2)),
        ("tile_ow", "sp", splits(7, 2)),
        ("unroll_kw", "ot", [True, False]),
    ],
    "dense_nopack.x86": [
        ("tile_y", "sp", splits(4, 2)),
        ("tile_x", "sp", splits(10, 2)),
        ("tile_k", "sp", splits(18, 2)),
    ],
    "dense_pack.x86": [
        ("tile_y", "sp", splits(24, 3)),
        ("tile_x", "sp", splits(10, 3)),
        ("tile_k", "sp", splits(18, 2)),
        ("tile_inner", "sp", splits(24, 2, lambda inner: inner[-1] <= 16)),
    ],
}
"""Template: knobs of its case in `CASES` in order of definition, with all their options."""


def size(template: str) -> int:
    """Number of configurations of a template's case."""
    return _product([len(options) for _, _, options in KNOBS[template]])


def entity(template: str, rank: int) -> list[list]:
    """Configuration ``rank`` of a case: mixed radix, the first knob least significant."""
    chosen = []
    for name, kind, options in KNOBS[template]:
        rank, i = divmod(rank, len(options))
        chosen.append([name, kind, options[i]])
    return chosen


def line(template: str, rank: int = 0, **changes) -> str:
    """A line of version 0.2 for configuration ``rank`` of a template's case."""
    target, args = CASES[template]
    values = {"target": target, "args": args, "costs": [0.001, 0.002, 0.003], "error": 0}
    values |= {"all_cost": 1.5, "entity": entity(template, rank), "index": rank} | changes
    config = {"index": values["index"], "code_hash": None, "entity": values["entity"]}
    record = {
        "input": [values["target"], template, values["args"], {}],
        "config": config,
        "result": [values["costs"], values["error"], values["all_cost"], 1600000000.0],
        "version": 0.2,
        "tvm_version": "0.11.0",
    }
    return json.dumps(record)


def old_line(template: str, rank: int, explicit_outer: bool = False) -> str:
    """The same configuration as a line of version 0.1; its splits may give the outermost part."""
    target, args = CASES[template]
    name, variant = OLD_NAMES[template]
    chosen = entity(template, rank)
    if explicit_outer:
        whole = {
            n: max(o[-1] for o in options) for n, kind, options in KNOBS[template] if kind == "sp"
        }
        for knob in chosen:
            if knob[1] == "sp" and knob[0] != "tile_b":
                knob[2] = [whole[knob[0]] // _product(knob[2][1:]), *knob[2][1:]]
    config = {"i": rank, "t": variant, "c": None, "e": chosen}
    workload = ["conv2d", *args]
    record = {
        "i": [target, name, args, {}, workload, config],
        "r": [[0.001, 0.002, 0.003], 0, 1.5, 1600000000.0],
        "v": 0.1,
    }
    return json.dumps(record)
