"""A job over a table in a file: what it asks, where its journal is, and the table that it writes in the end."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, Protocol, Self, TypeVar, cast

from novita_openai.batch.files import is_kept
from novita_openai.batch.jsonl import LONGEST_PREFIX
from novita_openai.batch.options import RunOptions
from novita_openai.batch.report import BatchReport, BatchStopped
from novita_openai.batch.requests import BatchInputError, Source
from novita_openai.batch.tables.answers import answers
from novita_openai.batch.tables.columns import EMPTY, AnswerColumns
from novita_openai.batch.tables.formats import TABLES, form_of, opened_table, writer_for
from novita_openai.batch.tables.matching import match
from novita_openai.batch.tables.options import own_options
from novita_openai.batch.tables.recipe import Recipe
from novita_openai.batch.tables.rows import refuse_repeated
from novita_openai.batch.tables.source import TableSource

if TYPE_CHECKING:
    from novita_openai.batch.tables.options import TableOptions

__all__ = ["FileJob", "Runner", "TableJob", "is_table", "journal_of", "refuse_text_options"]

NAMED: Final = (".jsonl", ".parquet")
"""Forms in which every column has a name."""


class JobCounts(Protocol):
    """A dataclass that counts the rows of a job."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def total(self) -> int:
        """Return the number of rows."""
        ...

    @property
    def failed(self) -> int:
        """Return the number of rows that have failed."""
        ...

    @property
    def errors(self) -> Mapping[str, int]:
        """Return how many have failed for each reason."""
        ...


Report = TypeVar("Report", bound=JobCounts)


class Runner(Protocol):
    """Runs a batch over a source of rows."""

    async def __call__(
        self, source: Source, results: str | Path, options: RunOptions, *, is_alone: bool
    ) -> BatchReport:
        """Run it; see :func:`novita_openai.batch.run`."""
        ...


def is_table(requests: str | Path, options: Mapping[str, Any]) -> bool:
    """Tell whether a job is over a table: its file is one, or there is an option that only tables have."""
    return form_of(requests) in TABLES or bool(own_options(options))


def journal_of(table: Path) -> Path:
    """Return the file that keeps the answers for a table: ``answers.results.jsonl`` for ``answers.csv``."""
    return table.with_name(f"{table.stem}.results.jsonl")


class TableJob:
    """A job over a table: its ``source`` of rows, and the ``columns`` that come of it."""

    def __init__(self, source: TableSource, columns: AnswerColumns, options: TableOptions) -> None:
        self.source, self.columns = source, columns
        self.empty = source.survey.empty
        self.options = self._of_batch(options)

    def _of_batch(self, options: TableOptions) -> RunOptions:
        """Return the options for the batch of its requests."""
        left = {name: value for name, value in options.items() if name in RunOptions.__annotations__}
        on_progress = options.get("on_progress")
        if on_progress is not None:
            left["on_progress"] = lambda progress: on_progress(self.counted(progress))
        return cast("RunOptions", left)

    async def run(self, runner: Runner, journal: Path, *, is_alone: bool) -> BatchReport:
        """Ask what has no answer yet, and return the report on all rows of the table."""
        if self.empty == len(self.source.survey.keys):
            return self.counted(BatchReport(total=0))
        await asyncio.to_thread(match, journal, self.source)
        try:
            report = await runner(self.source, journal, self.options, is_alone=is_alone)
        except BatchStopped as stop:
            stop.report = self.counted(stop.report)
            raise
        return self.counted(report)

    def counted(self, report: Report) -> Report:
        """Return a report in which the rows with empty cells have failed too."""
        if not self.empty:
            return report
        errors = {**report.errors, EMPTY: self.empty}
        return replace(report, total=report.total + self.empty, failed=report.failed + self.empty, errors=errors)

    def answers(self, journal: Path) -> Iterator[tuple[Any, ...]]:
        """Yield the values of the added columns, row by row."""
        return answers(journal, self.source.survey.keys, self.columns)


class FileJob:
    """A job over a table in a file, and the file with the answers; use it in ``with``.

    ``results``: None where only an estimate is wanted. Raises :class:`BatchInputError` with what is wrong, before
    anything is sent, and ``OSError`` where the file cannot be read.
    """

    def __init__(self, requests: str | Path, results: str | Path | None, options: TableOptions) -> None:
        with ExitStack() as stack:
            self._file = stack.enter_context(Source(requests))
            self._state = self._stat()
            self._results = None if results is None else Path(results)
            refuse_text_options(options)
            self._table, self._columns = opened_table(self._file), AnswerColumns.of(options.get("validate"))
            self._check_columns()
            folder = Path.cwd() if self._file.is_stdin else self._file.path.parent
            recipe = Recipe.of(options, self._table.columns, folder)
            source = TableSource(str(self._file), self._table, recipe, self._file)
            self._job = TableJob(source, self._columns, options)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def source(self) -> Source:
        """Return the rows as requests."""
        return self._job.source

    def counted(self, report: Report) -> Report:
        """Return a report in which the rows with empty cells have failed too."""
        return self._job.counted(report)

    @property
    def options(self) -> RunOptions:
        """Return the options for the batch of its requests."""
        return self._job.options

    async def run(self, runner: Runner, *, is_alone: bool) -> BatchReport:
        """Ask what has no answer yet, and write the table once each row has its result; return the report."""
        results = cast("Path", self._results)
        report = await self._job.run(runner, journal_of(results), is_alone=is_alone)
        if not report.unfinished:
            await asyncio.to_thread(self._write, results)
        return report

    def _write(self, results: Path) -> None:
        if self._stat() != self._state:
            told = (
                f"{self._file} changed during the run; the answers are kept: start the same again, which asks the rest"
            )
            raise BatchInputError([told])
        with replacing(results) as file:
            writer_for(results)(file, self._table, self._columns, self._job.answers(journal_of(results)))

    def _stat(self) -> tuple[int, int]:
        """Return what changes with the file, where it is one."""
        if self._file.is_stdin or not self._file.path.is_file():
            return 0, 0
        status = self._file.path.stat()
        return status.st_size, status.st_mtime_ns

    def _check_columns(self) -> None:
        table, name = self._table, str(self._file)
        if self._results is not None:
            self._refuse_another(self._results)
        must_be_named = self._results is not None and form_of(self._results) in NAMED
        refuse_repeated(name, table.columns, unnamed=must_be_named)
        self._columns.refuse_taken(name, table.columns)

    def _refuse_another(self, results: Path) -> None:
        """Refuse to overwrite the input, or a file that no such job has written."""
        if self._file.is_file(results):
            raise BatchInputError([f"{results}: the answers would overwrite the input; give another name"])
        if not is_kept(results) or results.is_dir():
            raise BatchInputError([f"{results}: a table with answers is written to a file; name one"])
        writer_for(results)
        if not (journal_of(results).exists() or _is_of_a_job(results, self._columns)):
            told = "there is such a file already, which is not a table with answers: give another name, or move it"
            raise BatchInputError([f"{results}: {told}"])


def _is_of_a_job(results: Path, columns: AnswerColumns) -> bool:
    """Tell whether a file is missing or empty, or a table with answers."""
    if not results.exists() or not results.stat().st_size:
        return True
    with suppress(BatchInputError), Source(results) as source:
        return set(columns.names) <= {*opened_table(source).columns}
    return False


def refuse_text_options(options: TableOptions) -> None:
    """Raise :class:`BatchInputError` for an option that is for lines of text alone."""
    for name in ("raw", "format"):
        if options.get(name):
            raise BatchInputError([f"{name}={options.get(name)!r}: this is for lines of text, not for a table"])


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of another once it is whole; on an error the old one stays as it was."""
    target = path.resolve()
    beside = target.with_name(f".{target.name[:LONGEST_PREFIX]}.{os.getpid()}.new")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)
