"""How operators are computed on tensors as they lie: element by element, along axes, in windows.

A rule takes an operator's call and says how its result is stored; None leaves the call as it is,
on arguments that lie as the network means them.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import tvm
import tvm_ffi
from tvm import relax

from dgtl.tvm.workload import winograd

if TYPE_CHECKING:
    from dgtl.tvm.workload.layout import Rewriter

Axes = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor as it lies in memory.

    Args:
        expr: what is computed.
        at: for each axis of the tensor that the network means, which axis of ``expr`` it is.
    """

    expr: relax.Expr
    at: Axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents as the network means them."""
        lies = extents(self.expr)
        return tuple(lies[a] for a in self.at)

    @property
    def plain(self) -> bool:
        """Whether it lies as the network means it."""
        return self.at == identity(len(self.at))


def identity(rank: int) -> Axes:
    """Axes in the order in which the network means them."""
    return tuple(range(rank))


def channels_last(rank: int) -> Axes:
    """`Stored.at` of a tensor [batch, channels, ...] whose channels are last."""
    return (0, rank - 1, *range(1, rank - 1))


def inverse(axes: Axes) -> Axes:
    """The permutation that takes ``axes`` back."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def known_extents(expr: relax.Expr) -> tuple[int, ...] | None:
    shape = getattr(getattr(expr, "ty", None), "shape", None)
    if shape is None or not all(isinstance(n, int | tvm.tirx.IntImm) for n in shape):
        return None
    return tuple(int(n) for n in shape)


def extents(expr: relax.Expr) -> tuple[int, ...]:
    """Shape of a tensor whose shape is known."""
    shape = known_extents(expr)
    assert shape is not None, "rules are for tensors of known shape"
    return shape


Rule = Callable[["Rewriter", relax.Call], Stored | list[Stored] | None]


def _again(call: relax.Call, *args: relax.Expr, **changed) -> relax.Expr:
    """The call with other arguments and some attributes changed."""
    function = functools.reduce(getattr, call.op.name.split(".")[1:], relax.op)
    names = list(inspect.signature(function).parameters)[len(args) :]
    attributes = {n: getattr(call.attrs, n) for n in names if hasattr(call.attrs, n)}
    attributes = {
        n: list(value) if isinstance(value, tvm_ffi.Array) else value
        for n, value in attributes.items()
    }
    return function(*args, **{**attributes, **changed})


LAYOUTS = {3: ("NWC", "WIO"), 4: ("NHWC", "HWIO"), 5: ("NDHWC", "DHWIO")}
"""Of data and weights, by rank."""


def _convolution(r: Rewriter, call: relax.Call) -> Stored | None:
    data, weight = r.stored(call.args[0]), r.stored(call.args[1])
    if data is None or weight is None:
        return None
    rank = len(data.at)
    at = channels_last(rank)
    layout, kernel = LAYOUTS[rank]
    outputs_last = (rank - 1, rank - 2, *range(rank - 2))
    if r.winograd and weight.plain and winograd.gains(call, weight.expr):
        return Stored(_by_winograd(r, call, r.as_stored(data, at), weight.expr), at)
    new = _again(
        call,
        r.as_stored(data, at),
        r.as_stored(weight, outputs_last),
        data_layout=layout,
        kernel_layout=kernel,
        out_layout=layout,
    )
    return Stored(r.emit(new), at)


def _by_winograd(
    r: Rewriter, call: relax.Call, data: relax.Expr, kernel: tvm.ir.GenericConst
) -> relax.Expr:
    """A convolution of data [N, H, W, C] as three functions, see `dgtl.tvm.workload.winograd`."""
    batch, _, *out = extents(call)
    padding = [int(n) for n in call.attrs.padding[:2]]
    tiles = r.builder_.call_te(
        winograd.transform,
        data,
        out,
        padding,
        primfunc_name_hint=winograd.TRANSFORM,
        primfunc_attrs={"op_pattern": winograd.OPAQUE},
    )
    weights = winograd.transformed_weights(kernel.value.numpy().transpose(2, 3, 1, 0))
    products = relax.op.matmul(r.emit(tiles), relax.const(weights))
    output = r.builder_.call_te(
        winograd.inverse,
        r.emit(products),
        batch,
        out,
        primfunc_name_hint=winograd.INVERSE,
        primfunc_attrs={"op_pattern": winograd.ANCHOR},
    )
    return r.emit(output)


def _window(r: Rewriter, call: relax.Call) -> Stored | None:
    """Pools and resizing: with channels last where the data lies so, else as they are."""
    data = r.stored(call.args[0])
    if data is None or data.at != (at := channels_last(len(data.at))):
        return None
    layout = LAYOUTS[len(at)][0]
    others = [r.visit_expr(arg) for arg in call.args[1:]]
    changed = {"out_layout": layout} if hasattr(call.attrs, "out_layout") else {}
    return Stored(r.emit(_again(call, data.expr, *others, layout=layout, **changed)), at)


def _elementwise(r: Rewriter, call: relax.Call) -> Stored | None:
    """One or several tensors, broadcast against each other: all lie as the largest that waits."""
    values = [r.stored(arg) if isinstance(arg.ty, relax.TensorType) else arg for arg in call.args]
    known = [v for v in values if isinstance(v, Stored)]
    largest = _largest_waiting(known)
    if largest is None or any(v is None for v in values):
        return None
    at = _widened(largest.at, max(len(v.at) for v in known))
    args = [_broadcastable(r, v, at) if isinstance(v, Stored) else v for v in values]
    return Stored(r.emit(_with_args(call, args)), at)


def _largest_waiting(values: Sequence[Stored]) -> Stored | None:
    """Of several tensors that are to lie alike, the one whose transposition would cost most."""
    waiting = [v for v in values if not v.plain]
    return max(waiting, key=lambda v: math.prod(v.shape), default=None)


def _with_args(call: relax.Call, args: Sequence[relax.Expr]) -> relax.Call:
    return relax.Call(call.op, args, call.attrs, call.ty_args)


def _widened(at: Axes, rank: int) -> Axes:
    """``at`` with leading axes of one element, as broadcasting adds them."""
    more = rank - len(at)
    return (*range(more), *(a + more for a in at))


def _broadcastable(r: Rewriter, value: Stored, at: Axes) -> relax.Expr:
    """A tensor that broadcasts in a layout as it did in the order that the network means."""
    if not value.at:
        return value.expr  # a scalar
    more = len(at) - len(value.at)
    if more:
        lies = r.emit(relax.op.reshape(value.expr, (1,) * more + extents(value.expr)))
        value = Stored(lies, _widened(value.at, len(at)))
    return r.as_stored(value, at)


def _along(r: Rewriter, call: relax.Call) -> Stored | None:
    """Operators along one axis that keep the shape: softmax, cumulative sums, flips, to bytes."""
    data = r.waiting(call.args[0])
    if data is None or call.attrs.axis is None:
        return None
    axis = data.at[int(call.attrs.axis) % len(data.at)]
    others = [r.visit_expr(arg) for arg in call.args[1:]]
    return Stored(r.emit(_again(call, data.expr, *others, axis=axis)), data.at)


def _concat(r: Rewriter, call: relax.Call) -> Stored | None:
    parts = call.args[0]
    if not isinstance(parts, relax.Tuple) or call.attrs.axis is None:
        return None
    values = [r.stored(part) for part in parts.fields]
    known = [v for v in values if v is not None]
    largest = _largest_waiting(known)
    if len(known) < len(values) or largest is None:
        return None
    at = largest.at
    axis = at[int(call.attrs.axis) % len(at)]
    return Stored(r.emit(relax.op.concat([r.as_stored(v, at) for v in known], axis)), at)


def _split(r: Rewriter, call: relax.Call) -> list[Stored] | None:
    data = r.waiting(call.args[0])
    if data is None:
        return None
    axis = data.at[int(call.attrs.axis) % len(data.at)]
    parts = r.emit(_again(call, data.expr, axis=axis))
    return [
        Stored(r.emit(relax.TupleGetItem(parts, i)), data.at) for i in range(len(parts.ty.fields))
    ]


def _reduction(r: Rewriter, call: relax.Call) -> Stored | None:
    data = r.waiting(call.args[0])
    if data is None:
        return None
    rank, axis = len(data.at), call.attrs.axis
    one = axis is not None and not isinstance(axis, Iterable)
    named = range(rank) if axis is None else [int(a) % rank for a in ([axis] if one else axis)]
    lies = sorted(data.at[a] for a in named)
    new = r.emit(_again(call, data.expr, axis=lies[0] if one else lies))
    if call.attrs.keepdims:
        return Stored(new, data.at)
    return Stored(new, _without(data.at, named))


def _without(at: Axes, axes: Iterable[int]) -> Axes:
    """``at`` when the named axes are gone."""
    left = [a for i, a in enumerate(at) if i not in set(axes)]
    return tuple(sorted(left).index(a) for a in left)


def _normalisation(r: Rewriter, call: relax.Call) -> Stored | None:
    """Of an axis or several, with a scale and a shift of these axes or of the channels."""
    data = r.waiting(call.args[0])
    if data is None:
        return None
    rank = len(data.at)
    axes = [data.at[int(a) % rank] for a in call.attrs.axes]
    others = [v for v in map(r.stored, call.args[1:]) if v is not None]
    if len(others) < len(call.args) - 1:
        return None
    changed: dict[str, object] = {"axes": sorted(axes)}
    if hasattr(call.attrs, "channel_axis"):
        changed["channel_axis"] = data.at[int(call.attrs.channel_axis) % rank]
        args = [r.as_stored(v, identity(len(v.at))) for v in others]
    else:
        at = tuple(sorted(axes).index(a) for a in axes)
        args = [r.as_stored(v, at) for v in others]
    return Stored(r.emit(_again(call, data.expr, *args, **changed)), data.at)


def _slice(r: Rewriter, call: relax.Call) -> Stored | None:
    data, axes = r.waiting(call.args[0]), call.args[1]
    if data is None or not isinstance(axes, relax.Tuple):
        return None
    lies = [tvm.tirx.IntImm("int64", data.at[int(a) % len(data.at)]) for a in axes.fields]
    args = [data.expr, relax.Tuple(lies), *call.args[2:]]
    return Stored(r.emit(_with_args(call, args)), data.at)


def _pad(r: Rewriter, call: relax.Call) -> Stored | None:
    data = r.waiting(call.args[0])
    if data is None:
        return None
    width = [int(n) for n in call.attrs.pad_width]
    lies = [n for a in inverse(data.at) for n in width[2 * a : 2 * a + 2]]
    return Stored(r.emit(_again(call, data.expr, pad_width=lies)), data.at)


def _tile(r: Rewriter, call: relax.Call) -> Stored | None:
    data = r.waiting(call.args[0])
    repeats = [int(n) for n in call.attrs.repeats]
    if data is None or len(repeats) != len(data.at):
        return None
    lies = tuple(repeats[a] for a in inverse(data.at))
    return Stored(r.emit(relax.op.tile(data.expr, lies)), data.at)


def _broadcast_to(r: Rewriter, call: relax.Call) -> Stored | None:
    data, new = r.waiting(call.args[0]), known_extents(call)
    if data is None or new is None or len(new) != len(data.at):
        return None
    lies = tuple(new[a] for a in inverse(data.at))
    return Stored(r.emit(relax.op.broadcast_to(data.expr, lies)), data.at)


def _take(r: Rewriter, call: relax.Call) -> Stored | None:
    """Of some indices [n] or of one, along an axis."""
    data, indices = r.waiting(call.args[0]), r.stored(call.args[1])
    if data is None or indices is None or len(indices.at) > 1:
        return None
    axis = int(call.attrs.axis) % len(data.at)
    new = r.emit(_again(call, data.expr, indices.expr, axis=data.at[axis]))
    return Stored(new, data.at if indices.at else _without(data.at, [axis]))


def _permute(r: Rewriter, call: relax.Call) -> Stored | None:
    data = r.stored(call.args[0])
    if data is None:
        return None
    rank = len(data.at)
    axes = call.attrs.axes
    order = range(rank)[::-1] if axes is None else [int(a) % rank for a in axes]
    return Stored(data.expr, tuple(data.at[a] for a in order))


def _expand(r: Rewriter, call: relax.Call) -> Stored | None:
    data = r.waiting(call.args[0])
    if data is None:
        return None
    axes = [int(a) for a in call.attrs.axis]
    rank = len(data.at) + len(axes)
    new = {a % rank for a in axes}
    lies = r.emit(relax.op.reshape(data.expr, (1,) * len(axes) + extents(data.expr)))
    first, old = iter(range(len(axes))), iter(a + len(axes) for a in data.at)
    return Stored(lies, tuple(next(first) if i in new else next(old) for i in range(rank)))


def _squeeze(r: Rewriter, call: relax.Call) -> Stored | None:
    data = r.waiting(call.args[0])
    if data is None:
        return None
    rank, axes = len(data.at), call.attrs.axis
    if axes is None:
        gone = [i for i, n in enumerate(data.shape) if n == 1]
    else:
        gone = [int(a) % rank for a in axes]
    lies = {data.at[a] for a in gone}
    kept = tuple(n for a, n in enumerate(extents(data.expr)) if a not in lies)
    return Stored(r.emit(relax.op.reshape(data.expr, kept)), _without(data.at, gone))


def _reshape(r: Rewriter, call: relax.Call) -> Stored | None:
    """A reshape that splits or merges axes which lie beside each other in the same order."""
    data, new = r.waiting(call.args[0]), known_extents(call)
    if data is None or new is None:
        return None
    groups = _groups(data.shape, new)
    if groups is None:
        return None
    # Each group of new axes lies where the first of its old axes does; axes of one element count
    # for nothing.
    real = [[data.at[a] for a in olds if data.shape[a] != 1] for olds, _ in groups]
    ranked = sorted(range(len(groups)), key=lambda g: min(real[g], default=-1))
    lies = [a for g in ranked for a in groups[g][0]]
    source = r.as_stored(data, inverse(tuple(lies)))
    at = inverse(tuple(a for g in ranked for a in groups[g][1]))
    return Stored(r.emit(relax.op.reshape(source, tuple(new[a] for a in inverse(at)))), at)


def _groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]] | None:
    """The smallest runs of old and new axes with as many elements; None for an empty tensor."""
    if math.prod(old) == 0:
        return None
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        olds: list[int] = []
        news: list[int] = []
        a = b = 1
        while (a != b or not olds or not news) and (i < len(old) or j < len(new)):
            behind = a < b or (a == b and not olds)
            if (behind and i < len(old)) or j == len(new):
                olds.append(i)
                a *= old[i]
                i += 1
            else:
                news.append(j)
                b *= new[j]
                j += 1
        groups.append((olds, news))
    return groups


RULES: dict[str, Rule] = {
    f"relax.{name}": rule
    for rule, names in {
        _convolution: ("nn.conv1d", "nn.conv2d", "nn.conv3d"),
        _window: (
            *(f"nn.{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg") for n in (1, 2, 3)),
            *("image.resize2d", "image.resize3d"),
        ),
        _elementwise: (
            *("add", "subtract", "multiply", "divide", "power", "floor_divide", "mod", "floor_mod"),
            *("maximum", "minimum", "equal", "not_equal", "less", "less_equal", "greater"),
            *("greater_equal", "logical_and", "logical_or", "logical_xor", "logical_not"),
            *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "where", "ewise_fma"),
            *("abs", "negative", "exp", "log", "sqrt", "rsqrt", "square", "erf", "sigmoid"),
            *("floor", "ceil", "round", "trunc", "sign", "sin", "cos", "tan", "asin", "acos"),
            *("atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "isnan", "isinf"),
            *("isfinite", "clip", "astype", "nn.relu", "nn.leakyrelu", "nn.gelu", "nn.gelu_tanh"),
            *("nn.silu", "nn.selu", "nn.softplus", "atan2", "left_shift", "right_shift"),
        ),
        _along: (
            *("nn.softmax", "nn.log_softmax", "nn.prelu", "cumsum", "cumprod", "flip"),
            *("quantize", "dequantize"),
        ),
        _concat: ("concat",),
        _split: ("split",),
        _reduction: (
            *("sum", "mean", "max", "min", "prod", "std", "variance", "argmax", "argmin"),
        ),
        _normalisation: ("nn.layer_norm", "nn.rms_norm", "nn.group_norm", "nn.instance_norm"),
        _slice: ("strided_slice",),
        _pad: ("nn.pad",),
        _tile: ("tile",),
        _broadcast_to: ("broadcast_to",),
        _take: ("take",),
        _permute: ("permute_dims",),
        _expand: ("expand_dims",),
        _squeeze: ("squeeze",),
        _reshape: ("reshape",),
    }.items()
    for name in names
}
