"""The rows of a table as the rows of a batch: each is a request, named by what it asks.

A row's custom_id is that of the column ``id``; without one, it is made from the request. So a row that is moved keeps
its result, one that is edited is another row, and equal rows are told apart by how many came before.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from novita_openai.batch.endpoints import CHAT
from novita_openai.batch.requests import BatchInputError, Source, encode
from novita_openai.batch.states import BITS, States
from novita_openai.batch.tables.cells import is_empty, text_of
from novita_openai.batch.tables.rows import Problems

if TYPE_CHECKING:
    from novita_openai.batch.tables.recipe import Recipe
    from novita_openai.batch.tables.rows import RowTable

__all__ = ["AskedRow", "Survey", "TableSource", "key_of", "name_of"]

DIGITS: Final = 15
"""Of a request's digest, in a custom_id that is made from it: 60 bits, as the worklist keeps them."""
NOT_ASKED: Final = 0
"""Stands in the keys of a survey for a row of which a cell is empty."""


class AskedRow(NamedTuple):
    """A request of a row: its line, its custom_id, the bytes of its body and the digest of these."""

    line: int
    custom_id: str
    content: bytes
    digest: str


@dataclass(slots=True)
class Survey:
    """What a first look at a table has found: the key of each row's custom_id, and what is asked repeatedly."""

    keys: array[int] = field(default_factory=lambda: array("Q"))
    repeated: frozenset[str] = frozenset()

    @property
    def empty(self) -> int:
        """Return how many rows are not asked, as a cell is empty."""
        return self.keys.count(NOT_ASKED)


def name_of(digest: str, number: int) -> str:
    """Return the custom_id for the row of this number, from 1, that asks for the same."""
    return f"row-{digest[:DIGITS]}" + (f"-{number}" if number > 1 else "")


def key_of(custom_id: str) -> int:
    """Return the number that stands for a custom_id in this process."""
    return (hash(custom_id) & BITS) or 1


class TableSource(Source):
    """A table as a source of rows; ``file``: the source of its bytes, None where it is in memory.

    Raises :class:`BatchInputError` with everything that is wrong in it.
    """

    def __init__(self, name: str, table: RowTable, recipe: Recipe, file: Source | None = None) -> None:
        self.path, self.is_stdin = Path(name), False
        self._name, self._table, self._recipe, self._under = name, table, recipe, file
        self.survey = Survey()
        self._look()

    def __str__(self) -> str:
        return self._name

    @property
    def is_text(self) -> bool:
        """Tell that no line of it is a prompt as it stands."""
        return False

    def close(self) -> None:
        """Leave the file to who has opened it."""

    def is_file(self, path: Path) -> bool:
        """Tell whether a path is the file that is read."""
        return self._under is not None and self._under.is_file(path)

    @property
    def has_ids(self) -> bool:
        """Tell whether rows are named by a column."""
        return self._recipe.id is not None

    @property
    def is_sequential(self) -> bool:
        """Tell that rows can be read in their order alone."""
        return True

    def placed_lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield the rows that are asked, as lines of a file of requests; they have no places, but numbers."""
        for row in self.asked():
            head = f'{{"custom_id":{json.dumps(row.custom_id)},"url":"/v1{CHAT}","body":'
            yield row.line, 0, b"".join((head.encode(), row.content, b"}"))

    def asked(self) -> Iterator[AskedRow]:
        """Yield the rows that are asked."""
        return (row for row in self._all(None, _Namer(self.survey.repeated)) if row is not None)

    def _look(self) -> None:
        problems, namer = Problems(), _Namer()
        for row in self._all(problems, namer):
            self.survey.keys.append(NOT_ASKED if row is None else key_of(row.custom_id))
        problems.raise_if_any()
        if not self.survey.keys:
            raise BatchInputError([f"{self._name} holds no rows"])
        self.survey.repeated = namer.repeated

    def _all(self, problems: Problems | None, namer: _Namer) -> Iterator[AskedRow | None]:
        """Yield all rows, None for one that is not asked."""
        for line, values in self._table.rows(problems):
            try:
                yield self._row(line, values, namer)
            except ValueError as error:
                told = f"{self._name}, line {line}: {error}"
                if problems is None:
                    raise BatchInputError([told]) from None
                problems.add(told)

    def _row(self, line: int, values: Any, namer: _Namer) -> AskedRow | None:
        body = self._recipe.body(values)
        if body is None:
            return None
        content = encode(body)
        digest = blake2b(f"{CHAT}\n".encode() + content, digest_size=16).hexdigest()
        place = self._recipe.id
        name = namer.name(digest) if place is None else namer.own_name(text_of(values[place]))
        return AskedRow(line, name, content, digest)


class _Namer:
    """Names rows; ``repeated``: the requests that come more than once, None where that is to be found out."""

    def __init__(self, repeated: frozenset[str] | None = None) -> None:
        self._known, self._seen, self._counts = repeated, States(), Counter[str]()

    @property
    def repeated(self) -> frozenset[str]:
        """Return the requests that have come more than once."""
        return frozenset(self._counts)

    def name(self, digest: str) -> str:
        """Return a custom_id for a request."""
        short = digest[:DIGITS]
        if not self._is_counted(short):
            return name_of(digest, 1)
        self._counts[short] += 1
        return name_of(digest, self._counts[short] + (self._known is None))  # the first was not counted when it came

    def _is_counted(self, short: str) -> bool:
        if self._known is not None:
            return short in self._known
        return self._is_seen(int(short, 16))

    def _is_seen(self, key: int) -> bool:
        """Take note of a key; tell whether it has come before."""
        before = len(self._seen)
        self._seen[key] = 1
        return len(self._seen) == before

    def own_name(self, name: str) -> str:
        """Return the custom_id that a row has itself; raise ``ValueError`` where it has none, or another one's."""
        if is_empty(name):
            raise ValueError("the id is empty: give each row one, or leave out id=")
        if self._known is None and self._is_seen(key_of(name)):
            raise ValueError(f"the id {name!r} was given before: give each row another, or leave out id=")
        return name
