r"""Files with one JSON object in each line, which stay whole when their writer is killed.

One process writes at a time. A row is written in one piece, and a last row that was cut off is removed when the file
is opened again. Only ``\n`` ends a line: answers may hold other line separators, such as U+2028, as they are.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, Self

from novita_openai.batch.locks import LockedError, LockFile, locked

__all__ = [
    "DisplacedError",
    "Journal",
    "LockedError",
    "copy_lines",
    "decode",
    "numbered_lines",
    "placed_lines",
    "write_whole",
]

BLOCK: Final = 65_536
MEGABYTE: Final = 1_000_000
LONGEST_PREFIX: Final = 50
"""Characters of a file's name in that of the file which replaces it: a name may have 255 bytes."""


def decode(text: str) -> Any:
    """Return what a JSON text holds; raise ``ValueError`` where it is not JSON, as with NaN, which Python reads.

    The error names the column, and where the text has several lines, the line in it.
    """
    try:
        return _decoded(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise ValueError(f"{error.msg} at {line}column {error.colno}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _decoded(text: str) -> Any:
    try:
        value, end = _DECODER.raw_decode(text)
        if end == len(text):
            return value
    except json.JSONDecodeError:
        pass  # it may begin with blanks, or what follows says where it ends to be JSON
    return _DECODER.decode(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def numbered_lines(file: BinaryIO, longest: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that hold anything, stripped, with their numbers from 1; errors as of :func:`placed_lines`."""
    return ((number, line) for number, _, line in placed_lines(file, longest))


def placed_lines(file: BinaryIO, longest: int | None = None) -> Iterator[tuple[int, int, bytes]]:
    """Yield the lines that hold anything, stripped, with their numbers from 1 and the positions where they begin.

    Raises ``ValueError`` where more than ``longest`` bytes come without such a line, as from a device that never ends,
    or from a small file that unpacks to a large one.
    """
    number, start, empty = 0, 0, 0
    while line := file.readline(-1 if longest is None else longest + 1):
        number += 1
        stripped = line.strip()
        empty = 0 if stripped else empty + len(line)
        if longest is not None and max(len(line), empty) > longest:
            raise ValueError(f"line {number}: more than {longest // MEGABYTE} MB without a row; a row is a line")
        if stripped:
            yield number, start, stripped
        start += len(line)


def copy_lines(source: BinaryIO, target: BinaryIO, longest: int) -> None:
    """Copy what can be read only once; raise ``ValueError`` as :func:`placed_lines` does."""
    length = 0
    while block := source.read(BLOCK):
        target.write(block)
        end = block.rfind(b"\n") + 1
        length = len(block) - end + (0 if end else length)
        if length > longest:
            raise ValueError(f"more than {longest // MEGABYTE} MB without the end of a line; a row is a line")


class Journal:
    """A file that rows are appended to, locked against a second writer while it is open.

    Where ``path`` is a symbolic link, it stays one. A last line without a line break gets one where it is a whole row;
    where it is not, it is removed. Raises :class:`LockedError` where another process writes the file,
    :class:`DisplacedError` where it is not in its place any more, any other ``OSError`` where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = str(path)
        self._file, self._lock = _open_locked(path)
        self._identity = _identity(self._file)
        self.length = _mend(self._file)
        self._is_synced = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, row: bytes) -> None:
        """Write a row and its line break in one piece. On an error, which names the file, no part of the row stays."""
        line = row + b"\n"
        self.check()
        try:
            write_whole(self._file, line)
        except OSError as error:
            os.ftruncate(self._file, self.length)
            error.filename = str(self.path)
            raise
        self.length += len(line)
        self._is_synced = False

    def check(self) -> None:
        """Raise :class:`DisplacedError` where the file was moved, removed, replaced or cut since it was opened."""
        try:
            there = os.stat(self._name)  # noqa: PTH116 - a path's own is slower, and each row asks
        except (FileNotFoundError, NotADirectoryError):
            raise DisplacedError(self.path, "moved or removed") from None
        if (there.st_dev, there.st_ino) != self._identity:
            raise DisplacedError(self.path, "replaced by another file")
        if there.st_size < self.length:
            raise DisplacedError(self.path, "cut")

    def sync(self) -> None:
        """Wait until what was appended is on the disk, so that it outlives a power cut too."""
        if not self._is_synced:
            self._is_synced = True
            with _named(self.path):
                os.fdatasync(self._file)

    def rows(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number (from 1) and the text of each line."""
        with self.path.open("rb") as file:
            yield from numbered_lines(file)

    def replace(self, rows: Iterable[bytes]) -> None:
        """Replace all rows at once: a reader sees the old file or the new one, never a part."""
        self.check()
        _replace_rows(self.path.resolve(), rows)
        previous = self._file
        if self._lock is None:
            self._file, self._lock = _open_locked(self.path)
        else:
            self._file = _opened(self.path)
        os.close(previous)
        self._identity, self.length = _identity(self._file), os.fstat(self._file).st_size

    def close(self) -> None:
        """Wait until all rows are on the disk, and release the lock."""
        try:
            self.sync()
        finally:
            os.close(self._file)
            if self._lock is not None:
                self._lock.release()


class DisplacedError(OSError):
    """A file is not in its place any more, or not whole, so that what is written to it would be lost."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(errno.ESTALE, f"it was {what} while the job ran", str(path))


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
    with _named(path):
        number, name = tempfile.mkstemp(prefix=f".{path.name[:LONGEST_PREFIX]}.", suffix=".new", dir=path.parent)
        beside = Path(name)
        try:
            with os.fdopen(number, "wb") as file:
                _give_same_rights(number, path.stat())
                file.writelines(row + b"\n" for row in rows)
                file.flush()
                os.fsync(number)
            beside.rename(path)
        finally:
            beside.unlink(missing_ok=True)


def _give_same_rights(file: int, of: os.stat_result) -> None:
    """Give a file the owner and the mode of another, before it holds anything."""
    with suppress(PermissionError):  # only root may give files away; the mode goes on to hold
        os.fchown(file, of.st_uid, of.st_gid)
    os.fchmod(file, stat.S_IMODE(of.st_mode))


def _identity(file: int) -> tuple[int, int]:
    """Return what tells an open file from all others."""
    found = os.fstat(file)
    return found.st_dev, found.st_ino


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _open_locked(path: Path) -> tuple[int, LockFile | None]:
    """Open a file for appending and lock it; do so again where it was replaced between the two steps."""
    while True:
        file, lock = _opened(path), None
        try:
            lock = locked(file, path.resolve())
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file, lock
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if lock is not None:
            lock.release()


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
