"""Progress that shows by itself in a notebook: one line under the cell, drawn again and again in its place."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar, cast

from novita_openai.batch.report import BatchProgress, BatchReport
from novita_openai.prices import counted, dollars

__all__ = ["notebook_line", "progress_line", "with_notebook_line"]

SECONDS: Final = 0.5
"""Between two drawings."""
_Options = TypeVar("_Options", bound=Mapping[str, Any])


def with_notebook_line(options: _Options) -> _Options:
    """Return the options of a job with a line of progress, where it runs in a notebook and shows none otherwise."""
    line = notebook_line(options) if options.get("on_progress") is None else None
    return options if line is None else cast("_Options", {**options, "on_progress": line})


def notebook_line(options: Mapping[str, Any]) -> NotebookLine | None:
    """Return a line of progress under the cell; None outside of notebooks, and with ``progress=False``."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel") or not options.get("progress", True):
        return None
    return NotebookLine(sys.modules["IPython"].display.display)


class NotebookLine:
    """Draws the state of a job in one place of a notebook. ``display``: IPython's."""

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display, self._handle, self._drawn = display, None, -SECONDS

    def __call__(self, progress: BatchProgress) -> None:
        """Draw a state."""
        content = {"text/plain": progress_line(progress)}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def follow(self, report: BatchReport, in_flight: int) -> None:
        """Draw a report, unless one has been drawn a moment ago or more is on its way in a moment."""
        if time.monotonic() - self._drawn >= SECONDS or not in_flight:
            self._drawn = time.monotonic()
            known = {each.name: getattr(report, each.name) for each in fields(report)}
            self(BatchProgress(**known, in_flight=in_flight))


def progress_line(progress: BatchProgress) -> str:
    """Return the state of a job as one line."""
    done = progress.succeeded + progress.failed
    parts = [f"{done:,} of {counted(progress.total, 'row')}" if progress.total > done else counted(done, "row")]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [f"{progress.in_flight} in flight"] if progress.in_flight else []
    parts += [counted(progress.tokens, "token")]
    parts += [] if progress.cost is None else [dollars(progress.cost)]
    return ", ".join([*parts, f"{progress.elapsed:.0f} s"])
