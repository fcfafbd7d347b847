"""The forms of files that hold tables, by their suffixes: what reads each, and what writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.tables.columns import AnswerColumns
from novita_openai.batch.tables.delimited import DelimitedTable, Manner, write_delimited
from novita_openai.batch.tables.json_lines import JSONLinesTable, write_json_lines
from novita_openai.batch.tables.parquet import ParquetTable, write_parquet

if TYPE_CHECKING:
    from novita_openai.batch.requests import Source
    from novita_openai.batch.tables.rows import RowTable

__all__ = ["TABLES", "Writer", "form_of", "opened_table", "writer_for"]

_READERS: Final[dict[str, Callable[[Source], RowTable]]] = {
    ".csv": DelimitedTable,
    ".tsv": lambda source: DelimitedTable(source, "\t"),
    ".jsonl": JSONLinesTable,
    ".parquet": ParquetTable,
}
TABLES: Final = frozenset(_READERS) - {".jsonl"}
"""The suffixes of files that hold nothing but tables."""
COMPRESSED: Final = ".gz"
_MAGIC: Final = ((b"PAR1", ".parquet"), (b"{", ".jsonl"))
"""How what comes without a name begins, where it is not CSV."""
_LISTED: Final = ", ".join(_READERS)

Writer = Callable[[BinaryIO, "RowTable", AnswerColumns, Iterable[Sequence[Any]]], None]
"""Writes a table, and beside it the values of the added columns, row by row."""


def form_of(path: str | Path) -> str:
    """Return the suffix that says in which form a file is, in lower case, without that of gzip."""
    path = Path(path)
    named = Path(path.stem) if path.suffix == COMPRESSED else path
    return named.suffix.lower()


def opened_table(source: Source) -> RowTable:
    """Return the table in a file; raise :class:`BatchInputError` where it holds none."""
    form = _form_within(source) if source.is_stdin else form_of(source.path)
    reader = _READERS.get(form)
    if reader is None:
        told = f"a table is a file in {_LISTED}; from a spreadsheet, save it as CSV UTF-8"
        raise BatchInputError([f"{source}: {told}"])
    return reader(source)


def _form_within(source: Source) -> str:
    with source.opened() as file:
        start = file.read(16).removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((form for mark, form in _MAGIC if start.startswith(mark)), ".csv")


def writer_for(path: Path) -> Writer:
    """Return what writes a file of this name; raise :class:`BatchInputError` where no table has such a name."""
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise BatchInputError([f"{path}: the table with the answers is a file in {_LISTED}"])
    return writer


def _write_csv(file: BinaryIO, table: RowTable, added: AnswerColumns, answers: Iterable[Sequence[Any]]) -> None:
    manner = table.manner if isinstance(table, DelimitedTable) else Manner()
    if manner.delimiter == "\t" or len(table.columns) == 1:
        manner = Manner(manner.encoding, ",", manner.line_end)
    write_delimited(file, [*table.columns, *added.names], _joined(table, answers), manner)


def _write_tsv(file: BinaryIO, table: RowTable, added: AnswerColumns, answers: Iterable[Sequence[Any]]) -> None:
    seen = table.manner if isinstance(table, DelimitedTable) else Manner()
    manner = Manner(seen.encoding, "\t", seen.line_end)
    write_delimited(file, [*table.columns, *added.names], _joined(table, answers), manner)


def _write_jsonl(file: BinaryIO, table: RowTable, added: AnswerColumns, answers: Iterable[Sequence[Any]]) -> None:
    write_json_lines(file, [*table.columns, *added.names], _joined(table, answers))


def _write_parquet(file: BinaryIO, table: RowTable, added: AnswerColumns, answers: Iterable[Sequence[Any]]) -> None:
    write_parquet(file, table, added.columns, answers)


_WRITERS: Final[dict[str, Writer]] = {
    ".csv": _write_csv,
    ".tsv": _write_tsv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}


def _joined(table: RowTable, answers: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    for (_, values), more in zip(table.rows(), answers, strict=True):
        yield [*values, *more]
