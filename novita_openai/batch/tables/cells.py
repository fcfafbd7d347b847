"""What a cell holds, as text: in a prompt, and in a table of texts."""

from __future__ import annotations

import json
from typing import Any

from novita_openai.batch.values import is_missing, plain_row

__all__ = ["is_empty", "readable", "shown", "text_of"]


def text_of(value: Any) -> str:
    """Return the text of a cell, "" where it has no value; lists and objects are JSON, dates as ISO 8601 has them.

    Raises ``ValueError`` for a value that has no such form.
    """
    if isinstance(value, str):
        return value
    if value is None or is_missing(value):
        return ""
    plain = plain_row(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def shown(value: Any) -> str:
    """Return the text of a cell, of whatever kind its value is."""
    try:
        return text_of(value)
    except ValueError:
        return str(value)


def is_empty(text: str) -> bool:
    """Tell whether a cell says nothing: no text, or white space alone."""
    return not text or text.isspace()


def readable(text: str) -> str:
    """Return a text that files can hold: half a character (a lone surrogate) in it becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
