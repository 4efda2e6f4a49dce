"""Lines of both versions, damage, and packed files."""

from __future__ import annotations

import gzip
import json
import lzma
from typing import TYPE_CHECKING

import pytest
from written_logs import CASES, line, old_line

from dgtl.autotvm_logs.records import LineError, parse
from dgtl.core.files import DamagedError, read_lines

if TYPE_CHECKING:
    from pathlib import Path

CONV = "conv2d_nchw.cuda"


def test_both_versions_hold_the_same_configuration() -> None:
    new, old = parse(line(CONV, 5)), parse(old_line(CONV, 5))
    assert (new.template, new.variant) == (CONV, "")
    assert (old.template, old.variant) == ("topi_nn_conv2d", "direct")
    assert (new.rank, new.entity, new.args) == (old.rank, old.entity, old.args)
    assert new.costs_s == old.costs_s == (0.001, 0.002, 0.003)
    assert (new.all_cost_s, new.error_no) == (old.all_cost_s, old.error_no) == (1.5, 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty line"),
        ("   \n", "empty line"),
        ("no JSON", "damaged line"),
        ("[1, 2]", "damaged line"),
        ("{}", "damaged line"),
        ('{"version": 0.2}', "damaged line"),
        (line(CONV)[:-30], "damaged line"),
        (line(CONV).replace("1.5", "NaN"), "damaged line"),
        (line(CONV).replace('"result"', '"outcome"'), "damaged line"),
        (line(CONV).replace("[0.001, 0.002, 0.003]", "null"), "damaged line"),
        (line(CONV).replace('"version": 0.2', '"version": 0.3'), "neither 0.1 nor 0.2"),
        ("[" * 100_000, "damaged line"),
        (b"\xff\xfe\x00{", "damaged line"),
    ],
)
def test_a_line_that_is_no_record_has_a_named_reason(text: str | bytes, reason: str) -> None:
    with pytest.raises(LineError, match=reason):
        parse(text)


@pytest.mark.parametrize(("suffix", "pack"), [(".log", None), (".gz", gzip), (".xz", lzma)])
def test_packed_files_hold_the_same_lines(tmp_path: Path, suffix: str, pack) -> None:
    content = "".join(line(name) + "\n" for name in CASES).encode()
    path = tmp_path / f"tuning{suffix}"
    path.write_bytes(content if pack is None else pack.compress(content))
    assert b"".join(read_lines(path)) == content


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip), (".xz", lzma)])
def test_an_archive_cut_short_gives_what_it_has_and_says_so(
    tmp_path: Path, suffix: str, pack
) -> None:
    content = "".join(json.dumps({"n": n, "noise": str(n**40)}) + "\n" for n in range(2000))
    path = tmp_path / f"tuning{suffix}"
    path.write_bytes(pack.compress(content.encode())[:-2000])
    lines = []
    with pytest.raises(DamagedError, match="damaged archive"):
        lines.extend(iter_into(lines, path))
    assert 0 < len(lines) < 2000
    assert lines == content.encode().splitlines(keepends=True)[: len(lines)]


def iter_into(lines: list[bytes], path: Path) -> list[bytes]:
    for text in read_lines(path):
        lines.append(text)
    return []
