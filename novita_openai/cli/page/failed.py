"""The failed rows that the page shows, read from their file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

__all__ = ["MOST_ROWS", "FailedRow", "failed_rows"]

MOST_ROWS: Final = 1_000
"""Rows that the page shows."""
MOST_CHARACTERS: Final = 500
"""Characters of a text that the page shows."""


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that failed for good, in texts of a bounded length; ``answer``: the last that did not pass its check."""

    custom_id: str
    code: str
    status: str
    attempts: str
    message: str
    answer: str


def failed_rows(path: Path) -> list[FailedRow]:
    """Return the first ``MOST_ROWS`` rows of a file of failed rows; none where there is no such file."""
    return list(islice(_rows(path), MOST_ROWS)) if path.is_file() else []


def _rows(path: Path) -> Iterator[FailedRow]:
    from novita_openai.batch.files import read_rows

    for _, _, row in read_rows(path):
        if row is not None:
            yield _failed(row.fields)


def _failed(row: dict[str, Any]) -> FailedRow:
    error, response = _fields(row, "error"), _fields(row, "response")
    return FailedRow(
        _text(row["custom_id"]),
        _text(error.get("code")),
        _text(response.get("status_code")),
        _text(error.get("attempts")),
        _text(error.get("message")),
        _text(_answer(_fields(response, "body"))),
    )


def _answer(body: dict[str, Any]) -> object:
    """Return the text of the first choice of an answer, None without one."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    choice = first if isinstance(first, dict) else {}
    return choice.get("text") or _fields(choice, "message").get("content")


def _fields(holder: dict[str, Any], name: str) -> dict[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
