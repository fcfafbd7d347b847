"""What every kind of table is to a job: named columns, and rows that can be read more than once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from novita_openai.batch.requests import BatchInputError

if TYPE_CHECKING:
    from novita_openai.batch.tables.columns import Kind

__all__ = ["Problems", "Row", "RowTable", "refuse_repeated"]

MOST: Final = 10_000
"""Problems after which a table is read no further: it is something else."""

Row = tuple[int, Sequence[Any]]
"""The number of a row's line (where a table has no lines, of the row), and a value for each column."""


class Problems:
    """What is wrong with the rows of a table."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Take a line that says what is wrong; raise all once there are too many."""
        self._lines.append(line)
        if len(self._lines) >= MOST:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raise :class:`BatchInputError` with all of them, if there are any."""
        if self._lines:
            raise BatchInputError(self._lines)


class RowTable(Protocol):
    """A table."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns."""
        ...

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return what the cells of each column are."""
        ...

    def rows(self, problems: Problems | None = None) -> Iterator[Row]:
        """Yield its rows; rows that cannot be read go to ``problems``, else the first of them is raised."""
        ...


def refuse_repeated(table: object, columns: Sequence[str], *, unnamed: bool = False) -> None:
    """Raise :class:`BatchInputError` where columns have the same name; ``unnamed``: also where that is none."""
    repeated = [repr(name) for name, count in Counter(columns).items() if count > 1 and (name or unnamed)]
    if repeated:
        raise BatchInputError([f"{table}: more than one column is named {', '.join(repeated)}: give each its own name"])
