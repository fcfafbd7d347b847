"""What every command shares: results to stdout, all else to stderr, errors as one line and an exit code."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import openai
import structlog
import typer
from rich.console import Console
from rich.table import Table

from novita_openai.errors import UNKNOWN, classify, reason_of, status_of
from novita_openai.local import LocalModelError

FAILED: Final = 1
INTERRUPTED: Final = 130


def prepare() -> None:
    """Send logs and warnings to stderr, and let both streams print what the terminal cannot show."""
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


def _drop_the_end(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave out the last failure: it is what the command reports itself."""
    if event["event"] == "retry.gave_up":
        raise structlog.DropEvent
    return event


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors into one line on stderr and an exit code."""
    try:
        yield
    except (openai.OpenAIError, LocalModelError, ModuleNotFoundError) as error:
        tell(explain(error))
        raise typer.Exit(FAILED) from error
    except BrokenPipeError:
        raise  # whoever read the output has enough; typer ends in silence
    except OSError as error:
        tell(f"cannot write the output: {error.strerror}")
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(INTERRUPTED) from interrupt


def explain(error: Exception) -> str:
    """Return the reason, what the service says, and what it means, on one line."""
    rule = classify(error)
    if rule is UNKNOWN:
        return " ".join(str(error).split())
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    reason = f"{reason_of(error)}:"
    return " ".join(" ".join(str(part).split()) for part in (status_of(error), reason, said, rule.meaning) if part)


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
    """Print a result."""
    print(text, end=end, flush=True)  # noqa: T201 - results belong on stdout


def tell(text: str) -> None:
    """Print all else."""
    print(f"novita-openai: {text}", file=sys.stderr)  # noqa: T201 - all else belongs on stderr
