"""Files of whole rows: one write a row, a torn end mended, one writer."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
from pathlib import Path

import pytest
from batch_jobs import no_file_above
from hypothesis import given
from hypothesis import strategies as st

from novita_openai.batch.jsonl import Journal, LockedError, decode, numbered_lines


def test_lines_end_in_line_feeds_alone() -> None:
    text = json.dumps({"text": "one\u2028two\x0bthree\x85"}, ensure_ascii=False).encode()
    assert list(numbered_lines(io.BytesIO(text + b"\r\n\n \n" + text))) == [(1, text), (4, text)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "double quotes at column 2$"),
        ('{"a": 1} x', "Extra data at column 10$"),
        ('{"a":\n x}', "Expecting value at line 2, column 2$"),
        ("[NaN]", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        pytest.param(" " + "[" * 100_000, "nested too deeply", id="deep-behind-a-blank"),
    ],
)
def test_what_is_not_strict_json_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode(text)


def test_rows_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for name in ("one", "two"):
        with Journal(path) as journal:
            journal.append(json.dumps({"a": name}).encode())
    assert path.read_text() == '{"a": "one"}\n{"a": "two"}\n'


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (b"", b""),
        (b'{"a": 1}\n', b'{"a": 1}\n'),
        (b'{"a": 1}\n{"b": ', b'{"a": 1}\n'),
        (b'{"a": 1}\n{"b": 2}', b'{"a": 1}\n{"b": 2}\n'),
        (b'{"a": 1}\n12', b'{"a": 1}\n'),
        (b'{"a": ', b""),
        (b'{"a": 1}\n\x00\x00\x00', b'{"a": 1}\n'),
    ],
)
def test_a_torn_end_is_mended(tmp_path: Path, content: bytes, left: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with Journal(path) as journal:
        assert journal.length == len(left)
    assert path.read_bytes() == left


def test_a_torn_end_longer_than_a_block_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": "' + b"x" * 200_000)
    Journal(path).close()
    assert path.read_bytes() == b'{"a": 1}\n'


@given(st.lists(st.dictionaries(st.text(), st.text())), st.integers(0, 400))
@pytest.mark.slow
def test_wherever_a_file_is_cut_whole_rows_stay(
    tmp_path_factory: pytest.TempPathFactory, rows: list[object], cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(content[:cut])
    Journal(path).close()
    left = path.read_bytes()
    assert left in (b"", content) or content.startswith(left)
    assert left == b"" or left.endswith(b"\n")
    assert left.count(b"\n") >= content[:cut].count(b"\n")


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path), pytest.raises(LockedError, match="another process"):
        Journal(path)
    Journal(path).close()


def test_a_file_that_cannot_be_opened_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        Journal(tmp_path)


def test_a_lock_that_fails_lets_go_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="is broken"):
        Journal(tmp_path / "a.jsonl")


def test_a_file_that_is_replaced_while_it_is_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = tmp_path / "a.jsonl", fcntl.flock
    path.write_text("{}\n")

    def replace_first(file: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        (tmp_path / "new").write_text('{"new": 1}\n')
        (tmp_path / "new").rename(path)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", replace_first)
    with Journal(path) as journal:
        assert list(journal.rows()) == [(1, b'{"new": 1}')]


@pytest.mark.parametrize("room", [0, 3])
def test_a_full_disk_leaves_whole_rows(tmp_path: Path, room: int) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path) as journal:
        journal.append(b'{"a": 1}')
        with no_file_above(journal.length + room), pytest.raises(OSError, match="File too large") as caught:
            journal.append(b'{"b": 2}')
        assert caught.value.filename == str(path)
        journal.append(b'{"c": 3}')
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}\n'


def test_a_full_disk_keeps_the_rows_that_were_to_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("1\n")
    with Journal(path) as journal:
        with no_file_above(3), pytest.raises(OSError, match="File too large") as caught:
            journal.replace([b"2", b"3"])
        assert caught.value.filename == str(path)
        journal.append(b"4")
    assert path.read_text() == "1\n4\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_keeps_nothing_is_told_by_the_files_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Journal(tmp_path / "a.jsonl") as journal:
        journal.append(b"{}")
        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="Input/output error") as caught:
            journal.sync()
        assert caught.value.filename == str(tmp_path / "a.jsonl")


def test_rows_are_replaced_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("1\n2\n3\n")
    path.chmod(0o640)
    with Journal(path) as journal:
        journal.replace([b"2"])
        journal.append(b"4")
        with pytest.raises(LockedError):
            Journal(path)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("2\n4\n", 0o640)
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_replacement_that_fails_leaves_the_old_rows(tmp_path: Path) -> None:
    def rows() -> object:
        yield b"2"
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a.jsonl"
    path.write_text("1\n")
    with Journal(path) as journal, pytest.raises(OSError, match="No space"):
        journal.replace(rows())  # type: ignore[arg-type]
    assert [each.read_text() for each in tmp_path.iterdir()] == ["1\n"]
