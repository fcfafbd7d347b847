"""Today's date as some formats print it: given as an argument, never taken from the clock, and read back."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["PLACEHOLDER", "read_date", "write_date"]

PLACEHOLDER: Final = "{date}"

_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip

# English in every locale, unlike strftime.
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
    """Return the date in a style of ``strftime``'s directives."""
    return re.sub("%.", lambda directive: _WRITERS[directive.group()](date), style)


def read_date(style: str, text: str, position: int) -> dt.date | None:
    """Return the date that stands in a text, None where none does."""
    found = re.compile(re.sub("%.", lambda directive: _PATTERNS[directive.group()], style), re.ASCII).match(
        text, position
    )
    if found is None:
        return None
    fields = found.groupdict()
    name = fields.get("name")
    month = (
        next(place for place, full in enumerate(_MONTHS, 1) if full.startswith(name)) if name else int(fields["month"])
    )
    try:
        return dt.date(int(fields["year"]), month, int(fields["day"]))
    except ValueError:
        return None
