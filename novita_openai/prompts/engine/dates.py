"""Today's date as some formats print it. It is an argument, never taken from the clock, and it is read back."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

__all__ = ["PLACEHOLDER", "read_date", "write_date"]

PLACEHOLDER: Final = "{date}"
"""Stands for the date in separators."""

_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip

# The names of months are English, whatever the locale; strftime would follow it.
_WRITERS: Final[Mapping[str, Callable[[dt.date], str]]] = {
    "%d": lambda date: f"{date.day:02}",
    "%m": lambda date: f"{date.month:02}",
    "%Y": lambda date: f"{date.year:04}",
    "%b": lambda date: _MONTHS[date.month - 1][:3],
    "%B": lambda date: _MONTHS[date.month - 1],
}
_PATTERNS: Final[Mapping[str, str]] = {
    "%d": r"(?P<day>\d\d)",
    "%m": r"(?P<month>\d\d)",
    "%Y": r"(?P<year>\d{4})",
    "%b": f"(?P<name>{'|'.join(month[:3] for month in _MONTHS)})",
    "%B": f"(?P<name>{'|'.join(_MONTHS)})",
}


def write_date(style: str, date: dt.date) -> str:
    """Return the date in a style made of directives of ``strftime``, such as ``"%d %b %Y"``."""
    return re.sub("%.", lambda directive: _WRITERS[directive.group()](date), style)


def read_date(style: str, text: str, position: int) -> dt.date | None:
    """Return the date that stands at a position of a text; None if there is no date in this style."""
    found = _pattern(style).match(text, position)
    if found is None:
        return None
    fields = found.groupdict()
    month = _month_of(fields["name"]) if "name" in fields else int(fields["month"])
    try:
        return dt.date(int(fields["year"]), month, int(fields["day"]))
    except ValueError:
        return None


@cache
def _pattern(style: str) -> re.Pattern[str]:
    return re.compile(re.sub("%.", lambda directive: _PATTERNS[directive.group()], style), re.ASCII)


def _month_of(name: str) -> int:
    """Return the number of a month, by its name or the first three letters of it."""
    return next(number for number, month in enumerate(_MONTHS, 1) if month.startswith(name))
