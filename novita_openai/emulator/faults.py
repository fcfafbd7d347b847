"""What can go wrong between the service and a client: each fault changes one reply.

To add a fault, add a row to :data:`FAULTS`: its name, what it means, and the function that changes a reply. Some faults
can come late: ``after`` is the number of bytes of the body that are sent before them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from random import Random  # noqa: TC003 - annotations can be resolved at run time
from typing import Any, Final

from novita_openai.emulator.replies import (
    HTML,
    JSON,
    STATUS_OF,
    Ending,
    Reply,
    document,
    error_object,
    error_reply,
    event,
)

__all__ = ["FAULTS", "Fault", "FaultKind", "drawn_fault"]

_OK: Final = 200
_NAME: Final = b"event: error\n"
_PING: Final = b"event: ping\ndata: {}\n\nevent: ping\n\nretry: 3000\n\ndata:\n\n"
_PAGE: Final = b"<!DOCTYPE html><title>Gateway</title>"
_LATEST_BYTE: Final = 4_096
"""Drawn faults come before this byte of a body, or before the head."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: a ``kind`` of :data:`FAULTS`, which has the words of the service's error table too.

    ``after`` is how many bytes of the body are sent first; with None not even the head of the reply is sent. In a
    stream, an event that is a fault comes after the event that holds that byte. ``reason`` is the word of an error
    object, ``retry_after`` (seconds) the header of an error reply, ``message`` its text. ``of`` is a pattern of the
    requests that it is for, such as ``POST /batches`` or ``GET /files/*/content``; others pass it by in a script.

    Raises ``ValueError`` for an unknown kind or reason, and for an invalid number.
    """

    kind: str
    after: int | None = None
    reason: str = "RATE_LIMIT_EXCEEDED"
    retry_after: float | None = None
    message: str = ""
    of: str = "*"

    def __post_init__(self) -> None:
        _require_word(self.kind, FAULTS, "a fault")
        _require_word(self.reason, STATUS_OF, "an error")
        if self.after is not None and (not isinstance(self.after, int) or self.after < 0):
            raise ValueError(f"after must be None or a number of bytes from 0, not {self.after!r}")
        if self.retry_after is not None and self.retry_after < 0:
            raise ValueError(f"retry_after must be None or at least 0 seconds, not {self.retry_after}")

    def is_of(self, method: str, path: str) -> bool:
        """Tell whether it is for a request."""
        return fnmatchcase(f"{method} {path}", self.of)

    @property
    def is_instead(self) -> bool:
        """Tell whether an error status comes instead of the answer, and the request is not carried out."""
        return not FAULTS[self.kind].is_carried_out and self.spoil(Reply(parts=(b"{}",))).status != _OK

    def spoil(self, reply: Reply) -> Reply:
        """Return the reply as it arrives with this fault."""
        return FAULTS[self.kind].spoil(self, reply)


def _require_word(word: str, table: Mapping[str, object], noun: str) -> None:
    if word not in table:
        near = get_close_matches(word, table, cutoff=0.4)
        hint = f"near it: {', '.join(near)}" if near else f"it knows: {', '.join(sorted(table))}"
        raise ValueError(f"{word!r} is not {noun} that the emulator knows; {hint}")


def drawn_fault(shares: Mapping[str, float], random: Random) -> Fault | None:
    """Draw a fault by the share of requests that meets each kind; None for the requests that are left."""
    kinds, weights = [None, *shares], [1 - sum(shares.values()), *shares.values()]
    kind = random.choices(kinds, weights)[0]
    return None if kind is None else Fault(kind, random.choice((None, random.randrange(_LATEST_BYTE))))


_Spoil = Callable[[Fault, Reply], Reply]


def _cut(ending: Ending) -> _Spoil:
    def spoil(fault: Fault, reply: Reply) -> Reply:
        return replace(reply, ending=ending, sent=fault.after or 0, has_head=fault.after is not None)

    return spoil


def _garbage(_: Fault, reply: Reply) -> Reply:
    return replace(reply, parts=(b"no status line\r\n\r\n",), ending="close", has_head=False)


def _error_status(fault: Fault, _: Reply) -> Reply:
    headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
    return error_reply(fault.kind, fault.message, **headers)


def _gateway(status: int) -> _Spoil:
    return lambda _, __: Reply(status, HTML, (_PAGE,))


def _truncated(fault: Fault, reply: Reply) -> Reply:
    return replace(reply, parts=(reply.body[: fault.after or 0],))


def _instead(headers: Mapping[str, str], body: bytes) -> _Spoil:
    return lambda _, __: Reply(200, headers, (body,))


def _error_object(fault: Fault, _: Reply) -> Reply:
    return document(_error(fault))


def _error(fault: Fault) -> dict[str, Any]:
    return error_object(fault.reason, fault.message)


def _inserted(make: Callable[[Fault], bytes]) -> _Spoil:
    """Put an event into a stream and end the stream there; a document becomes the event's data."""

    def spoil(fault: Fault, reply: Reply) -> Reply:
        if reply.is_stream:
            return replace(reply, parts=(*_before(reply.parts, fault.after or 0), make(fault)))
        return replace(reply, parts=(make(fault).removeprefix(_NAME).removeprefix(b"data: ").strip(),))

    return spoil


def _before(parts: tuple[bytes, ...], size: int) -> tuple[bytes, ...]:
    """Return the parts that begin within the first ``size`` bytes."""
    taken: list[bytes] = []
    for part in parts:
        if size <= 0:
            break
        taken.append(part)
        size -= len(part)
    return tuple(taken)


def _mislabelled(_: Fault, reply: Reply) -> Reply:
    return replace(reply, headers={**reply.headers, **HTML})


def _unstreamed(_: Fault, reply: Reply) -> Reply:
    """Send the first event's data as a document."""
    return replace(reply, headers={**reply.headers, **JSON}, parts=(reply.parts[0].removeprefix(b"data: "),))


def _edited(change: Callable[[dict[str, Any]], dict[str, Any]]) -> _Spoil:
    """Change each JSON object of an answer from the byte ``after`` on; error replies stay as they are."""

    def edit(part: bytes) -> bytes:
        prefix = b"data: " if part.startswith(b"data: ") else b""
        text = part.removeprefix(prefix)
        return part if text.startswith(b"[DONE]") else prefix + json.dumps(change(json.loads(text))).encode() + b"\n\n"

    def spoil(fault: Fault, reply: Reply) -> Reply:
        if reply.status != _OK:
            return reply
        kept = _before(reply.parts, fault.after or 0) if reply.is_stream else ()
        return replace(reply, parts=(*kept, *map(edit, reply.parts[len(kept) :])))

    return spoil


def _with_list(value: list[Any] | None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda body: {name: value if name in ("data", "choices") else each for name, each in body.items()}


def _with_finish_reason(value: str | None, *, keep: bool) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(body: dict[str, Any]) -> dict[str, Any]:
        choices = body.get("choices", [])
        ended = [each if keep and each["finish_reason"] else each | {"finish_reason": value} for each in choices]
        return body | {"choices": ended}

    return change


def _in_streams(spoil: _Spoil) -> _Spoil:
    """Leave documents as they are."""
    return lambda fault, reply: spoil(fault, reply) if reply.is_stream else reply


def _in_pieces(_: Fault, reply: Reply) -> Reply:
    body = reply.body
    return replace(reply, parts=tuple(body[start : start + 3] for start in range(0, len(body), 3)))


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A row of :data:`FAULTS`: what it means, and whether it makes a stream or a document unusable.

    ``is_carried_out``: the request is limited, charged and carried out, though an error status is the reply.
    """

    meaning: str
    spoil: _Spoil = field(repr=False)
    breaks_streams: bool = True
    breaks_documents: bool = True
    is_carried_out: bool = False


def _harmless(meaning: str, change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> FaultKind:
    """Return a kind that changes the parts of a stream in a way that clients must be able to read."""
    spoil = _in_streams(lambda _, reply: replace(reply, parts=change(reply.parts)))
    return FaultKind(meaning, spoil, breaks_streams=False, breaks_documents=False)


FAULTS: Final[Mapping[str, FaultKind]] = {
    # The connection.
    "close": FaultKind("the connection is closed", _cut("close")),
    "reset": FaultKind("the connection is reset", _cut("reset")),
    "stall": FaultKind("nothing more comes, and the connection stays open", _cut("stall")),
    "garbage": FaultKind("bytes that are not HTTP", _garbage),
    # The gateway before the service.
    "bad_gateway": FaultKind("502 with a web page", _gateway(502)),
    "gateway_timeout": FaultKind("504 with a web page", _gateway(504)),
    "late_gateway_timeout": FaultKind(
        "504 with a web page, though the request is carried out", _gateway(504), is_carried_out=True
    ),
    # With a status of 200.
    "truncated": FaultKind("a body that ends early, with the Content-Length of what is sent", _truncated),
    "html": FaultKind("200 with a web page", _instead(HTML, _PAGE)),
    "empty": FaultKind("200 with an empty body", _instead(JSON, b"")),
    "error_object": FaultKind("200 with an error object", _error_object),
    "wrong_content_type": FaultKind(
        "the answer, labelled as a web page", _mislabelled, breaks_streams=False, breaks_documents=False
    ),
    "null_list": FaultKind("`choices` (in the models list: `data`) is null", _edited(_with_list(None))),
    "empty_list": FaultKind("`choices` (in the models list: `data`) is empty", _edited(_with_list([]))),
    # As an event that ends the stream, or as the document.
    "malformed": FaultKind("half a JSON object, as an event or as the body", _inserted(lambda _: event('{"id": '))),
    "not_utf8": FaultKind(
        "bytes that are not UTF-8, in an event or in the body", _inserted(lambda _: b'data: {"id": "\xff\xfe"}\n\n')
    ),
    "error_event": FaultKind(
        "an error object, as an event or as the body", _inserted(lambda fault: event(_error(fault)))
    ),
    "wrapped_error": FaultKind(
        "an object that holds an error object under `error`, as an event or as the body",
        _inserted(lambda fault: event({"error": _error(fault)})),
    ),
    "named_error": FaultKind(
        "as error_event, and the event is named `error`", _inserted(lambda fault: _NAME + event(_error(fault)))
    ),
    "named_wrapped_error": FaultKind(
        "as wrapped_error, and the event is named `error`",
        _inserted(lambda fault: _NAME + event({"error": _error(fault)})),
    ),
    # In streams only.
    "not_a_stream": FaultKind("one JSON document where a stream is asked for", _unstreamed, breaks_documents=False),
    "no_finish_reason": FaultKind(
        "a stream without a `finish_reason`",
        _in_streams(_edited(_with_finish_reason(None, keep=False))),
        breaks_documents=False,
    ),
    # Unusual, but the answer is complete and can be read.
    "comments": _harmless("comments between the events", lambda parts: tuple(b": ping\n\n" + part for part in parts)),
    "pings": _harmless("pings between the events", lambda parts: (_PING, *(part + _PING for part in parts))),
    "crlf": _harmless("lines that end in CRLF", lambda parts: tuple(part.replace(b"\n", b"\r\n") for part in parts)),
    "byte_order_mark": _harmless("a byte order mark first", lambda parts: (b"\xef\xbb\xbf", *parts)),
    "no_done": _harmless(
        "a stream without [DONE]", lambda parts: tuple(part for part in parts if b"[DONE]" not in part)
    ),
    "in_pieces": FaultKind(
        "a body that comes three bytes at a time", _in_pieces, breaks_streams=False, breaks_documents=False
    ),
    "empty_finish_reason": FaultKind(
        'a `finish_reason` of "" in every event before the last',
        _in_streams(_edited(_with_finish_reason("", keep=True))),
        breaks_streams=False,
        breaks_documents=False,
    ),
    # The service's own errors, by their word.
    **{reason: FaultKind(f"{status}, an error of the service", _error_status) for reason, status in STATUS_OF.items()},
}
"""Every kind of fault, by name."""
