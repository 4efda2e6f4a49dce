"""Lines of AutoTVM logs, versions 0.1 (up to TVM v0.6) and 0.2 (v0.7 to v0.16).

Source of the format: autotvm/record.py of TVM v0.6.0 and v0.11.0.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


LOG_SUFFIXES = (".log", ".json")
PACKED_SUFFIXES = (".gz", ".xz")


class LineError(ValueError):
    """A line that is no usable record; its text is the reason, the same for all such lines."""


class Record(NamedTuple):
    """One configuration that AutoTVM tried.

    Args:
        target: TVM target as text.
        template: AutoTVM's name of the task, e.g. ``conv2d_nchw.cuda``.
        variant: template key of version 0.1, e.g. ``winograd``; empty in version 0.2.
        args: arguments of the task.
        rank: of the configuration in AutoTVM's space; the log calls it index.
        entity: [knob, type, value] per knob, in order of definition.
        costs_s: run times [s]; meaningless if ``error_no`` is not 0.
        error_no: AutoTVM's MeasureErrorNo.
        all_cost_s: seconds of building and running together.
        timestamp: seconds since the epoch at the end.
        version: 0.1 or 0.2.
        tvm_version: empty where the log does not say it.
    """

    target: str
    template: str
    variant: str
    args: list[Any]
    rank: int
    entity: list[list[Any]]
    costs_s: tuple[float, ...]
    error_no: int
    all_cost_s: float
    timestamp: float
    version: float
    tvm_version: str


def parse(line: bytes | str) -> Record:
    """The record of one line.

    Raises:
        LineError: the line is empty, damaged, or of another version.
    """
    if not line.strip():
        raise LineError("empty line")
    try:
        content = json.loads(line)
        version = content["version"] if "version" in content else content["v"]
        if version == 0.2:
            record = _version_2(content)
        elif version == 0.1:
            record = _version_1(content)
        else:
            raise LineError("record version is neither 0.1 nor 0.2")
        times = (record.all_cost_s, record.timestamp)
        if not all(math.isfinite(t) and t >= 0 for t in times):
            raise LineError("damaged line")
    except LineError:
        raise
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        raise LineError("damaged line") from error
    return record


def _version_2(content: dict[str, Any]) -> Record:
    target, template, args, _ = content["input"]
    config = content["config"]
    costs, error_no, all_cost, timestamp = content["result"]
    return Record(
        str(target),
        str(template),
        "",
        list(args),
        int(config["index"]),
        list(config["entity"]),
        tuple(float(c) for c in costs),
        int(error_no),
        float(all_cost),
        float(timestamp),
        0.2,
        str(content.get("tvm_version", "")),
    )


def _version_1(content: dict[str, Any]) -> Record:
    target, template, args, _, _, config = content["i"]
    costs, error_no, all_cost, timestamp = content["r"]
    return Record(
        str(target),
        str(template),
        str(config["t"]),
        list(args),
        int(config["i"]),
        list(config["e"]),
        tuple(float(c) for c in costs),
        int(error_no),
        float(all_cost),
        float(timestamp),
        0.1,
        "",
    )


def find_logs(path: Path) -> list[Path]:
    """The file ``path``, or all logs in the folder ``path``, at any depth.

    Raises:
        ValueError: there is neither.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and _is_log(file))
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    return [path]


def _is_log(file: Path) -> bool:
    name = file.with_suffix("") if file.suffix in PACKED_SUFFIXES else file
    return name.suffix in LOG_SUFFIXES
