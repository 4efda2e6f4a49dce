"""The package as one file, which travels with a visit folder."""

from __future__ import annotations

import shutil
import tempfile
import zipapp
from pathlib import Path

NAME = "dgtl_device"
"""Name of the package in the archive: another than dgtl's, for it must not need dgtl."""


def write_archive(path: Path) -> None:
    """Makes ``device.pyz``, so that ``python device.pyz`` does what ``-m dgtl.device`` does."""
    with tempfile.TemporaryDirectory() as where:
        shutil.copytree(
            Path(__file__).parent,
            Path(where, NAME),
            ignore=shutil.ignore_patterns("__pycache__", "archive.py"),
        )
        Path(where, "__main__.py").write_text(
            f"import sys\n\nfrom {NAME}.__main__ import main\n\nsys.exit(main())\n"
        )
        zipapp.create_archive(where, path)
