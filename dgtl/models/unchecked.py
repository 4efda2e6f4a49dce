"""GPflow and GPflux without GPflow's shape checks.

These parse every docstring at import (2 s a process) and make tracing three times as long. The
shapes of the models here are fixed by their own code and its tests.
"""

from check_shapes import DocstringFormat, ShapeCheckingState
from check_shapes.config import set_enable_check_shapes, set_rewrite_docstrings

set_rewrite_docstrings(DocstringFormat.NONE)
set_enable_check_shapes(ShapeCheckingState.DISABLED)

import gpflow  # noqa: E402
import gpflux  # noqa: E402
from gpflow.keras import tf_keras  # noqa: E402

__all__ = ["gpflow", "gpflux", "tf_keras"]
