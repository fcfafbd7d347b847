"""The text that is asked about each row: ``{column}`` stands for a cell, ``{{`` and ``}}`` for braces, and that is all.

Nothing else of ``str.format`` is read, so that a column may be named as it likes, and no text can reach into objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from novita_openai.batch.requests import BatchInputError
from novita_openai.client.catalog import near_names

__all__ = ["Template", "place_of_column"]

MOST_NAMED: Final = 20
"""Columns that an error names where none of them is near to what was written."""
_PART: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_BRACES: Final = {"{{": "{", "}}": "}"}


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places for cells: ``parts`` are texts, and the numbers of columns from 0."""

    parts: tuple[str | int, ...]

    @classmethod
    def read(cls, what: str, text: str, columns: Sequence[str]) -> Template:
        """Return the template in a text; raise :class:`BatchInputError` for a column that there is not.

        ``what``: the option that holds the text.
        """
        return cls(tuple(_parts(what, text, columns)))

    @property
    def columns(self) -> frozenset[int]:
        """Return the numbers of the columns of which it holds cells."""
        return frozenset(part for part in self.parts if isinstance(part, int))

    def render(self, cells: Sequence[str]) -> str:
        """Return the text for a row; ``cells``: one for each column of the table."""
        return "".join([part if isinstance(part, str) else cells[part] for part in self.parts])


def _parts(what: str, text: str, columns: Sequence[str]) -> Iterator[str | int]:
    end = 0
    for found in _PART.finditer(text):
        yield text[end : found.start()]
        end = found.end()
        if found[0] in _BRACES:
            yield _BRACES[found[0]]
        elif found[1] is None:
            told = f"a single {found[0]}: write {found[0] * 2} where a brace is meant, and {{column}} for a cell"
            raise BatchInputError([f"{what}={text!r}, character {found.start() + 1}: {told}"])
        else:
            yield place_of_column(f"{what}={text!r}", found[1], columns)
    yield text[end:]


def place_of_column(what: str, name: str, columns: Sequence[str]) -> int:
    """Return the number of a column from 0; raise :class:`BatchInputError`, with the near names, without one.

    ``what``: the option that names it, and what that holds.
    """
    if name in columns:
        return columns.index(name)
    near = near_names(name, columns)
    others = f"near names: {_listed(near)}" if near else f"the columns are {_listed(columns[:MOST_NAMED])}"
    raise BatchInputError([f"{what}: there is no column {name!r}; {others}"])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
