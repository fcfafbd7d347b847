"""The SDK's step from a response to an answer, and what passes there of the request."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Final

__all__ = ["RETRY_COUNT", "AnsweringClient", "pass_received", "raw_response_header"]


@cache
def raw_response_header() -> str:
    """Return the request header by which the SDK marks calls of ``with_raw_response``."""
    return str(import_module("openai._constants").RAW_RESPONSE_HEADER)


RETRY_COUNT: Final = "x-stainless-retry-count"
"""The request header in which the SDK says how many attempts came before."""


def _retries_before(headers: Any) -> int:
    """Return how many attempts came before one with these headers; 0 where the caller gave the header another value."""
    count = str(headers.get(RETRY_COUNT))
    return int(count) if count.isdecimal() else 0


def pass_received(client: Any, received: Callable[[Any], Any]) -> None:
    """Have what the HTTP client of a client sends pass a function, before the SDK looks at it.

    ``received`` is given what ``send`` gives, the response or, for an async client, what is to be awaited for it. The
    HTTP client itself stays as it is, as it may be a user's.
    """
    given = getattr(client._client, "original", client._client)  # noqa: SLF001 - this module's purpose
    kind: Any = type(given)
    sending = object.__new__(_sending_class(kind))
    sending.__dict__ = given.__dict__
    sending.original, sending.received = given, received
    client._client = sending  # noqa: SLF001


@cache
def _sending_class(kind: Any) -> Any:
    """Return a class of HTTP clients that share all with another one, their ``original``, but what they receive."""

    class Sending(kind):  # type: ignore[misc]
        __slots__ = ("original", "received")

        def send(self, *given: Any, **options: Any) -> Any:
            return self.received(super().send(*given, **options))

        def __del__(self) -> None:
            """Leave it to the original to close the connections."""

    Sending.__name__ = Sending.__qualname__ = kind.__name__
    return Sending


class AnsweringClient:
    """A client of the SDK whose step from a response to an answer can be watched."""

    _streamed: ClassVar[Any]
    """The class of the responses that ``with_streaming_response`` gives for streams."""

    _answer: ClassVar[Any]
    """Is given ``make``, the response, its type, its mode (the value of ``raw_response_header``) and the most bytes of
    an answer; returns ``make(type, response)``, which is what the SDK makes of a response of which the body is read."""

    max_answer_bytes: float

    def _should_stream_response_body(self, request: Any) -> bool:
        """Have the SDK leave every body of a success unread, as ``_answer`` reads it."""
        del request
        return True

    def _process_response(self, *, cast_to: Any, response: Any, stream: bool, **rest: Any) -> Any:
        sdk_step: Any = super()._process_response  # type: ignore[misc]
        mode = None
        # Most calls add no headers, and to search all that were sent takes longer.
        if headers := rest["options"].headers:
            rest["retries_taken"], mode = _retries_before(headers), headers.get(raw_response_header())

        def make(kind: Any, response: Any) -> Any:
            return sdk_step(cast_to=kind, response=response, stream=stream, **rest)

        if stream:
            return make(self._streamed[cast_to] if mode == "stream" else cast_to, response)
        return self._answer(make, response, cast_to, mode, self.max_answer_bytes)
