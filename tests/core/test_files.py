"""Files of others cannot fill the memory; files of ours are whole or not there."""

from __future__ import annotations

import gzip
import lzma

import pytest

from dgtl.core import files
from dgtl.core.files import DamagedError, free_name, read_lines, read_object, write_whole


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_an_archive_that_grows_out_of_measure_is_refused_before_it_does(tmp_path, suffix, pack):
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(pack((b"a" * 999 + b"\n") * (files.ALWAYS_UNPACKED // 900)))
    read: list[bytes] = []
    with pytest.raises(DamagedError, match="grows more than 256 times"):
        read.extend(_one_by_one(path, read))
    assert sum(map(len, read)) <= files.ALWAYS_UNPACKED


def _one_by_one(path, into):
    for line in read_lines(path):
        into.append(line)
    return []


def test_a_line_longer_than_any_record_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_LINE_BYTES", 100)
    path = tmp_path / "log"
    path.write_bytes(b"a" * 100 + b"\n")
    with pytest.raises(DamagedError, match="a line of more than"):
        list(read_lines(path))
    path.write_bytes(b"a" * 99 + b"\n" + b"b" * 99)
    assert list(read_lines(path)) == [b"a" * 99 + b"\n", b"b" * 99]


@pytest.mark.parametrize("text", ["", "[1]", "1", "{", '{"a": ' + "[" * 100_000, "\xff"])
def test_what_is_no_json_object_is_refused_by_its_name(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"run\.json cannot be read"):
        read_object(path)


def test_a_file_is_replaced_as_a_whole_or_left_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_whole(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert path.read_text() == "one"
    write_whole(path, "two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    path = tmp_path / "trials-1.jsonl.old"
    assert free_name(path) == path
    path.touch()
    free_name(path).touch()
    assert len({*tmp_path.iterdir(), free_name(path)}) == 3
