"""Tables as Parquet, through pyarrow, batch by batch; the columns of the input keep their types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.tables.cells import shown
from novita_openai.batch.tables.columns import Kind, refuse_wide
from novita_openai.installing import how_to_install

if TYPE_CHECKING:
    from novita_openai.batch.requests import Source
    from novita_openai.batch.tables.columns import Column
    from novita_openai.batch.tables.rows import Problems, Row, RowTable

__all__ = ["ParquetTable", "write_parquet"]

ROWS: Final = 4_096
"""Rows in memory at a time."""
NEEDED: Final = f"Parquet is read and written by pyarrow: {how_to_install('tables')}"


def _library(name: str) -> Any:
    try:  # by name, as type checkers need not have the extra
        return import_module(name)
    except ImportError as error:
        raise ImportError(NEEDED) from error


class ParquetTable:
    """A table in a file of Parquet; raises :class:`BatchInputError` where it is not one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        with self._file() as file:
            self.schema: Any = file.schema_arrow
        self.columns: tuple[str, ...] = tuple(self.schema.names)
        self.kinds = (Kind.JSON,) * len(self.columns)

    @contextmanager
    def _file(self) -> Iterator[Any]:
        parquet, pyarrow = _library("pyarrow.parquet"), _library("pyarrow")
        with self._source.opened() as file:
            try:
                opened = parquet.ParquetFile(file)
            except pyarrow.ArrowInvalid as error:
                raise BatchInputError([f"{self._source}: this is not Parquet: {error}"]) from None
            yield opened

    def batches(self) -> Iterator[Any]:
        """Yield the rows in the batches in which pyarrow has them."""
        with self._file() as file:
            yield from file.iter_batches(batch_size=ROWS)

    def rows(self, problems: Problems | None = None) -> Iterator[Row]:  # noqa: ARG002 - a file of Parquet is right or not
        """Yield each row with its number from 1."""
        number = 0
        for batch in self.batches():
            columns = [column.to_pylist() for column in batch.columns]
            for number, values in enumerate(zip(*columns, strict=True), start=number + 1):  # noqa: B020 - it goes on
                yield number, values


def _types(pyarrow: Any) -> dict[Kind, Any]:
    return {
        Kind.TEXT: pyarrow.string(),
        Kind.JSON: pyarrow.string(),
        Kind.WHOLE: pyarrow.int64(),
        Kind.NUMBER: pyarrow.float64(),
        Kind.TRUTH: pyarrow.bool_(),
    }


def write_parquet(file: BinaryIO, table: RowTable, added: Sequence[Column], answers: Iterable[Sequence[Any]]) -> None:
    """Write a table with the added columns, of which ``answers`` has the values row by row."""
    pyarrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
    types, rows = _types(pyarrow), refuse_wide(added, answers)
    schema, batches = (table.schema, table.batches()) if isinstance(table, ParquetTable) else _batches(pyarrow, table)
    new = [pyarrow.field(column.name, types[column.kind]) for column in added]
    whole = pyarrow.schema([*schema, *new], metadata=schema.metadata)
    with parquet.ParquetWriter(file, whole) as writer:
        for batch in batches:
            arrays = _arrays(pyarrow, [field.type for field in new], islice(rows, len(batch)))
            writer.write_batch(pyarrow.record_batch([*batch.columns, *arrays], schema=whole))


def _arrays(pyarrow: Any, types: Sequence[Any], rows: Iterable[Sequence[Any]]) -> list[Any]:
    columns = zip(*rows, strict=True)
    return [pyarrow.array(values, each) for each, values in zip(types, columns, strict=True)]


def _batches(pyarrow: Any, table: RowTable) -> tuple[Any, Iterator[Any]]:
    """Return schema and batches of a table that is not one of pyarrow."""
    types = _types(pyarrow)
    schema = pyarrow.schema([(name, types[kind]) for name, kind in zip(table.columns, table.kinds, strict=True)])

    def batches() -> Iterator[Any]:
        rows = ([*map(_cell, values, table.kinds)] for _, values in table.rows())
        while some := list(islice(rows, ROWS)):
            yield pyarrow.record_batch(_arrays(pyarrow, schema.types, some), schema=schema)

    return schema, batches()


def _cell(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    return shown(value) if kind is Kind.JSON else float(value) if kind is Kind.NUMBER else value
