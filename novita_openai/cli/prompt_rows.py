"""Files of rows through a prompt format: rows in on one side, rows out on standard output, one at a time."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import typer

from novita_openai.cli.failures import FAILED
from novita_openai.cli.terminal import SECONDS_A_LINE, tell
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.rows import fields_of, messages_from, row_of

if TYPE_CHECKING:
    from novita_openai.prompts.messages import History

__all__ = ["RowOptions", "convert_rows", "parsed_row", "rendered_row"]

Convert = Callable[[Any], Mapping[str, Any]]

_STANDARD_INPUT: Final = Path("-")
_MOST_REPORTS: Final = 20
"""How many bad rows are reported by themselves."""


@dataclass(frozen=True, slots=True)
class RowOptions:
    """Which file of rows is read, and what becomes of its bad rows."""

    jsonl: Annotated[
        Path | None,
        typer.Option(
            "--jsonl",
            metavar="FILE",
            help="Read rows from a file, or from standard input where it is '-': one JSON object a line.",
        ),
    ] = None
    field: Annotated[
        str, typer.Option("--field", metavar="NAME", help="With --jsonl: the field of a row that has the prompt.")
    ] = "prompt"
    skip: Annotated[
        bool, typer.Option("--skip", help="With --jsonl: set bad rows aside in a file, and go on with the others.")
    ] = False

    @property
    def name(self) -> str:
        """Return what messages call the file."""
        return "standard input" if self.jsonl == _STANDARD_INPUT else f"{self.jsonl}"

    @property
    def aside(self) -> Path:
        """Return the file for bad rows: beside the file of rows, or where the command runs."""
        path = self.jsonl or _STANDARD_INPUT
        return Path("stdin.skipped.jsonl") if path == _STANDARD_INPUT else path.with_suffix(".skipped.jsonl")


def rendered_row(
    write: Callable[[History], str], field: str, row: Any, *, ignore_unknown: bool = False
) -> dict[str, Any]:
    """Return a row with the prompt of its messages in place of them."""
    history = messages_from(row, ignore_unknown=ignore_unknown)
    known = fields_of(row) if isinstance(row, Mapping) else frozenset(("messages",))
    others = {name: value for name, value in row.items() if name not in known} if isinstance(row, Mapping) else {}
    return _joined(others, {field: write(history)})


def parsed_row(read: Callable[[str], History], field: str, row: Any) -> dict[str, Any]:
    """Return a row with the messages of its prompt, and what else ``render`` needs, in place of it."""
    text = row.get(field) if isinstance(row, Mapping) else None
    if not isinstance(text, str):
        has = ", ".join(map(repr, row)) if isinstance(row, Mapping) else f"a {type(row).__name__}"
        raise PromptError(f"a row must have a prompt as text in the field {field!r} (--field); this one has {has}")
    return _joined({name: value for name, value in row.items() if name != field}, row_of(read(text)))


def _joined(others: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    both = [name for name in others if name in made]
    if both:
        raise PromptError(f"the row has a field {both[0]!r} already, which would be lost: rename it, or give --field")
    return {**others, **made}


def convert_rows(options: RowOptions, convert: Convert) -> None:
    """Print each row converted; exit with 1 where some cannot be, after each has been reported by its line.

    After a bad row nothing more is printed, so that no row can be missed from the output; with ``skip`` bad rows go
    into a file, and the others are printed.
    """
    with ExitStack() as stack:
        lines, size = stack.enter_context(_opened(options.jsonl or _STANDARD_INPUT))
        count = _Count(options, size, stack)
        for number, line in enumerate(lines, 1):
            if line.strip():
                count.one(number, line, convert)
        sys.stdout.flush()
    count.finish()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Give the lines of a file or of standard input, and its size in bytes, 0 where that is not known."""
    if path == _STANDARD_INPUT:
        yield sys.stdin.buffer, 0
        return
    if not path.exists() or path.is_dir():
        raise typer.BadParameter(f"{path} is a folder, or does not exist: give --jsonl a file of rows")
    with path.open("rb") as file:
        yield file, os.fstat(file.fileno()).st_size


@dataclass
class _Count:
    """Converts rows one by one, and counts them."""

    options: RowOptions
    size: int
    stack: ExitStack
    rows: int = 0
    bad: int = 0
    read: int = 0
    aside: IO[bytes] | None = None
    shown: float = field(default_factory=time.monotonic)

    def one(self, number: int, line: bytes, convert: Convert) -> None:
        """Print a row converted, or report and count it as bad."""
        self.rows += 1
        self.read += len(line)
        self._show_progress()
        try:
            # ASCII alone, so that no terminal or locale can change a character.
            text = json.dumps(convert(json.loads(line)))
        except (ValueError, RecursionError) as error:
            self._report(number, line, error)
            return
        if self.options.skip or not self.bad:
            sys.stdout.write(text + "\n")

    def _report(self, number: int, line: bytes, error: Exception) -> None:
        self.bad += 1
        if self.bad <= _MOST_REPORTS:
            tell(f"{self.options.name}, line {number}: {error}")
        if self.options.skip:
            if self.aside is None:
                self.aside = self.stack.enter_context(self.options.aside.open("wb"))
            self.aside.write(line.rstrip(b"\r\n") + b"\n")

    def _show_progress(self) -> None:
        if time.monotonic() - self.shown >= SECONDS_A_LINE:
            self.shown = time.monotonic()
            tell(f"{self.rows} rows" + (f", {100 * self.read // self.size} %" if self.size else ""))

    def finish(self) -> None:
        """Say what became of the rows; exit with a code where not all are printed."""
        if not self.rows:
            raise typer.BadParameter(f"{self.options.name} holds no rows")
        if not self.bad:
            tell(f"{self.rows} rows")
            return
        bad = f"{self.bad} of {self.rows} rows are bad"
        if self.options.skip:
            tell(f"{bad}; they are set aside in {self.options.aside}")
        else:
            tell(f"{bad}, and nothing after the first of them is printed: mend them, or set them aside with --skip")
        raise typer.Exit(FAILED)
