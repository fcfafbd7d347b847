"""HTTP replies as plain data: documents, streams of events, and the service's errors.

Because a reply is data, a fault is a function from one reply to another, and the sockets only send what comes out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from novita_openai.error_replies import NO_WORD, NOT_JSON
from novita_openai.errors import RULES

__all__ = ["Reply", "ServiceError", "document", "error_object", "error_reply", "event"]

EVENT_STREAM: Final = {"content-type": "text/event-stream"}
JSON: Final = {"content-type": "application/json"}
HTML: Final = {"content-type": "text/html"}
PLAIN_TEXT: Final = {"content-type": "text/plain"}

BAD_BODY: Final = "INVALID_REQUEST_BODY"
STATUS_OF: Final[Mapping[str, int]] = {
    rule.reason: rule.status for rule in RULES if rule.status and rule.reason not in (None, NO_WORD, NOT_JSON)
}
"""The status of each of the service's errors, by its word."""

Ending = Literal["whole", "close", "reset", "stall"]


class ServiceError(Exception):
    """Raised where the service answers with an error: its word, its text, and the seconds to wait.

    ``status`` is that of the service's table for the word; a word that is not in the table needs one.
    """

    def __init__(self, reason: str, message: str, retry_after: float | None = None, *, status: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.status = status or STATUS_OF[reason]

    def reply(self, **headers: str) -> Reply:
        """Return the service's reply for the error."""
        return document(_error_object(self.status, self.reason, self.message), self.status, **headers)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply: the parts of its body are the events of a stream, or one document.

    ``ending`` is what happens to the connection afterwards: ``whole`` keeps it open for the next request, ``close``
    closes it, ``reset`` sends a TCP reset, ``stall`` sends nothing more until the client leaves. ``sent`` is how many
    bytes of the body are sent before that, None for all. Without a head, not even a status line is sent.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    parts: tuple[bytes, ...] = ()
    ending: Ending = "whole"
    sent: int | None = None
    has_head: bool = True

    @property
    def is_stream(self) -> bool:
        """Tell whether the parts are events."""
        return self.headers.get("content-type") == EVENT_STREAM["content-type"]

    @property
    def body(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.parts)


def event(data: object) -> bytes:
    """Return one server-sent event; text is sent as it is, all else as JSON."""
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def document(body: object, status: int = 200, **headers: str) -> Reply:
    """Return a JSON reply."""
    return Reply(status, JSON | headers, (json.dumps(body).encode(),))


def error_object(reason: str, message: str = "") -> dict[str, Any]:
    """Return the service's JSON for an error of its table."""
    return _error_object(STATUS_OF[reason], reason, message or reason.replace("_", " ").lower())


def _error_object(status: int, reason: str, message: str) -> dict[str, Any]:
    return {"code": status, "reason": reason, "message": message, "metadata": {}}


def error_reply(reason: str, message: str = "", **headers: str) -> Reply:
    """Return the service's reply for an error of its table."""
    return document(error_object(reason, message), STATUS_OF[reason], **headers)
