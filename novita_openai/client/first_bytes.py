"""What the first bytes of a stream's body are: an event stream, one JSON document, or a page; pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from novita_openai.client.events import BrokenStream, is_end, is_error
from novita_openai.error_replies import said_instead

__all__ = ["FirstBytes"]

_MARK: Final = b"\xef\xbb\xbf"
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:")
_BLANK: Final = re.compile(rb"(?:[ \t\r\n]+|:[^\r\n]*[\r\n])+")


class FirstBytes:
    """Decides by the first bytes of a body whether it is an event stream, one JSON document or a page.

    The label decides only where they tell nothing. ``data`` holds what is left of the bytes that were fed: a byte order
    mark, after which the SDK drops the first event, comments and white space are removed.
    """

    def __init__(self, media_type: str | None) -> None:
        self.media_type = media_type
        self.is_labelled = media_type is None or "text/event-stream" in media_type.lower()
        self.data, self.is_at_start = b"", True

    def feed(self, chunk: bytes) -> bool:
        """Add bytes; tell whether they suffice."""
        self.data += chunk
        if self.is_at_start and _MARK.startswith(self.data[: len(_MARK)]) and len(self.data) < len(_MARK):
            return False
        if self.is_at_start:
            self.data, self.is_at_start = self.data.removeprefix(_MARK), False
        if blank := _BLANK.match(self.data):
            self.data = self.data[blank.end() :]
        if self.data.startswith(b":"):
            self.data = b":"  # a comment that goes on says nothing
        return not self.data.startswith(b":") and not any(field.startswith(self.data) for field in _FIELDS)

    @property
    def is_stream(self) -> bool:
        """Tell whether the bytes begin an event stream."""
        if self.data.startswith((*_FIELDS, b":")) or not self.data:
            return True
        return self.is_labelled and not self.data.startswith(b"{")

    def document(self, rest: bytes) -> bytes:
        """Return the events of a body that is a whole answer, or an error, in one JSON document; raise where it is not.

        What is sent as one document and has no end is a part of an answer, and no more of it will come.
        """
        body = self.data + rest
        try:
            document = json.loads(body) if body.startswith(b"{") else {}
        except (ValueError, RecursionError):
            document = {}
        chunk = _as_chunk(document)
        if not is_error(chunk) and not _has_ended(chunk.get("choices")):
            media_type = self.media_type or "no content type"
            said = said_instead(document or body.decode(errors="replace"))
            raise BrokenStream(f"{len(body)} bytes of {media_type} came instead of it{said and f': {said}'}")
        return b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode()


def _as_chunk(document: dict[str, Any]) -> dict[str, Any]:
    """Return an answer as one chunk of a stream; a message needs no finish reason, as nothing can follow it."""
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and isinstance(choice.get("message"), dict):
            choice["delta"] = choice.pop("message")
            choice["finish_reason"] = choice.get("finish_reason") or "stop"
    if document.get("object") == "chat.completion":
        document["object"] = "chat.completion.chunk"
    return document


def _has_ended(choices: Any) -> bool:
    """Tell whether all choices have ended, as far as they can be read."""
    readable = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    return bool(choices) and all(is_end(choice.get("finish_reason")) for choice in readable)
