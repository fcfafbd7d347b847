"""How far a batch is, on stderr: a bar at a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from novita_openai.cli.terminal import SECONDS_A_LINE, tell, writes_json
from novita_openai.prices import counted

if TYPE_CHECKING:
    from novita_openai.batch import BatchProgress


class Display(Protocol):
    """Shows how far a job is, each time it is called."""

    def __call__(self, progress: BatchProgress) -> None:
        """Show the state of a job."""
        ...


@contextmanager
def progress_display(*, quiet: bool) -> Iterator[Display]:
    """Give what shows the states of a job, in the way that suits standard error."""
    if quiet:
        yield lambda progress: None  # noqa: ARG005 - the name is part of the call
    elif sys.stderr.isatty() and not writes_json():
        with _Bar() as bar:
            yield bar
    else:
        yield _Lines()


def both(first: Display, second: Display) -> Display:
    """Return what shows a state to two displays."""

    def show(progress: BatchProgress) -> None:
        first(progress)
        second(progress)

    return show


class _Lines:
    """Prints a line of progress, at most one in ``SECONDS_A_LINE``."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, progress: BatchProgress) -> None:
        from novita_openai.batch.telling import details, rate

        if time.monotonic() - self._shown >= SECONDS_A_LINE:
            self._shown = time.monotonic()
            done, of_all = progress.succeeded + progress.failed, counted(progress.total, "row")
            words = f"{done:,} of {of_all}, {rate(progress):.1f} rows/s, {_left(progress)}{details(progress)}"
            tell(words, event="batch.progress", **_facts(progress))


class _TwoLines(Progress):
    """A line with bar, count and time left, at any width; below it the ``details``, in as many lines as they need."""

    details = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the lines."""
        yield from super().get_renderables()
        yield Text(self.details, style="dim")


class _Bar:
    """Draws a bar of progress, again and again in the same place."""

    def __init__(self) -> None:
        self._bar = _TwoLines(
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=5)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            console=Console(stderr=True),
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, progress: BatchProgress) -> None:
        from novita_openai.batch.telling import details, rate

        self._bar.details = f"{rate(progress):.1f} rows/s, {details(progress)}"
        self._bar.update(self._task, total=progress.total, completed=progress.succeeded + progress.failed)


def _facts(progress: BatchProgress) -> dict[str, object]:
    """Return what a program reads of a line of progress."""
    from novita_openai.batch.telling import rate

    return {
        "total": progress.total,
        "succeeded": progress.succeeded,
        "failed": progress.failed,
        "in_flight": progress.in_flight,
        "rows_a_second": round(rate(progress), 1),
        "seconds_left": _seconds_left(progress),
        "tokens": progress.tokens,
        "cost": progress.cost,
        "errors": dict(progress.errors),
    }


def _left(progress: BatchProgress) -> str:
    seconds = _seconds_left(progress)
    return "" if seconds is None else f"about {timedelta(seconds=seconds)} left, "


def _seconds_left(progress: BatchProgress) -> int | None:
    """Return about how many seconds a job still takes, None where that cannot be said."""
    from novita_openai.batch.telling import rate

    rows = rate(progress)
    return round(progress.unfinished / rows) if rows > 0 else None
