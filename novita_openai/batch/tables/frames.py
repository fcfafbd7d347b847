"""A job over a data frame of pandas, polars or pyarrow, through narwhals, and the frame with the answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from novita_openai.batch.report import BatchStopped
from novita_openai.batch.tables.columns import AnswerColumns, Column, Kind, refuse_wide
from novita_openai.batch.tables.jobs import TableJob, refuse_text_options
from novita_openai.batch.tables.recipe import Recipe
from novita_openai.batch.tables.rows import refuse_repeated
from novita_openai.batch.tables.source import TableSource
from novita_openai.batch.telling import ProgressLines
from novita_openai.installing import how_to_install
from novita_openai.prices import counted

if TYPE_CHECKING:
    from types import TracebackType

    from novita_openai.batch.tables.jobs import Runner
    from novita_openai.batch.tables.options import FrameOptions
    from novita_openai.batch.tables.rows import Problems, Row

__all__ = ["FrameJob"]

NAME: Final = "the frame"
"""What a frame is called in messages."""
Frame = TypeVar("Frame")

_DTYPES: Final = {
    Kind.TEXT: "String",
    Kind.JSON: "String",
    Kind.WHOLE: "Int64",
    Kind.NUMBER: "Float64",
    Kind.TRUTH: "Boolean",
}
_OF_PANDAS: Final = {Kind.WHOLE: "Int64", Kind.TRUTH: "boolean"}
"""The types of pandas that have missing values, where its usual ones have none."""


def _narwhals() -> Any:
    try:  # by name, as type checkers need not have the extra
        return import_module("narwhals")
    except ImportError as error:
        raise ImportError(f"data frames are read through narwhals: {how_to_install('tables')}") from error


class FrameTable:
    """A data frame as a table; raises ``TypeError`` for what is none, and ``ValueError`` where names are repeated."""

    def __init__(self, frame: Any) -> None:
        self._narwhals = _narwhals()
        try:
            self._frame = self._narwhals.from_native(frame, eager_only=True)
        except TypeError as error:
            told = "give a data frame of pandas, polars or pyarrow; of a lazy frame, what collect() returns"
            raise TypeError(f"{type(frame).__name__}: {told}") from error
        self.columns: tuple[str, ...] = tuple(map(str, self._frame.columns))
        self.kinds = (Kind.JSON,) * len(self.columns)
        refuse_repeated(NAME, self.columns)

    def rows(self, problems: Problems | None = None) -> Iterator[Row]:  # noqa: ARG002 - a frame is right
        """Yield each row with its number from 1."""
        return enumerate(self._frame.iter_rows(), start=1)

    def with_columns(self, added: Sequence[Column], rows: Iterator[Sequence[Any]]) -> Any:
        """Return a frame of the same kind with more columns, of which ``rows`` has the values row by row."""
        values = zip(*refuse_wide(added, rows), strict=True)
        series = [self._series(column, list(each)) for column, each in zip(added, values, strict=True)]
        return self._narwhals.to_native(self._frame.with_columns(*series))

    def _series(self, column: Column, values: list[Any]) -> Any:
        namespace = self._narwhals.get_native_namespace(self._frame)
        dtype = getattr(self._narwhals, _DTYPES[column.kind])
        if not self._frame.implementation.is_pandas_like():
            return self._narwhals.new_series(column.name, values, dtype, backend=namespace)
        native = namespace.Series(values, dtype=_OF_PANDAS.get(column.kind), name=column.name)
        series = self._narwhals.from_native(native, series_only=True)
        return series.cast(dtype) if column.kind is Kind.NUMBER else series


class FrameJob(Generic[Frame]):
    """A job over a data frame; use it in ``with``.

    Raises :class:`BatchInputError` with what is wrong, before anything is sent.
    """

    def __init__(self, frame: Frame, options: FrameOptions) -> None:
        refuse_text_options(options)
        self._table, self._columns = FrameTable(frame), AnswerColumns.of(options.get("validate"))
        self._columns.refuse_taken(NAME, self._table.columns)
        recipe = Recipe.of(options, self._table.columns, Path.cwd())
        source = TableSource(NAME, self._table, recipe)
        self._lines = ProgressLines() if options.get("on_progress") is None else None
        shown: FrameOptions = {**options, "on_progress": options.get("on_progress") or self._lines}
        self._job = TableJob(source, self._columns, shown)
        self._checkpoint = options.get("checkpoint")
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        if self._checkpoint is None:
            self._folder = Path(tempfile.mkdtemp(prefix="novita-answers-"))
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """Remove what was kept for the run alone; where it has ended too early, say where that is instead."""
        if self._folder is None:
            return
        if error is not None and any(path.stat().st_size for path in self._folder.iterdir()):
            error.add_note(f"What has come is kept: checkpoint={str(self._journal)!r} goes on with it")
        else:
            shutil.rmtree(self._folder)

    @property
    def _journal(self) -> Path:
        return Path(self._folder / "answers.jsonl" if self._folder is not None else str(self._checkpoint))

    async def run(self, runner: Runner, *, is_alone: bool) -> None:
        """Ask what has no answer yet; raise :class:`BatchStopped` where rows are left."""
        try:
            report = await self._job.run(runner, self._journal, is_alone=is_alone)
        finally:
            if self._lines is not None:
                self._lines.finish()
        if report.unfinished:
            left = f"{report.unfinished:,} of {counted(report.total, 'row', 'are')} unfinished: call it again to go on"
            raise BatchStopped(f"{'interrupted' if report.interrupted else 'ended early'}\n{left}", report)

    def filled(self) -> Frame:
        """Return the frame with the columns of the answers."""
        frame: Frame = self._table.with_columns(self._columns.columns, self._job.answers(self._journal))
        return frame
