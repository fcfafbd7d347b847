"""Tables as JSON lines: each an object with plain fields, which are the cells."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from novita_openai.batch.jsonl import decode
from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.tables.cells import shown
from novita_openai.batch.tables.columns import kind_of, type_of
from novita_openai.batch.tables.rows import Problems

if TYPE_CHECKING:
    from novita_openai.batch.requests import Source
    from novita_openai.batch.tables.rows import Row

__all__ = ["JSONLinesTable", "write_json_lines"]


class JSONLinesTable:
    """A table in a file of JSON lines; its columns are the fields of all rows, in the order in which they come.

    Raises :class:`BatchInputError` with all lines that are not objects.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        problems, types = Problems(), defaultdict[str, set[type]](set)
        for _, fields in self._objects(problems):
            for name, value in fields.items():
                types[name].add(type_of(value))
        problems.raise_if_any()
        self.columns: tuple[str, ...] = tuple(types)
        self.kinds = tuple(map(kind_of, types.values()))

    def rows(self, problems: Problems | None = None) -> Iterator[Row]:
        """Yield each row with the number of its line, None for a field that it lacks."""
        for number, fields in self._objects(problems):
            yield number, [fields.get(name) for name in self.columns]

    def _objects(self, problems: Problems | None) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in self._source.lines():
            try:
                yield number, _object(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            except ValueError as error:
                told = f"{self._source}, line {number}: {error}"
                if problems is None:
                    raise BatchInputError([told]) from None
                problems.add(told)


def _object(line: bytes) -> dict[str, Any]:
    try:
        found: Any = decode(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte {error.start}") from None
    except ValueError as error:
        raise ValueError(f"bad JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"a row must be a JSON object, not {type(found).__name__}")  # noqa: TRY004 - bad input is one error
    return cast("dict[str, Any]", found)


_dump = json.JSONEncoder(ensure_ascii=False, default=shown).encode


def write_json_lines(file: BinaryIO, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table, each row as a JSON object on a line."""
    objects = ({name: _value(cell) for name, cell in zip(columns, row, strict=True)} for row in rows)
    file.writelines(_dump(each).encode() + b"\n" for each in objects)


def _value(cell: Any) -> Any:
    """Return a cell as JSON can hold it: it has no numbers that are not finite."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
