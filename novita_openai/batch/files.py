"""Where a batch's results go: answers into one file and failed rows into another, or both to what keeps nothing.

Standard output, pipes and devices keep nothing: no later run can go on from them.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from novita_openai.batch.disk import require_room
from novita_openai.batch.jsonl import DisplacedError, Journal, numbered_lines, placed_lines, write_whole
from novita_openai.batch.requests import BatchInputError, Source
from novita_openai.batch.rows import ID_PREFIX, ROW_START

__all__ = [
    "KnownRow",
    "Outlet",
    "ResultFiles",
    "errors_path",
    "is_kept",
    "known_rows",
    "opened_outlet",
    "read_row",
    "read_rows",
    "reopened_path",
    "set_aside",
]

_START: Final = ROW_START.encode()
OF_TABLE: Final = ".results"
"""How the name ends, before its suffix, of the file that keeps the answers for the rows of a table."""


class KnownRow(NamedTuple):
    """A row of the results: its custom_id, the digest of its request, its bytes, and what they say."""

    custom_id: str
    digest: str
    line: bytes
    fields: dict[str, Any]


def beside(results: Path, what: str) -> Path:
    """Return the file for ``what`` beside another: ``results.errors.jsonl`` beside ``results.jsonl``.

    Beside ``answers.results.jsonl``, which keeps the answers of a table, it is ``answers.errors.jsonl``, unless an
    earlier version has written ``answers.results.errors.jsonl``.
    """
    named = results.parent / f"{results.stem}.{what}{results.suffix}"
    if not results.stem.endswith(OF_TABLE) or named.exists():
        return named
    return results.parent / f"{results.stem.removesuffix(OF_TABLE)}.{what}{results.suffix}"


def errors_path(results: Path) -> Path:
    """Return where rows that failed for good go."""
    return beside(results, "errors")


def reopened_path(results: Path) -> Path:
    """Return where it stands what was spent for rows whose results were taken out, to be sent again."""
    return beside(results, "reopened")


def is_kept(results: str | Path) -> bool:
    """Tell whether results are kept in files, so that a later run can go on from them."""
    path = Path(results)
    if str(results) == "-" or _is_standard_output(path):
        return False
    return path.is_file() or path.is_dir() or not path.exists()


def _is_standard_output(path: Path) -> bool:
    """Tell whether a path is another name of standard output, such as ``/dev/stdout``."""
    if path.parent not in _STREAMS or not path.exists() or sys.stdout is None:
        return False
    return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))


_STREAMS: Final = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))


class ResultFiles:
    """The two files of a job's results, locked while they are open.

    Raises :class:`BatchInputError` where one of them is the input or holds something else,
    :class:`novita_openai.batch.jsonl.LockedError` where another process writes them, and any other ``OSError`` where
    they cannot be written.
    """

    def __init__(self, path: Path, source: Source) -> None:
        if path.suffix == ".gz":
            raise BatchInputError([f"{path}: results are not compressed; give a name without .gz"])
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "there is no such folder; make it, or give another", str(path.parent))
        both = (path, beside(path, "errors"))
        if any(source.is_file(each) for each in both):
            raise BatchInputError([f"{path}: the results would overwrite the input {source}"])
        if path.resolve() == both[1].resolve():
            raise BatchInputError([f"{path}: {both[1]} is the same file: remove that link, it is for failed rows"])
        for each in both:
            _refuse_another(each)
        self._new = [each for each in both if not each.exists()]
        if path in self._new:  # those of a job that is gone
            reopened_path(path).unlink(missing_ok=True)
        self.answers = Journal(path)
        try:
            self.errors = Journal(both[1])
        except BaseException:
            self.answers.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def paths(self) -> tuple[Path, Path]:
        """Return where the answers are, and where the failed rows."""
        return self.answers.path, self.errors.path

    @property
    def reopened(self) -> Path:
        """Return where it stands what was spent for rows whose results were taken out."""
        return reopened_path(self.answers.path)

    def write(self, row: bytes, *, succeeded: bool) -> None:
        """Append a row to the file it belongs to."""
        (self.answers if succeeded else self.errors).append(row)

    def is_full(self) -> bool:
        """Tell that there is always room: a full disk is an error of :meth:`write`."""
        return False

    def require_room(self) -> None:
        """Raise ``OSError`` where the disk is full."""
        require_room(self.answers.path)

    def sync(self) -> None:
        """Wait until all rows are on the disk; raise :class:`DisplacedError` where a file is not in its place."""
        for journal in (self.answers, self.errors):
            journal.check()
            journal.sync()

    def is_displaced(self) -> bool:
        """Tell whether one of the files was moved, removed, replaced or cut since it was opened."""
        try:
            self.answers.check()
            self.errors.check()
        except DisplacedError:
            return True
        return False

    def counts(self) -> tuple[int, int]:
        """Return how many answers and failed rows are in the places of the files now."""
        found = (sum(1 for _ in known_rows(each)) if each.path.is_file() else 0 for each in (self.answers, self.errors))
        return next(found), next(found)

    def close(self) -> None:
        """Close both files and release their locks."""
        try:
            self.answers.close()
        finally:
            self.errors.close()

    def discard_new(self) -> None:
        """Remove the files that were created here and are still empty."""
        for path in self._new:
            if path.exists() and path.stat().st_size == 0:
                path.resolve().unlink()

    def order(self, custom_ids: Callable[[], Iterator[str]]) -> None:
        """Bring the rows of both files into the order of the input."""
        for journal in (self.answers, self.errors):
            places = _places(journal.path)
            if places:
                journal.replace(_ordered(journal.path, places, custom_ids()))


def known_rows(journal: Journal) -> Iterator[KnownRow]:
    """Yield the rows of a file of results, without lines that are none."""
    return (row for _, _, row in read_rows(journal.path) if row is not None)


def read_rows(path: Path) -> Iterator[tuple[int, bytes, KnownRow | None]]:
    """Yield number and text of each line of a file of results, and the row that it is, None where it is none."""
    with path.open("rb") as file:
        for number, line in numbered_lines(file):
            yield number, line, read_row(line)


def read_row(line: bytes) -> KnownRow | None:
    """Return the row in a line of a file of results, None where it is none."""
    try:
        row: Any = json.loads(line)
        custom_id, name = row["custom_id"], row["id"]
        digest = name.removeprefix(ID_PREFIX)
        is_known = isinstance(custom_id, str) and digest != name and int(digest, 16) >= 0
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return KnownRow(custom_id, digest, line, row) if is_known else None


def _refuse_another(path: Path) -> None:
    """Refuse a file without a row of results, whole or cut off, before anything in it is changed."""
    lines = read_rows(path) if path.is_file() else iter(())
    first = next(lines, None)
    if first is None or first[2] is not None or _is_cut_off(path):
        return
    if all(row is None for _, _, row in lines):
        told = f"{path}, line {first[0]}: this is not a row of a batch's results; give another file for them"
        raise BatchInputError([told])


def _is_cut_off(path: Path) -> bool:
    """Tell whether a file holds nothing but the beginning of a row, as a run leaves it that was killed at its start."""
    with path.open("rb") as file:
        line = file.readline()
        return not line.endswith(b"\n") and line[: len(_START)] == _START[: len(line)]


def set_aside(path: Path, lines: Iterable[bytes]) -> Path:
    """Write lines that are no rows of results into a file of their own beside these; return its path."""
    aside = beside(path, "damaged")
    with aside.open("ab") as file:
        file.writelines(line + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    return aside


def _places(path: Path) -> dict[str, int]:
    """Return the position of each row in its file."""
    with path.open("rb") as file:
        return {json.loads(line)["custom_id"]: start for _, start, line in placed_lines(file)}


def _ordered(path: Path, places: dict[str, int], custom_ids: Iterator[str]) -> Iterator[bytes]:
    with path.open("rb") as file:
        for custom_id in custom_ids:
            if custom_id in places:
                file.seek(places.pop(custom_id))
                yield file.readline().strip()
        for start in places.values():  # rows that the input does not hold
            file.seek(start)
            yield file.readline().strip()


class Outlet:
    """What keeps nothing: answers and failed rows go there one after the other. No later run can go on from them."""

    def __init__(self, file: int, name: str) -> None:
        self._file, self._name = file, name

    def write(self, row: bytes, *, succeeded: bool) -> None:  # noqa: ARG002 - rows of both kinds are written
        """Write a row; wait until a reader has made room for it."""
        try:
            write_whole(self._file, row + b"\n")
        except OSError as error:
            error.filename = self._name
            raise

    def is_full(self) -> bool:
        """Tell that there is always room: :meth:`write` waits until a reader has made some."""
        return False


@contextmanager
def opened_outlet(results: str | Path) -> Iterator[Outlet]:
    """Open standard output (``-``), a pipe or a device; raise ``OSError`` where nobody reads it."""
    path = Path(results)
    if str(results) == "-" or _is_standard_output(path):
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed", "standard output")
        yield Outlet(sys.stdout.fileno(), "standard output")
        return
    try:
        file = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads this pipe: start its reader first", str(path)) from None
        raise
    try:
        os.set_blocking(file, True)
        yield Outlet(file, str(path))
    finally:
        os.close(file)
