"""The only code that imports TVM: networks, tasks, spaces, builder, runner, deployment."""

import sys
import types

# MetaSchedule imports this module before every build. It registers every tensor intrinsic of every
# target by parsing its source, 27 s on a quiet machine, in each process. Our rule sets name no
# intrinsic, so an empty module in its place loses nothing.
INTRINSICS = "tvm.s_tir.tensor_intrin"
_EMPTY = types.ModuleType(INTRINSICS)
sys.modules.setdefault(INTRINSICS, _EMPTY)


def allow_intrinsics() -> None:
    """Takes the empty module away, for rule sets of TVM's own: they look intrinsics up by name."""
    if sys.modules.get(INTRINSICS) is _EMPTY:
        del sys.modules[INTRINSICS]
