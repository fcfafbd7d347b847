"""What an error reply says: the service's word, its text, and how long to wait. Pure, on decoded data."""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Callable, Collection
from datetime import UTC
from typing import Any, Final, cast

__all__ = ["NOT_JSON", "NO_WORD", "in_a_line", "said_in", "said_instead", "seconds_in", "wait_in", "word_in"]

NO_WORD: Final = "no_word"
"""A JSON error body that names no reason."""
NOT_JSON: Final = "not_json"
"""An error body that is not a JSON object."""
LONGEST_WAIT: Final = 100 * 365 * 86_400.0
"""Seconds above which a wait is not told apart: so many can be added to the time of today."""


def word_in(body: object, types: Collection[str | None] = ()) -> str:
    """Return the service's word in a decoded error body, flat or under ``error``.

    ``types``: the words that count in the field ``type`` too, in which OpenAI has coarser ones.
    """
    if not isinstance(body, dict):
        return NOT_JSON
    fields = cast("dict[str, Any]", body)
    words = (fields.get("reason"), fields.get("code"))
    word = next((word for word in words if isinstance(word, str) and word and not word.isdigit()), None)
    if word is None and isinstance(fields.get("type"), str) and fields["type"] in types:
        word = fields["type"]
    if word is None and isinstance(fields.get("error"), dict):
        return word_in(fields["error"], types)
    return word or NO_WORD


def in_a_line(head: str, said: str, meaning: str) -> str:
    """Return a line for a person of the head of an error, of what the service said, and of what it means."""
    sentence = f"{said}." if said and said[-1] not in ".!?" else said
    return " ".join(": ".join(filter(None, (head, f"{sentence} {meaning}".strip()))).split())


def wait_in(header: Callable[[str], str | None]) -> float | None:
    """Return the seconds a reply asks to wait, at most ``LONGEST_WAIT``; None where it names no time, or a past one.

    ``header`` gives its headers by name. Read from ``retry-after-ms`` (milliseconds), else ``retry-after`` (seconds or
    an HTTP date); RFC 9110, 10.2.3.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = seconds_in(header(name), unit, sent=header("date"))
        if seconds is not None:
            return min(seconds, LONGEST_WAIT) if seconds > 0 else None
    return None


def said_in(body: object) -> str:
    """Return what an error body says, on one line, in whichever form; of a page its title; "" where it says nothing."""
    line = " ".join(_said_in(body).split())
    return line if len(line) <= _LONGEST_SAYING else f"{line[:_LONGEST_SAYING]} ..."


def said_instead(body: object) -> str:
    """Return what a body says that came as a success in place of an answer; of a part of an answer, nothing."""
    return "" if isinstance(body, str) and body.lstrip().startswith(("{", "[")) else said_in(body)


def _said_in(body: object) -> str:
    if isinstance(body, str):
        return _shown(body[:_LONGEST_PAGE]) if "<" in body[:_LONGEST_PAGE] else body
    if isinstance(body, list):
        return "; ".join(filter(None, map(_said_in, body)))
    if not isinstance(body, dict):
        return ""
    fields = cast("dict[str, Any]", body)
    place = ".".join(map(str, fields["loc"])) + ": " if isinstance(fields.get("loc"), list) else ""
    return place + next((text for name in _SAYING if (text := _said_in(fields.get(name)))), "")


def _shown(text: str) -> str:
    """Return a text, or of a page its title, else the text without the tags."""
    title = re.search(r"<title[^>]*>(.*?)</title", text, _IN_PAGES)
    if title is None and not text.lstrip().startswith("<"):
        return text
    shown = title[1] if title else re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>?", " ", text, flags=_IN_PAGES)
    if not shown.strip():
        return "a page"
    from html import unescape  # late: it loads a large table

    return f"a page: {unescape(shown)}"


_SAYING: Final = (
    "message", "msg", "detail", "error_description", "error", "errors", "error_msg", "error_message", "description",
    "title",
)  # fmt: skip
_LONGEST_SAYING: Final = 300
_LONGEST_PAGE: Final = 4_000
_IN_PAGES: Final = re.IGNORECASE | re.DOTALL


def seconds_in(text: str | None, unit: float = 1.0, *, sent: str | None = None) -> float | None:
    """Return the seconds that a header names: a number of ``unit`` seconds, or an HTTP date; None for other texts.

    A date is held against that of the reply, ``sent``, as the clock of the service may be another than ours.
    """
    try:
        number = float(text or "") * unit
    except ValueError:
        moment, now = _moment(text or ""), _moment(sent or "")
        return None if moment is None else moment - (time.time() if now is None else now)
    # "inf" and "nan" are not times, but digits are, even where they make a number too large for a float.
    return number if math.isfinite(number) or any(character.isdigit() for character in text or "") else None


def _moment(date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
