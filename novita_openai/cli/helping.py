"""Help that fits its terminal, however narrow that is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:

    class _HelpFormatter:
        def write(self, string: str) -> None: ...

        def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None: ...

        def write_text(self, text: str) -> None: ...

        def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None: ...
else:
    _HelpFormatter = typer.Context.formatter_class  # click's, which typer does not name

__all__ = ["fit", "help_width"]

WIDEST: Final = 100
NARROW: Final = 60
"""Columns below which what is said of an option stands under it, not beside it."""
MARGIN: Final = 1
INDENT: Final = 2
HYPHEN: Final = "\N{NON-BREAKING HYPHEN}"
"""What a hyphen is while lines are broken, as click would break ids of models and names of options at it."""
_TYPE: Final = re.compile(r" <[^<>]+>$")
_BRACES: Final = re.compile(r"\{(.+?)\}")


def help_width() -> int:
    """Return the columns that help may take up."""
    return min(shutil.get_terminal_size().columns, WIDEST) - MARGIN


def fit(command: Any, width: int) -> None:
    """Have a command, and those in it, write help for a terminal of a width."""
    formatter = _Narrow if width < NARROW else _Formatter
    for each in _all(command):
        each.context_class = type("Fitted", (each.context_class,), {"formatter_class": formatter})


def _all(command: Any) -> Iterator[Any]:
    yield command
    for each in getattr(command, "commands", {}).values():
        yield from _all(each)


class _Formatter(_HelpFormatter):
    """Breaks lines at spaces alone; an argument is its name, without the types and braces that some typers add."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, _BRACES.sub(r"\1", args), prefix)

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", HYPHEN))

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        named = [(_TYPE.sub("", name), said.replace("-", HYPHEN)) for name, said in rows]
        super().write_dl(named, col_max, col_spacing)

    def write(self, string: str) -> None:
        super().write(string.replace(HYPHEN, "-"))


class _Narrow(_Formatter):
    """Writes what is said of an option below it."""

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = INDENT, col_spacing: int = 2) -> None:
        super().write_dl(rows, min(col_max, INDENT), col_spacing)
