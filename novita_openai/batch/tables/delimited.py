"""Tables as CSV and TSV: what spreadsheets, databases and data frames write, and in the same manner back.

Read are UTF-8 with or without a byte order mark, and UTF-16 with one; commas, semicolons, tabs and bars between cells;
quotes as RFC 4180 has them. What cannot be read for certain is an error that names its line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from novita_openai.batch.requests import LONGEST_ROW, BatchInputError
from novita_openai.batch.tables.cells import shown
from novita_openai.batch.tables.columns import Kind

if TYPE_CHECKING:
    from novita_openai.batch.requests import Source
    from novita_openai.batch.tables.rows import Problems, Row

__all__ = ["DelimitedTable", "Manner", "write_delimited"]

DELIMITERS: Final = (",", ";", "\t", "|")
"""What may stand between cells; of two that fit equally well, the first is taken."""
SAMPLE: Final = 20
"""Rows that are read to see what stands between cells."""
_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
"""Byte order marks, and the encodings that begin with them."""
_ANNOUNCED: Final = "sep="
"""How a first line begins that names, for Excel, what stands between cells."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a table is written: its encoding, what stands between cells, and how lines end.

    ``skipped``: lines before the header.
    """

    encoding: str = "utf-8"
    delimiter: str = ","
    line_end: str = "\n"
    skipped: int = 0


class DelimitedTable:
    """A table in a file of CSV or TSV, read row by row; ``delimiter``: what stands between cells, None: seen from it.

    Raises :class:`BatchInputError` where it has no header.
    """

    def __init__(self, source: Source, delimiter: str | None = None) -> None:
        self._source = source
        with source.opened() as file:
            start = file.read(4)
        encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
        self.manner = self._seen(encoding, delimiter)
        header = next(self._records(), None)
        if header is None:
            raise BatchInputError([f"{source} holds no table: its first line must name the columns"])
        self.columns: tuple[str, ...] = tuple(header[1])
        self.kinds = (Kind.TEXT,) * len(self.columns)

    def rows(self, problems: Problems | None = None) -> Iterator[Row]:
        """Yield each row with the number of its first line; what cannot be read goes to ``problems``, or is raised."""
        records, width = self._records(), len(self.columns)
        next(records, None)
        for line, cells in records:
            if len(cells) == width:
                yield line, cells
                continue
            error = f"{self._source}, line {line}: {len(cells)} cells, where the header has {width}"
            if problems is None:
                raise BatchInputError([error])
            problems.add(error)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the records that hold anything, the header first, each with the number of its first line."""
        with self._text(self.manner.encoding) as text:
            lines = islice(text, self.manner.skipped, None)
            reader, line = _reader(lines, self.manner.delimiter), self.manner.skipped + 1
            try:
                for cells in reader:
                    if cells:
                        yield line, cells
                    line = reader.line_num + self.manner.skipped + 1
            except csv.Error as error:
                raise BatchInputError([f"{self._source}, line {line}: {_said(error)}"]) from None

    @contextmanager
    def _text(self, encoding: str) -> Iterator[io.TextIOWrapper]:
        with self._source.opened() as file:
            text = io.TextIOWrapper(file, encoding, newline="")
            try:
                yield text
            except UnicodeError as error:
                raise BatchInputError([f"{self._source}{self._undecodable(encoding)}"]) from error
            finally:
                text.detach()  # or the file would be closed with it

    def _undecodable(self, encoding: str) -> str:
        """Return the place of the first byte that is no text, and what to do."""
        if encoding == "utf-16":
            return " is not whole UTF-16, as which it begins: save it as UTF-8"
        with self._source.opened() as file:
            bad = ((number, _bad_byte(line)) for number, line in enumerate(file, start=1))
            place = next((f", line {number}: the byte {byte} is" for number, byte in bad if byte), ": it is")
        return f"{place} not UTF-8: save it as UTF-8 (in a spreadsheet: CSV UTF-8), or convert it with iconv"

    def _seen(self, encoding: str, delimiter: str | None) -> Manner:
        """Return the manner of a file, from its first lines."""
        with self._text(encoding) as text:
            sample = list(islice(text, SAMPLE))
        first = sample[0] if sample else ""
        line_end = "\r\n" if first.endswith("\r\n") else "\n"
        announced = first.strip().removeprefix(_ANNOUNCED) if first.startswith(_ANNOUNCED) else None
        if announced in DELIMITERS or first.rstrip("\r\n") == f"{_ANNOUNCED}\t":
            return Manner(encoding, announced or "\t", line_end, skipped=1)
        return Manner(encoding, delimiter or max(DELIMITERS, key=lambda each: _fitness(sample, each)), line_end)


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))  # its own limit is below the length of a long text
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _fitness(sample: Sequence[str], delimiter: str) -> tuple[bool, int, int]:
    """Return how well a delimiter fits: whether the header has columns by it, how many rows as many, and how many."""
    widths: list[int] = []
    with suppress(csv.Error):  # the sample ends within a quoted cell, or another delimiter is right
        widths.extend(len(cells) for cells in _reader(sample, delimiter) if cells)
    width = widths[0] if widths else 0
    return width > 1, sum(each == width for each in widths), width


def _said(error: csv.Error) -> str:
    if "unexpected end" in str(error) or "field limit" in str(error):
        return 'a cell begins with a quote (") that is closed nowhere'
    return f'{error}: a quote (") within a quoted cell is written twice'


def _bad_byte(line: bytes) -> str:
    """Return the first byte of a line that is not UTF-8, "" without one."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"0x{line[error.start]:02X}"
    return ""


def write_delimited(file: BinaryIO, columns: Sequence[str], rows: Iterable[Sequence[Any]], manner: Manner) -> None:
    """Write a table in the manner of another one; with a byte order mark, it is UTF-8 with one."""
    encoding = "utf-8" if manner.encoding == "utf-8" else "utf-8-sig"
    text = io.TextIOWrapper(file, encoding, newline="")
    plain = csv.writer(text, delimiter=manner.delimiter, lineterminator=manner.line_end)
    quoted = csv.writer(text, delimiter=manner.delimiter, lineterminator=manner.line_end, quoting=csv.QUOTE_ALL)
    plain.writerow(columns)
    for row in rows:
        cells = [cell if type(cell) is str else shown(cell) for cell in row]
        # Before Python 3.13, cells are not quoted for a carriage return alone, which ends a line when they are read.
        (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)
    text.flush()
    text.detach()
