"""The SDK's step from a response to an answer, and what passes there of the request."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Final, cast

import openai

__all__ = ["RETRY_COUNT", "AnsweringClient", "CallTimeout", "raw_response_header", "retries_before"]


@cache
def raw_response_header() -> str:
    """Return the request header by which the SDK marks calls of ``with_raw_response``."""
    return str(import_module("openai._constants").RAW_RESPONSE_HEADER)


RETRY_COUNT: Final = "x-stainless-retry-count"
"""The request header in which the SDK says how many attempts came before."""


def retries_before(response: Any) -> int:
    """Return how many attempts came before the one that a response answers; 0 where the caller sent another header."""
    count = response.request.headers.get(RETRY_COUNT, "")
    return int(count) if count.isdecimal() else 0


class CallTimeout(openai.Timeout):
    """The timeouts of an attempt, for its options; ``ends`` is when its whole call ends, by ``time.monotonic()``."""

    def __init__(self, ends: float, **parts: float) -> None:
        super().__init__(**parts)
        self.ends = ends


class AnsweringClient:
    """A client of the SDK whose step from a response to an answer can be watched."""

    _streamed: ClassVar[Any]
    """The class of the responses that ``with_streaming_response`` gives for streams."""

    _answer: Callable[..., Any]
    """Is given ``make``, the response, its type, its mode (the value of ``raw_response_header``) and when the call
    ends; returns ``make(type, response)``, which is what the SDK makes of a response of which the body is read."""

    def _should_stream_response_body(self, request: Any) -> bool:
        """Have the SDK leave every body of a success unread, as ``_answer`` reads it."""
        del request
        return True

    def _process_response(self, *, cast_to: Any, response: Any, stream: bool, **rest: Any) -> Any:
        sdk_step = cast("Any", super())._process_response  # noqa: SLF001 - this module's purpose
        rest["retries_taken"] = retries_before(response)

        def make(kind: Any, response: Any) -> Any:
            return sdk_step(cast_to=kind, response=response, stream=stream, **rest)

        mode = response.request.headers.get(raw_response_header())
        if stream:
            return make(self._streamed[cast_to] if mode == "stream" else cast_to, response)
        ends = getattr(rest["options"].timeout, "ends", math.inf)
        return self._answer(make, response, cast_to, mode, ends)
