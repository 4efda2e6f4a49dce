"""Reads what W&B wrote of an offline run."""

import json
import struct
from pathlib import Path

BLOCK_BYTES = 32_768


def records(path: Path):
    """Records of a ``.wandb`` file: LevelDB's log format after a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2 as pb

    data, at, parts = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if BLOCK_BYTES - at % BLOCK_BYTES < 7:  # Too little for a header: padding.
            at += BLOCK_BYTES - at % BLOCK_BYTES
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # A whole record, or the last part of one.
            record = pb.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def values(items) -> dict:
    return {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}


def only_run(folder: Path) -> list:
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return list(records(path))
