"""Channels last in the whole network: transpositions move down until they cancel.

Convolutions are computed with the channels last in memory. Instead of transposing before and after
each, a transposition waits beside the tensor that it applies to (`Stored`), and every operator that
can be computed on the tensor as it lies is (`dgtl.tvm.workload.layout_rules`). What is left are the
inputs and outputs of the network and the transpositions that the model itself has.

TVM's own `ConvertLayout` follows fewer operators, and puts a transposition before and after each of
the others.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from dgtl.tvm.workload.layout_rules import (
    RULES,
    Axes,
    Stored,
    extents,
    identity,
    inverse,
    known_extents,
)


def channels_last_layout(network: tvm.ir.IRModule, *, winograd: bool = False) -> tvm.ir.IRModule:
    """The network with the channels last wherever its convolutions reach.

    Args:
        network: as imported, channels first; batch normalisation and the like decomposed.
        winograd: convolutions that `dgtl.tvm.workload.winograd` expects to be faster so are
            computed its way.
    """
    rewriter = Rewriter(network.clone(), winograd)
    main = network.get_global_var("main")
    rewriter.builder_.update_func(main, rewriter.visit_expr(network["main"]))
    return relax.transform.CanonicalizeBindings()(rewriter.builder_.get())


@mutator
class Rewriter(PyExprMutator):
    """Rebuilds a function binding by binding, each tensor as it is best stored."""

    def __init__(self, network: tvm.ir.IRModule, winograd: bool):
        super().__init__(network)
        self.winograd = winograd
        self._stored: dict[relax.Var, Stored | list[Stored]] = {}
        self._transposed: dict[tuple[relax.Expr, Axes], relax.Expr] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        value = self._rebuilt(binding.value)
        if value is None:
            super().visit_var_binding_(binding)
        elif isinstance(binding.var, relax.DataflowVar):
            self._stored[binding.var] = value
        else:
            super().visit_var_binding_(relax.VarBinding(binding.var, self._plain(value)))

    def visit_dataflow_var_(self, var: relax.DataflowVar) -> relax.Expr:
        if var in self._stored:
            return self._plain(self._stored[var])
        return super().visit_dataflow_var_(var)

    def _rebuilt(self, expr: relax.Expr) -> Stored | list[Stored] | None:
        """What a binding's value is stored as; None if nothing is known of it."""
        if isinstance(expr, relax.TupleGetItem):
            parts = self._stored.get(expr.tuple_value)
            return parts[expr.index] if isinstance(parts, list) else None
        if isinstance(expr, relax.Var):
            return self._stored.get(expr)
        if isinstance(expr, relax.Tuple):
            fields = [self.stored(field) for field in expr.fields]
            known = [field for field in fields if field is not None]
            return known if len(known) == len(fields) else None
        if not isinstance(expr, relax.Call) or not isinstance(expr.op, tvm.ir.Op):
            return None
        if expr.op.name in RESHAPES and (constant := self._constant(expr.args[0])) is not None:
            return Stored(reshaped(constant, extents(expr)), identity(len(extents(expr))))
        rule = RULES.get(expr.op.name)
        return None if rule is None else rule(self, expr)

    def _constant(self, expr: relax.Expr) -> tvm.ir.GenericConst | None:
        value = self.stored(expr)
        if value is None or not value.plain or not isinstance(value.expr, tvm.ir.GenericConst):
            return None
        return value.expr

    def _plain(self, value: Stored | list[Stored]) -> relax.Expr:
        if isinstance(value, list):
            return relax.Tuple([self._plain(part) for part in value])
        return self.as_stored(value, identity(len(value.at)))

    def emit(self, expr: relax.Expr) -> relax.Expr:
        """A variable for an expression; a constant for a constant that is moved or reshaped.

        TVM would build a kernel for each of these, of which a network has hundreds.
        """
        if isinstance(expr, relax.Call) and expr.args:
            moved = expr.args[0]
            if isinstance(moved, tvm.ir.GenericConst) and expr.op.name == "relax.permute_dims":
                return transposed(moved, tuple(int(a) for a in expr.attrs.axes))
            if isinstance(moved, tvm.ir.GenericConst) and expr.op.name == "relax.reshape":
                return reshaped(moved, tuple(int(n) for n in expr.args[1].values))
        return self.builder_.emit(expr)

    def stored(self, expr: relax.Expr) -> Stored | None:
        """How an argument of an old call is stored; None where that is not one known tensor."""
        value = self._stored.get(expr) if isinstance(expr, relax.Var) else None
        if isinstance(value, list):
            return None
        if value is not None:
            return value
        shape = known_extents(expr)
        return None if shape is None else Stored(self.visit_expr(expr), identity(len(shape)))

    def waiting(self, expr: relax.Expr) -> Stored | None:
        """`stored`, where it lies otherwise than the network means it; else None."""
        value = self.stored(expr)
        return None if value is None or value.plain else value

    def as_stored(self, value: Stored, at: Axes) -> relax.Expr:
        """The tensor, lying as ``at`` says."""
        if value.at == at:
            return value.expr
        order = tuple(value.at[a] for a in inverse(at))
        key = (value.expr, order)
        if key not in self._transposed:
            self._transposed[key] = self.emit(_moved(value.expr, order))
        return self._transposed[key]


def _moved(expr: relax.Expr, order: Axes) -> relax.Expr:
    """A transposition; a reshape, which costs nothing, if it moves axes of one element only."""
    shape = extents(expr)
    kept = [a for a in order if shape[a] != 1]
    if kept == sorted(kept):
        return relax.op.reshape(expr, tuple(shape[a] for a in order))
    return relax.op.permute_dims(expr, order)


RESHAPES = ("relax.reshape", "relax.expand_dims", "relax.squeeze")


def transposed(constant: tvm.ir.GenericConst, order: Axes) -> tvm.ir.GenericConst:
    value = constant.value.numpy()
    return relax.const(np.ascontiguousarray(value.transpose(order)), value.dtype)


def reshaped(constant: tvm.ir.GenericConst, shape: tuple[int, ...]) -> tvm.ir.GenericConst:
    value = constant.value.numpy()
    return relax.const(value.reshape(shape), value.dtype)
