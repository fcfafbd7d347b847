"""Help that fits its terminal, however narrow that is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partialmethod
from typing import Any, Final

__all__ = ["fit", "help_width"]

WIDEST: Final = 100
NARROW: Final = 60
"""Columns below which what is said of an option stands under it, not beside it."""
MARGIN: Final = 2
INDENT: Final = 2


def help_width() -> int:
    """Return the columns that help may take up."""
    return min(shutil.get_terminal_size().columns, WIDEST) - MARGIN


def fit(command: Any, width: int) -> None:
    """Have a command, and those in it, write help for a terminal of a width."""
    if width < NARROW:
        for each in _all(command):
            context = each.context_class
            own = context.formatter_class
            below = type("Below", (own,), {"write_dl": partialmethod(own.write_dl, col_max=INDENT)})
            each.context_class = type("Narrow", (context,), {"formatter_class": below})


def _all(command: Any) -> Iterator[Any]:
    yield command
    for each in getattr(command, "commands", {}).values():
        yield from _all(each)
