"""What a row may say besides its request: metadata, headers, more fields for the body, and that it wants a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

__all__ = ["as_sent", "extra_of", "headers_of", "read_metadata"]

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_RESERVED: Final = {
    "authorization": "the client's key is sent",
    "content-length": "it is counted",
    "content-type": "bodies are JSON",
    "host": "the client's base URL says it",
    "transfer-encoding": "bodies are sent in one piece",
}
"""Headers that no row can set, and why."""
_OF_HEADERS: Final = ("extra_headers", "headers")
"""What the SDK's argument and the field of a row are called; no request has a field of these names."""
_APART: Final = frozenset({"extra_body", "extra_query", *_OF_HEADERS, "stream", "stream_options"})
"""Fields that are not sent as they stand in a body."""


def as_sent(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body in the form in which it is sent: the same object where that is its own.

    The fields of ``extra_body``, an argument of the SDK, are fields of the body. Whether an answer comes as a stream is
    not for the row to say, as its result is a whole answer. Raises ``ValueError`` for an ``extra_query``, another
    argument.
    """
    if _APART.isdisjoint(body):
        return body
    if body.get("extra_query"):
        raise ValueError(f"extra_query: the request of a row has no query; leave out {body['extra_query']!r}")
    return {name: value for name, value in {**body, **extra_of(body)}.items() if name not in _APART}


def extra_of(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the ``extra_body`` of a row or a body, empty without one; raise ``ValueError`` where it is no object."""
    extra = holder.get("extra_body")
    if extra is not None and not isinstance(extra, dict):
        raise ValueError(f"extra_body must be a JSON object, not {type(extra).__name__}")
    return cast("dict[str, Any]", extra or {})


def read_metadata(given: object) -> bytes:
    """Return the metadata of a row as JSON, b"" without any; raise ``ValueError`` where JSON cannot hold it."""
    try:
        return b"" if given is None else json.dumps(given, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata cannot be written as JSON: {error}") from None


def headers_of(row: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the headers that a row names, beside its body or in it; raise ``ValueError`` for others than texts."""
    if row.keys().isdisjoint(_OF_HEADERS) and body.keys().isdisjoint(_OF_HEADERS):
        return {}
    given = (holder.get(name) for holder in (body, row) for name in _OF_HEADERS)
    return {name: value for headers in given for name, value in _read_headers(headers).items()}


def _read_headers(given: object) -> Mapping[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError(f"headers must be a JSON object, not {type(given).__name__}")  # noqa: TRY004 - bad input is one error
    headers = cast("dict[str, Any]", given)
    for name, value in headers.items():
        _check_header(name, value)
    return headers


def _check_header(name: str, value: object) -> None:
    if (why := _RESERVED.get(name.lower())) is not None:
        raise ValueError(f"the header {name} cannot be set by a row: {why}")
    if not _HEADER.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ValueError(f"the header {name} must be a text of printable ASCII, not {value!r}")
