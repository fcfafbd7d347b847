"""An example for each reason for which rows have failed in earlier starts of a job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from novita_openai.batch.rows import error_in

if TYPE_CHECKING:
    from novita_openai.batch.files import KnownRow

__all__ = ["Examples", "examples_in"]


@dataclass(slots=True)
class Examples:
    """By the code of an error: the custom_id of a row that has it (``rows``), and its message (``said``)."""

    rows: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)


def examples_in(rows: Iterable[KnownRow], codes: Collection[str], is_failed: Callable[[str], bool]) -> Examples:
    """Return an example for each code, the first of its rows of which ``is_failed`` tells that they count."""
    found = Examples()
    for row in rows if codes else ():
        code, said = error_in(row.fields)
        if code in codes and code not in found.rows and is_failed(row.custom_id):
            found.rows[code], found.said[code] = row.custom_id, said
            if len(found.rows) == len(codes):
                break
    return found
