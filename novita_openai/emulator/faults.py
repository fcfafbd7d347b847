"""What can go wrong between the service and a client, as data: each fault is a change of one reply.

A reply is plain data (:class:`Reply`), so that every fault is a pure function of it and the emulator only sends what
comes out. Faults of the socket and of events may come late: ``after`` is the number of bytes of the body before them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Final, Literal

from novita_openai.errors import NO_WORD, NOT_JSON, RULES

__all__ = ["FAULTS", "Fault", "FaultKind", "Reply"]

EVENT_STREAM: Final = {"content-type": "text/event-stream"}
JSON: Final = {"content-type": "application/json"}
HTML: Final = {"content-type": "text/html"}

_OK: Final = 200
_NAME: Final = b"event: error\n"
_PING: Final = b"event: ping\ndata: {}\n\nevent: ping\n\nretry: 3000\n\ndata:\n\n"
_PAGE: Final = b"<!DOCTYPE html><title>Gateway</title>"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply: the parts of its body are the events of a stream, or one document.

    ``ending`` is what becomes of the connection: ``whole`` keeps it, ``close`` hangs up, ``reset`` sends a TCP reset,
    ``stall`` says no more until the client leaves; ``sent`` is how many bytes of the body come before that. Without a
    head nothing of HTTP is sent.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    parts: tuple[bytes, ...] = ()
    ending: Literal["whole", "close", "reset", "stall"] = "whole"
    sent: int | None = None
    has_head: bool = True

    @property
    def is_stream(self) -> bool:
        """Tell whether the parts are events."""
        return self.headers.get("content-type") == "text/event-stream"

    @property
    def body(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.parts)


def event(data: object) -> bytes:
    """Return one server-sent event; text is sent as it is."""
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def document(body: object, status: int = 200, **headers: str) -> Reply:
    """Return a JSON reply."""
    return Reply(status, JSON | headers, (json.dumps(body).encode(),))


def refusal(reason: str, message: str = "", retry_after: float | None = None) -> Reply:
    """Return the service's error reply for a word of its table; ``retry_after`` in seconds goes into the header."""
    headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    return document(_error(reason, message), _STATUS[reason], **headers)


def _error(reason: str, message: str = "") -> dict[str, Any]:
    message = message or reason.replace("_", " ").lower()
    return {"code": _STATUS[reason], "reason": reason, "message": message, "metadata": {}}


_STATUS: Final[dict[str, int]] = {
    rule.reason: rule.status for rule in RULES if rule.status and rule.reason not in (None, NO_WORD, NOT_JSON)
}
_TOO_FAST: Final = "RATE_LIMIT_EXCEEDED"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: a ``kind`` of :data:`FAULTS`, or a word of the service's error table.

    ``after`` is how many bytes of the body come first; None: not even the head of the reply. In a stream, faults that
    are events wait for the end of the event that the byte is in. ``reason`` is the word of an error object,
    ``retry_after`` (seconds) the header of an error reply, ``message`` its text.

    Raises ``ValueError`` for a kind or a reason that is in no table.
    """

    kind: str
    after: int | None = None
    reason: str = _TOO_FAST
    retry_after: float | None = None
    message: str = ""

    def __post_init__(self) -> None:
        for word, table in ((self.kind, FAULTS), (self.reason, _STATUS)):
            if word not in table:
                near = get_close_matches(word, table, cutoff=0.4) or sorted(table)
                raise ValueError(f"{word!r} is no fault that the emulator knows; near it: {', '.join(near)}")
        if self.after is not None and (not isinstance(self.after, int) or self.after < 0):
            raise ValueError(f"after must be None or a number of bytes from 0, not {self.after!r}")
        if self.retry_after is not None and self.retry_after < 0:
            raise ValueError(f"retry_after must be None or at least 0 seconds, not {self.retry_after}")

    @property
    def is_instead(self) -> bool:
        """Tell whether the service answers with an error status instead."""
        return self.spoil(Reply(parts=(b"{}",))).status != _OK

    def spoil(self, reply: Reply) -> Reply:
        """Return the reply as it arrives with this fault."""
        return FAULTS[self.kind].spoil(self, reply)


def _cut(ending: Literal["close", "reset", "stall"]) -> _Spoil:
    def spoil(fault: Fault, reply: Reply) -> Reply:
        return replace(reply, ending=ending, sent=fault.after or 0, has_head=fault.after is not None)

    return spoil


def _garbage(_: Fault, reply: Reply) -> Reply:
    return replace(reply, parts=(b"no status line\r\n\r\n",), ending="close", has_head=False)


def _refused(fault: Fault, _: Reply) -> Reply:
    return refusal(fault.kind, fault.message, fault.retry_after)


def _gateway(status: int) -> _Spoil:
    return lambda _, __: Reply(status, HTML, (_PAGE,))


def _truncated(fault: Fault, reply: Reply) -> Reply:
    return replace(reply, parts=(reply.body[: fault.after or 0],))


def _instead(headers: Mapping[str, str], body: bytes) -> _Spoil:
    return lambda _, __: Reply(200, headers, (body,))


def _error_object(fault: Fault, _: Reply) -> Reply:
    return document(_error_of(fault))


def _error_of(fault: Fault) -> dict[str, Any]:
    return _error(fault.reason, fault.message)


def _inserted(make: Callable[[Fault], bytes]) -> _Spoil:
    """Put an event into a stream, which ends there; in a document it is all that comes."""

    def spoil(fault: Fault, reply: Reply) -> Reply:
        if reply.is_stream:
            return replace(reply, parts=(*_before(reply.parts, fault.after or 0), make(fault)))
        return replace(reply, parts=(make(fault).removeprefix(_NAME).removeprefix(b"data: ").strip(),))

    return spoil


def _before(parts: tuple[bytes, ...], size: int) -> tuple[bytes, ...]:
    """Return the whole parts that have begun before so many bytes."""
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
    """Answer as if no stream had been asked for."""
    return replace(reply, headers={**reply.headers, **JSON}, parts=(reply.parts[0].removeprefix(b"data: "),))


def _edited(change: Callable[[dict[str, Any]], dict[str, Any]]) -> _Spoil:
    """Change each object of the reply from the byte ``after`` on."""

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


def _unfinished(fault: Fault, reply: Reply) -> Reply:
    return _edited(_with_finish_reason(None, keep=False))(fault, reply) if reply.is_stream else reply


def _half_finished(fault: Fault, reply: Reply) -> Reply:
    return _edited(_with_finish_reason("", keep=True))(fault, reply) if reply.is_stream else reply


def _in_streams(change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> _Spoil:
    return lambda _, reply: replace(reply, parts=change(reply.parts)) if reply.is_stream else reply


def _in_pieces(_: Fault, reply: Reply) -> Reply:
    body = reply.body
    return replace(reply, parts=tuple(body[start : start + 3] for start in range(0, len(body), 3)))


_Spoil = Callable[[Fault, Reply], Reply]


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A row of :data:`FAULTS`: what it means, and whether a stream or a document is still whole with it."""

    meaning: str
    spoil: _Spoil = field(repr=False)
    breaks_streams: bool = True
    breaks_documents: bool = True


def _odd(meaning: str, change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> FaultKind:
    """Return a kind that streams may show and still be whole."""
    return FaultKind(meaning, _in_streams(change), breaks_streams=False, breaks_documents=False)


FAULTS: Final[Mapping[str, FaultKind]] = {
    # The socket.
    "close": FaultKind("the connection is closed", _cut("close")),
    "reset": FaultKind("the connection is reset", _cut("reset")),
    "stall": FaultKind("no more comes, and the connection stays open", _cut("stall")),
    "garbage": FaultKind("what comes is no HTTP", _garbage),
    # The gateway before the service.
    "bad_gateway": FaultKind("502 with a web page", _gateway(502)),
    "gateway_timeout": FaultKind("504 with a web page", _gateway(504)),
    # Under a status of 200.
    "truncated": FaultKind("the body ends early, as if it were whole", _truncated),
    "html": FaultKind("a web page", _instead(HTML, _PAGE)),
    "empty": FaultKind("nothing", _instead(JSON, b"")),
    "error_object": FaultKind("an error object instead of the answer", _error_object),
    "wrong_content_type": FaultKind("the answer, labelled as a web page", _mislabelled, breaks_documents=False),
    "null_list": FaultKind("`choices` (of the models list: `data`) is null", _edited(_with_list(None))),
    "empty_list": FaultKind("`choices` is empty, in every event", _edited(_with_list([]))),
    # An event of a stream, or the whole document.
    "malformed": FaultKind("half a JSON object", _inserted(lambda _: event('{"id": '))),
    "not_utf8": FaultKind("bytes that are not UTF-8", _inserted(lambda _: b'data: {"id": "\xff\xfe"}\n\n')),
    "error_event": FaultKind("an error object", _inserted(lambda fault: event(_error_of(fault)))),
    "wrapped_error": FaultKind("an error under `error`", _inserted(lambda fault: event({"error": _error_of(fault)}))),
    "named_error": FaultKind(
        "an error object, named by `event: error`", _inserted(lambda fault: _NAME + event(_error_of(fault)))
    ),
    "named_wrapped_error": FaultKind(
        "an error under `error`, named so", _inserted(lambda fault: _NAME + event({"error": _error_of(fault)}))
    ),
    # Streams only.
    "not_a_stream": FaultKind("one JSON document for a stream", _unstreamed, breaks_documents=False),
    "no_finish_reason": FaultKind("no choice ever ends", _unfinished, breaks_documents=False),
    # Odd, and the answer is whole.
    "comments": _odd("comments between the events", lambda parts: tuple(b": ping\n\n" + part for part in parts)),
    "pings": _odd("events that say nothing", lambda parts: (_PING, *(part + _PING for part in parts))),
    "crlf": _odd("lines end in CRLF", lambda parts: tuple(part.replace(b"\n", b"\r\n") for part in parts)),
    "byte_order_mark": _odd("a byte order mark first", lambda parts: (b"\xef\xbb\xbf", *parts)),
    "no_done": _odd("a stream without [DONE]", lambda parts: tuple(part for part in parts if b"[DONE]" not in part)),
    "in_pieces": FaultKind("three bytes at a time", _in_pieces, breaks_streams=False, breaks_documents=False),
    "empty_finish_reason": FaultKind(
        '`finish_reason` is "" before the last', _half_finished, breaks_streams=False, breaks_documents=False
    ),
    # The service's own errors, by their word.
    **{reason: FaultKind(f"{status}, the service's error", _refused) for reason, status in _STATUS.items()},
}
"""Every kind of fault."""
