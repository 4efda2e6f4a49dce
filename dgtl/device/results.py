"""``results.jsonl``: what came out so far."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from typing import TYPE_CHECKING, Any

from .errors import RefusedError, undisturbed

if TYPE_CHECKING:
    from pathlib import Path


class Results:
    """``results.jsonl``: what is done already, and where more is appended.

    Raises:
        RefusedError: it belongs to another visit, is damaged, or another process appends to it.
    """

    def __init__(self, folder: Path, visit_id: str):
        self._visit_id = visit_id
        self.path = folder / "results.jsonl"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"another run is at work on {folder}") from None
        except OSError:
            pass  # a file system without locks
        self.done: dict[str, dict[str, Any]] = {}
        self.complete = False
        kept = 0
        lines = self.path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line) if line.endswith(b"\n") else None
            except (ValueError, RecursionError):
                record = None
            if record is None:
                if number < len(lines):
                    raise RefusedError(f"{self.path}, line {number}: not JSON; move the file away")
                break  # torn when the machine or the process was stopped
            if not isinstance(record, dict) or record.get("visit") != visit_id:
                raise RefusedError(f"{self.path} has results that do not belong to this folder")
            if record.get("type") in ("kernel", "check", "network"):
                if not isinstance(record.get("id"), str):
                    raise RefusedError(f"{self.path}, line {number}: a result of nothing")
                self.done[record["id"]] = record
            self.complete = record.get("type") == "done"
            kept += len(line)
        os.truncate(self._file, kept)

    def close(self) -> None:
        os.close(self._file)

    def append(self, *records: dict[str, Any]) -> None:
        """Writes records so that they outlive the process and the machine."""
        stamped = [{**r, "visit": self._visit_id, "timestamp": time.time()} for r in records]
        text = "".join(json.dumps(record) + "\n" for record in stamped).encode()
        # A signal must not come between what is written and what counts as done.
        with undisturbed():
            while text:
                text = text[os.write(self._file, text) :]
            with contextlib.suppress(OSError):  # a file system without it
                os.fsync(self._file)
            self.done.update({r["id"]: r for r in stamped if "id" in r})
