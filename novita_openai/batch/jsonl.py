r"""Files with one JSON object in each line, which stay whole when their writer is killed.

One process writes at a time. A row is written in one piece, and a last row that was cut off is removed when the file
is opened again. Only ``\n`` ends a line: answers may hold other line separators, such as U+2028, as they are.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, Self

__all__ = ["Journal", "LockedError", "decode", "numbered_lines", "write_whole"]

BLOCK: Final = 65_536


class LockedError(OSError):
    """Another process is writing the file."""


def decode(text: str) -> Any:
    """Return what a JSON text holds; raise ``ValueError`` where it is not JSON, as with NaN, which Python reads."""
    try:
        return _decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that hold anything, stripped, with their numbers from 1."""
    for number, line in enumerate(file, start=1):
        if stripped := line.strip():
            yield number, stripped


class Journal:
    """A file that rows are appended to, locked against a second writer while it is open.

    A last line without a line break gets one where it is a whole row; where it is not, it is removed. Raises
    :class:`LockedError` where another process writes the file, ``OSError`` where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open_locked(path)
        self._is_regular = path.is_file()
        self.length = _mend(self._file) if self._is_regular else 0
        self._is_synced = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, row: bytes) -> None:
        """Write a row and its line break in one piece. On an error, which names the file, no part of the row stays."""
        line = row + b"\n"
        try:
            write_whole(self._file, line)
        except OSError as error:
            if self._is_regular:
                os.ftruncate(self._file, self.length)
            error.filename = str(self.path)
            raise
        self.length += len(line)
        self._is_synced = False

    def sync(self) -> None:
        """Wait until what was appended is on the disk, so that it outlives a power cut too."""
        if not self._is_synced and self._is_regular:
            self._is_synced = True
            with _named(self.path):
                os.fdatasync(self._file)

    def rows(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number (from 1) and the text of each line; nothing where the file is a device."""
        if self._is_regular:
            with self.path.open("rb") as file:
                yield from numbered_lines(file)

    def replace(self, rows: Iterable[bytes]) -> None:
        """Replace all rows at once: a reader sees the old file or the new one, never a part."""
        _replace_rows(self.path, rows)
        previous, self._file = self._file, _open_locked(self.path)
        os.close(previous)
        self.length = os.fstat(self._file).st_size

    def close(self) -> None:
        """Wait until all rows are on the disk, and release the lock."""
        try:
            self.sync()
        finally:
            os.close(self._file)


def write_whole(file: int, line: bytes) -> None:
    """Write a line, in one piece where the system allows that."""
    written = os.write(file, line)
    while written < len(line):  # on a full disk, writing the rest raises the error that says so
        written += os.write(file, line[written:])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add the file's name to an error that lacks it."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _replace_rows(path: Path, rows: Iterable[bytes]) -> None:
    """Write rows to a new file beside ``path`` and rename it to that; on an error the old file stays as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with _named(path), beside.open("wb") as file:
            file.writelines(row + b"\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(path.stat().st_mode & 0o7777)
        beside.rename(path)
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()


def _open_locked(path: Path) -> int:
    """Open a file for appending and lock it; do so again where it was replaced between the two steps."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BlockingIOError:
            os.close(file)
            raise LockedError(errno.EWOULDBLOCK, "another process is writing this file", str(path)) from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _mend(file: int) -> int:
    """Remove a last line that was cut off, or add the line break that it lacks; return the file's length."""
    length = os.fstat(file).st_size
    start = _end_of_last_line(file, length)
    if start == length:
        return length
    if _is_row(os.pread(file, length - start, start)):
        os.write(file, b"\n")
        return length + 1
    os.ftruncate(file, start)
    return start


def _end_of_last_line(file: int, length: int) -> int:
    """Return the position behind the last line break, 0 where there is none; read from the end."""
    while length > 0:
        start = max(0, length - BLOCK)
        found = os.pread(file, length - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        length = start
    return 0


def _is_row(line: bytes) -> bool:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict)
