"""Where real AutoTVM logs lie: DGTL_AUTOTVM_LOGS, or beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DEFAULT = Path(__file__).parents[2] / "../shared/data/autotvm"


@pytest.fixture
def real_logs() -> Path:
    folder = Path(os.environ.get("DGTL_AUTOTVM_LOGS", DEFAULT))
    if not folder.is_dir():
        pytest.skip("no AutoTVM logs here; DGTL_AUTOTVM_LOGS says where")
    return folder
