"""How much of an answer with an error status is read: what has come says enough, whatever becomes of the rest.

The status says what has happened. What is larger than 1 MB is cut off, and so is what does not come or cannot be
decoded, unless it is text as it was sent; the end of the call ends reading too.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any, Final

import anyio
import openai

from novita_openai import sdk
from novita_openai.client.bodies import (
    Limits,
    call_ends,
    in_time,
    library_of,
    opened,
    undone,
    with_content,
)
from novita_openai.sdk.replies import if_text

__all__ = ["read_error", "read_error_async"]

MOST_OF_AN_ERROR: Final = 1024 * 1024
"""The bytes that are read of an answer with an error status: far above what anybody says there."""

_SUCCESSES_END: Final = 300
"""The first status that is no success, by which the SDK reads the body to raise an error."""


class _Beginning:
    """The beginning of the body of an error, as far as it may be read and can be."""

    def __init__(self, most: float) -> None:
        self.most, self.content = int(min(most, MOST_OF_AN_ERROR)), bytearray()

    def is_enough(self, piece: bytes) -> bool:
        """Add a piece; tell whether no more is to be read."""
        self.content += piece[: self.most - len(self.content)]
        return len(self.content) >= self.most


def read_error(response: Any, most: float) -> Any:
    """Return a response that holds the body of an error status, or its beginning; a success as it is, unread."""
    if response.status_code < _SUCCESSES_END or response.is_closed:
        return response
    beginning = _Beginning(most)
    with closing(response), _surviving(response), in_time(response, Limits(math.inf, call_ends.get())):
        any(map(beginning.is_enough, response.iter_raw()))
    return with_content(response, _decoded(response, beginning))


async def read_error_async(sent: Awaitable[Any], most: float) -> Any:
    """Do the same for the async client, with what its ``send`` gives."""
    response = await sent
    if response.status_code < _SUCCESSES_END or response.is_closed:
        return response
    beginning = _Beginning(most)
    async with _closing(response):
        async for piece in response.aiter_raw():
            if beginning.is_enough(piece):
                break
    return with_content(response, _decoded(response, beginning))


def _decoded(response: Any, beginning: _Beginning) -> bytes:
    """Return what can be decoded of a body; where nothing can, the text that was sent under a wrong encoding."""
    sent, decoded = bytes(beginning.content), _Beginning(beginning.most)
    encoding = response.headers.get("content-encoding")
    if encoding is None:
        return sent
    with _surviving(response):
        any(map(decoded.is_enough, opened(undone(response, encoding, [sent]))))
    return bytes(decoded.content) or if_text(sent)


@contextmanager
def _surviving(response: Any) -> Iterator[None]:
    """Go on where a body is cut, cannot be decoded, or is not over when its call ends; raise every other error."""
    try:
        yield
    except openai.APITimeoutError as error:  # the SDK expects what its HTTP library raises
        raise library_of(response).ReadTimeout("The call has ended.") from error
    except Exception as error:
        if not sdk.is_named(error, *sdk.TRANSPORT_ERRORS):
            raise


@asynccontextmanager
async def _closing(response: Any) -> AsyncIterator[None]:
    """Do the same, and close the response, whatever happens."""
    try:
        with _surviving(response):
            yield
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()
