"""Files as others may have left them, and files that others find whole.

What is read is somebody else's: it may be damaged, made to fill the memory, or no such file at all.
What is written is there as a whole or not at all, whatever ends the program.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_LINE_BYTES = 16 << 20
"""Longest line that is read. The longest of ours, a task with its space, has some thousand."""

MOST_JSON_BYTES = 64 << 20
"""Largest JSON file that is read at once."""

MOST_UNPACKED = 256
"""An archive of text that grows by more than this factor was made to fill a memory: histories grow
by 10 to 30."""

ALWAYS_UNPACKED = 16 << 20
"""Bytes that an archive may unpack to, however small it is."""


class DamagedError(ValueError):
    """A file that is not what its name says, or larger than it may be; the message says which."""


def read_lines(path: Path) -> Iterator[bytes]:
    """Lines of a plain, ``.gz`` or ``.xz`` file, one after another, never the whole file.

    Raises:
        OSError: the file cannot be opened.
        DamagedError: the archive is damaged, cut short, or a bomb, or a line is longer than any
            record; the lines before that were given.
    """
    packed: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
    most = max(ALWAYS_UNPACKED, MOST_UNPACKED * path.stat().st_size)
    with packed.get(path.suffix, open)(path, "rb") as file:
        read = 0
        while True:
            try:
                line = file.readline(MOST_LINE_BYTES + 1)
            except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
                raise DamagedError("damaged archive") from error
            if not line:
                return
            read += len(line)
            if len(line) > MOST_LINE_BYTES:
                raise DamagedError(f"a line of more than {MOST_LINE_BYTES >> 20} MiB")
            if path.suffix in packed and read > most:
                raise DamagedError(f"an archive that grows more than {MOST_UNPACKED} times")
            yield line


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise DamagedError(f"it has more than {MOST_JSON_BYTES >> 20} MiB")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} cannot be read: no JSON object")
    return content


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file that appears under its name, or replaces what has it, when it is complete.

    Text is written as UTF-8.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def free_name(path: Path) -> Path:
    """The path; where that is taken, one with a number that is not."""
    found, number = path, 1
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
