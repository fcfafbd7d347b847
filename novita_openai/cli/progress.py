"""How far a batch is, on stderr: a bar at a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from novita_openai.cli.terminal import tell
from novita_openai.prices import dollars

if TYPE_CHECKING:
    from novita_openai.batch import BatchProgress

SECONDS_A_LINE: Final = 10.0
"""Between two lines of progress where there is no terminal."""


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
    elif sys.stderr.isatty():
        with _Bar() as bar:
            yield bar
    else:
        yield _Lines()


class _Lines:
    """Prints a line of progress, at most one in ``SECONDS_A_LINE``."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, progress: BatchProgress) -> None:
        if time.monotonic() - self._shown >= SECONDS_A_LINE:
            self._shown = time.monotonic()
            done = progress.succeeded + progress.failed
            tell(f"{done} of {progress.total} rows, {_rate(progress):.1f} rows/s, {_details(progress)}")


class _Bar:
    """Draws a bar of progress, again and again in the same place."""

    def __init__(self) -> None:
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, progress: BatchProgress) -> None:
        description = f"{_rate(progress):.1f} rows/s, {_details(progress)}"
        done = progress.succeeded + progress.failed
        self._bar.update(self._task, total=progress.total, completed=done, description=description)


def _rate(progress: BatchProgress) -> float:
    return (progress.succeeded + progress.failed - progress.resumed) / max(progress.elapsed, 0.001)


def _details(progress: BatchProgress) -> str:
    in_flight = f"{progress.in_flight} in flight"
    if progress.interrupted:  # early in the line, of which a narrow terminal shows no more
        in_flight = f"finishing {in_flight}; interrupt again to stop at once"
    parts = [in_flight, f"{progress.tokens} tokens"]
    if progress.cost is not None:
        parts.append(dollars(progress.cost))
    parts += [f"{count} x {reason}" for reason, count in progress.errors.items()]
    return ", ".join(parts)
