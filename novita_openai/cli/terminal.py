"""What commands print: results on stdout, all else on stderr; and what a terminal can show of it."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import textwrap
import time
import warnings
from collections.abc import Sequence
from typing import TextIO

SECONDS_A_LINE = 10.0
"""Between two lines of progress where there is no terminal."""
STDERR = 2
"""The number of the file that is standard error."""

_CONTROLS = *range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)
UNSEEN = {code: "\N{REPLACEMENT CHARACTER}" for code in _CONTROLS if chr(code) not in "\t\n"}
"""Control characters: in a text of others they could do to a terminal whatever they like, or turn the text around."""


def prepare() -> None:
    """Send warnings to stderr, and let both streams print what the terminal cannot show."""
    _open_stderr()
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


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person sees a stream."""
    return stream is not None and stream.isatty()


def styled(text: str, style: str, stream: TextIO) -> str:
    """Return a text in a style of ECMA-48, such as ``2`` (dim), where the stream shows styles and NO_COLOR is unset."""
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb" or not is_terminal(stream)
    return text if is_plain else f"\x1b[{style}m{text}\x1b[0m"


def printable(text: str, stream: TextIO) -> str:
    """Return a text of others without what would steer the terminal that it is shown at; elsewhere as it is."""
    return text.translate(UNSEEN) if is_terminal(stream) else text


def print_table(rows: Sequence[tuple[str, ...]], *columns: str) -> None:
    """Print a table for a person, tab-separated lines for a program."""
    if not is_terminal(sys.stdout):
        show("\n".join("\t".join(row) for row in rows))
        return
    width = shutil.get_terminal_size().columns
    for number, line in enumerate(table_lines([columns, *rows], width)):
        text = printable(line, sys.stdout)
        show(styled(text, "1", sys.stdout) if number == 0 else text)


def table_lines(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Return rows in columns where they fit; else each as its first cell, and the others indented in lines below it.

    No word is ever cut.
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= width:
        return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return [line for row in rows for line in (row[0], *_broken("  ".join(filter(None, row[1:])), width, "  ", "  "))]


def _broken(line: str, width: int, first: str, others: str) -> list[str]:
    """Return a line in lines of a width, broken between words, with what they begin with."""
    return textwrap.wrap(
        line, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )


def show(text: str, end: str = "\n") -> None:
    """Print a result, on stdout."""
    print(text, end=end, flush=True)  # noqa: T201 - results belong on stdout


def show_lines(text: str, indent: str = "  ", column: int = 0) -> None:
    """Print a result in words, each of its lines in as many as the terminal needs; they begin in a column."""
    for line in text.splitlines():
        show("\n".join(_wrapped(line, sys.stdout, indent, column)))


def whisper(text: str, end: str = "") -> None:
    """Print a text on stderr as it is."""
    print(text, end=end, file=sys.stderr, flush=True)  # noqa: T201 - all else belongs on stderr


def note(text: str) -> None:
    """Print a remark to a person in a conversation, on stderr: dimmed, and wrapped between words."""
    for line in _wrapped(text, sys.stderr):
        whisper(styled(line, "2", sys.stderr), end="\n")


def _wrapped(text: str, stream: TextIO, indent: str = "  ", column: int = 0) -> list[str]:
    """Return a line in lines that fit on a terminal, broken between words; as it is for anything else."""
    if not is_terminal(stream):
        return [text]
    lines = _broken(printable(text, stream), shutil.get_terminal_size().columns, " " * column, indent)
    return [lines[0][column:], *lines[1:]] if lines else [text]


def write_json() -> None:
    """From now on, write all that is told as lines of JSON."""
    global _writes_json  # noqa: PLW0603 - of a process that runs one command
    _writes_json = True


_writes_json = False


def writes_json() -> bool:
    """Tell whether what is told is written as lines of JSON."""
    return _writes_json


def tell(text: str, **details: object) -> None:
    """Print what is no result: on stderr, each line after the program's name.

    ``details``: what a program reads of it, in place of its words, where lines of JSON are written.
    """
    if _writes_json:
        known = details or {"event": "message", "message": text}
        whisper(json.dumps({"time": round(time.time(), 3), **known}, default=str), end="\n")
        return
    for line in text.splitlines():
        whisper("\n".join(_wrapped(f"novita-openai: {line}", sys.stderr)), end="\n")
