"""Arrays from npz files, which may be damaged or made to fill the memory; never a pickle."""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DAMAGED = (
    *(OSError, EOFError, ValueError, MemoryError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),
)
"""What reading a damaged archive raises; an unknown or encrypted member among it. NumPy reads the
header of an array as Python's own text."""

MOST_BYTES = 1 << 30
"""Of the arrays of a file; those of our largest model are a million."""


def read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    """All arrays of a file by their names, numbers that are finite.

    Raises:
        ValueError: the file is missing, damaged, too large, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise ValueError(f"{size} bytes are no model")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored.files}
    except DAMAGED as error:
        raise ValueError(f"{path}: no arrays of a model ({error})") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ValueError(f"{path}: {name[:40]} holds what is no finite number")
    return arrays
