"""Where a batch's results go: answers into one file and failed rows into another, or both to standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from novita_openai.batch.jsonl import Journal, write_whole
from novita_openai.batch.requests import BatchInputError, Source
from novita_openai.batch.rows import ID_PREFIX, ROW_START

__all__ = ["KnownRow", "ResultFiles", "StandardOutput", "errors_path"]

_START: Final = ROW_START.encode()


class KnownRow(NamedTuple):
    """A row of the results: its custom_id, the digest of its request, its bytes, and what they say."""

    custom_id: str
    digest: str
    line: bytes
    fields: dict[str, Any]


def errors_path(results: Path) -> Path:
    """Return where rows that failed for good go: ``results.errors.jsonl`` beside ``results.jsonl``."""
    return results.parent / f"{results.stem}.errors{results.suffix}"


class ResultFiles:
    """The two files of a job's results, locked while they are open.

    Raises :class:`BatchInputError` where one of them is the input or holds something else,
    :class:`novita_openai.batch.jsonl.LockedError` where another process writes them, and any other ``OSError`` where
    they cannot be written.
    """

    def __init__(self, path: Path, source: Source) -> None:
        if path.suffix == ".gz":
            raise BatchInputError([f"{path}: results are not compressed; give a name without .gz"])
        both = (path, errors_path(path))
        if any(source.is_file(each) for each in both):
            raise BatchInputError([f"{path}: the results would overwrite the input {source}"])
        for each in both:
            _refuse_another(each)
        self._new = [each for each in both if not each.exists()]
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

    def write(self, row: bytes, *, succeeded: bool) -> None:
        """Append a row to the file it belongs to."""
        (self.answers if succeeded else self.errors).append(row)

    def is_full(self) -> bool:
        """Tell that there is always room: a full disk is an error of :meth:`write`."""
        return False

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        self.answers.sync()
        self.errors.sync()

    def close(self) -> None:
        """Close both files and release their locks."""
        try:
            self.answers.close()
        finally:
            self.errors.close()

    def discard_new(self) -> None:
        """Remove the files that were created here and are still empty."""
        for path in self._new:
            if path.stat().st_size == 0:
                path.unlink()

    def order(self, custom_ids: Callable[[], Iterator[str]]) -> None:
        """Bring the rows of both files into the order of the input."""
        for journal in (self.answers, self.errors):
            places = _places(journal.path)
            if places:
                journal.replace(_ordered(journal.path, places, custom_ids()))


def known_rows(journal: Journal) -> Iterator[KnownRow]:
    """Yield the rows of a file of results; raise :class:`BatchInputError` where it holds anything else."""
    for number, line in journal.rows():
        yield _known_row(journal.path, number, line)


def _known_row(path: Path, number: int, line: bytes) -> KnownRow:
    try:
        row: Any = json.loads(line)
        custom_id, name = row["custom_id"], row["id"]
        if not (isinstance(custom_id, str) and name.startswith(ID_PREFIX)):
            raise ValueError(name)  # noqa: TRY301 - caught with the others
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        message = f"{path}, line {number}: this is not a row of a batch's results; give another file for them"
        raise BatchInputError([message]) from None
    return KnownRow(custom_id, name.removeprefix(ID_PREFIX), line, row)


def _refuse_another(path: Path) -> None:
    """Refuse a file that does not begin with a row of results, whole or cut off, before anything in it is changed."""
    if path.is_file():
        with path.open("rb") as file:
            line = file.readline()
        if line[: len(_START)] != _START[: len(line)]:
            _known_row(path, 1, line)


def _places(path: Path) -> dict[str, int]:
    """Return the position of each row in its file."""
    places, start = {}, 0
    with path.open("rb") as file:
        for line in file:
            places[json.loads(line)["custom_id"]] = start
            start += len(line)
    return places


def _ordered(path: Path, places: dict[str, int], custom_ids: Iterator[str]) -> Iterator[bytes]:
    with path.open("rb") as file:
        for custom_id in custom_ids:
            if custom_id in places:
                file.seek(places.pop(custom_id))
                yield file.readline().rstrip(b"\n")
        for start in places.values():  # rows that the input does not hold
            file.seek(start)
            yield file.readline().rstrip(b"\n")


class StandardOutput:
    """Standard output: answers and failed rows one after the other. A later run cannot go on from them."""

    def write(self, row: bytes, *, succeeded: bool) -> None:  # noqa: ARG002 - rows of both kinds are printed
        """Print a row."""
        try:
            write_whole(sys.stdout.fileno(), row + b"\n")
        except OSError as error:
            error.filename = "standard output"
            raise

    def is_full(self) -> bool:
        """Tell that there is always room: :meth:`write` waits until a reader has made some."""
        return False
