"""What commands read and print: results on stdout, all else on stderr."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import MutableMapping, Sequence
from typing import Any, Final

import structlog
import typer
from rich.console import Console
from rich.table import Table

STDERR: Final = 2
"""The number of the file that is standard error."""


def prepare() -> None:
    """Send logs and warnings to stderr, and let both streams print what the terminal cannot show."""
    _open_stderr()
    structlog.configure(
        processors=[
            _drop_the_end,
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    warnings.showwarning = lambda message, *_: tell(str(message))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an answer may hold what the terminal cannot show


def _open_stderr() -> None:
    """Have what goes to standard error vanish where that is closed; else a file that takes its number would get it."""
    if sys.stderr is None:
        while (file := os.open(os.devnull, os.O_RDWR)) < STDERR:
            pass  # standard input or output, which is closed too
        sys.stderr = os.fdopen(file, "w")


def _drop_the_end(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave out the log line of a last failure: the command reports that itself."""
    if event["event"] == "retry.gave_up":
        raise structlog.DropEvent
    return event


def read_text(prompt: str | None) -> str:
    """Return the argument, or standard input where it is missing or ``-``; refuse what is empty or not UTF-8."""
    if prompt is None and (sys.stdin is None or sys.stdin.isatty()):
        raise typer.BadParameter("no prompt: give it as an argument or on standard input")
    try:
        text = sys.stdin.buffer.read().decode() if prompt in (None, "-") else prompt
        _ = (text or "").encode()
    except UnicodeError as error:
        raise typer.BadParameter("the prompt is not UTF-8") from error
    if not text or not text.strip():
        raise typer.BadParameter("the prompt is empty")
    return text


def print_table(rows: Sequence[tuple[str, ...]], *columns: str) -> None:
    """Print a table for a person, tab-separated lines for a program."""
    if not sys.stdout.isatty():
        show("\n".join("\t".join(row) for row in rows))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def show(text: str, end: str = "\n") -> None:
    """Print a result, on stdout."""
    print(text, end=end, flush=True)  # noqa: T201 - results belong on stdout


def tell(text: str) -> None:
    """Print what is no result: on stderr, each line after the program's name."""
    for line in text.splitlines():
        print(f"novita-openai: {line}", file=sys.stderr, flush=True)  # noqa: T201 - all else belongs on stderr
