"""How far a job is, in words, and where a program shows nothing itself: lines on standard error."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from novita_openai.prices import counted, dollars

if TYPE_CHECKING:
    from novita_openai.batch.report import BatchProgress

__all__ = ["ProgressLines", "details", "rate"]

SECONDS_A_LINE: Final = 10.0
"""Between two lines where there is no terminal."""


def rate(progress: BatchProgress) -> float:
    """Return the rows a second of this run."""
    return (progress.succeeded + progress.failed - progress.resumed) / max(progress.elapsed, 0.001)


def details(progress: BatchProgress) -> str:
    """Return what is under way, what was spent, and what went wrong."""
    in_flight = f"{progress.in_flight} in flight"
    if progress.interrupted:  # early in the line, of which a narrow terminal shows no more
        in_flight = f"finishing {in_flight}; interrupt again to stop at once"
    parts = [in_flight, counted(progress.tokens, "token")]
    if progress.cost is not None:
        parts.append(dollars(progress.cost))
    parts += [f"{count} x {reason}" for reason, count in progress.errors.items()]
    return ", ".join(parts)


class ProgressLines:
    """Shows how far a job is: in one line at a terminal, elsewhere in a line now and then, and one at the end."""

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._line = ""

    def __call__(self, progress: BatchProgress) -> None:
        """Show the state of a job."""
        done = progress.succeeded + progress.failed
        self._line = f"{done:,} of {counted(progress.total, 'row')}, {rate(progress):.1f} rows/s, {details(progress)}"
        if _is_terminal():
            self._write(f"\r\033[K{self._line}")
        elif time.monotonic() - self._shown >= SECONDS_A_LINE:
            self._shown = time.monotonic()
            self._write(f"{self._line}\n")

    def finish(self) -> None:
        """End with a line that stays."""
        if self._line:
            self._write(f"\r\033[K{self._line}\n" if _is_terminal() else f"{self._line}\n")

    def _write(self, text: str) -> None:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
