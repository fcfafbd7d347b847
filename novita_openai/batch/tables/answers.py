"""The answers for a table, from the journal beside it, in the order of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from novita_openai.batch.files import errors_path, read_row
from novita_openai.batch.reading import BatchResult
from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.states import States
from novita_openai.batch.tables.source import NOT_ASKED, key_of

if TYPE_CHECKING:
    from array import array

    from novita_openai.batch.tables.columns import AnswerColumns

__all__ = ["answers"]


def answers(journal: Path, keys: array[int], columns: AnswerColumns) -> Iterator[tuple[Any, ...]]:
    """Yield the values of the added columns for each row; ``keys``: the keys of the rows' custom_ids.

    Raises :class:`BatchInputError` where a row has no result.
    """
    paths = [path for path in (errors_path(journal), journal) if path.exists()]
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")) for path in paths]
        places = States()
        for number, file in enumerate(files):
            for key, place in _places(file, number):
                places[key] = place
        for key in keys:
            yield columns.of_empty if key == NOT_ASKED else columns.values(_result(places.get(key), files, journal))


def _places(file: BinaryIO, number: int) -> Iterator[tuple[int, int]]:
    """Yield the key of each result in a file, and where it begins: twice the position, and 1 more in the second."""
    start = 0
    for line in file:
        row = read_row(line)
        if row is not None:
            yield key_of(row.custom_id), start * 2 + number
        start += len(line)


def _result(place: int | None, files: Sequence[BinaryIO], journal: Path) -> BatchResult:
    if place is None:
        raise BatchInputError([f"{journal}: results are gone that were there before: start the same again"])
    file = files[place % 2]
    file.seek(place // 2)
    return BatchResult.read(file.readline())
