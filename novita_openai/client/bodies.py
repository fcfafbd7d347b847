"""How much of a body is read, and how long: at most ``max_answer_bytes`` after decompression, until the deadline.

A body whose length says that it is small is read as the SDK reads it. Every other is counted while it comes, and what
has come is put into a response of its own, as nothing is changed in one that the HTTP library still works with. httpx
opens each piece of a compressed body whole, to a thousand times its size and more, so that it is given small pieces.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final, NoReturn, TypeVar

import anyio
import openai

from novita_openai import sdk
from novita_openai.client.draining import shut_down_after
from novita_openai.errors import AnswerTooLargeError
from novita_openai.sdk.replies import with_readable_text

__all__ = [
    "EventBound",
    "Limits",
    "call_ends",
    "checked_size",
    "ending",
    "in_time",
    "in_time_async",
    "library_of",
    "opened",
    "opened_async",
    "raise_unreadable",
    "read",
    "read_async",
    "undone",
    "with_content",
]

_T = TypeVar("_T")

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""The bound of a client that is given none: far above any answer of a model, or a page of a list."""

_SMALLEST: Final = {"gzip": 1 / 1032, "deflate": 1 / 1032}
"""The share of its size to which an encoding can compress a body at most."""

_PIECES: Final = {"gzip": 1024, "deflate": 1024, "zstd": 64, "br": 16}
"""How many bytes of an encoding become at most about 2 MB, of brotli 32 MB, by the form of its blocks."""


def checked_size(size: float | None) -> float:
    """Return a bound in bytes, the usual one for None; refuse what is none."""
    if size is None:
        return MAX_ANSWER_BYTES
    if not size > 0:
        raise ValueError(f"max_answer_bytes={size}: bytes, above 0")
    return size


@dataclass(frozen=True, slots=True)
class Limits:
    """How many bytes of an answer are read, and when its call ends by ``time.monotonic()``."""

    size: float
    ends: float = math.inf

    def check(self, size: int, response: Any) -> None:
        """Raise where more has come than is to be read, or where the call has ended."""
        if size > self.size:
            message = f"The answer is larger than {self.size:,} bytes, the client's max_answer_bytes."
            raise AnswerTooLargeError(response, None, message=message)
        if time.monotonic() > self.ends:
            raise openai.APITimeoutError(request=response.request)


class EventBound:
    """Counts the bytes that come between two events of a stream, so that none grows without end."""

    def __init__(self, limits: Limits, response: Any) -> None:
        self.limits, self.response = limits, response
        self.most, self.held = limits.size, 0

    def counted(self, piece: bytes) -> bytes:
        """Count a piece, and return it; raise where there are too many bytes."""
        self.held += len(piece)
        if self.held > self.most:
            self.limits.check(self.held, self.response)
        return piece

    def passed(self, event: _T) -> _T:
        """Note that an event has come, and return it."""
        self.held = 0
        return event


call_ends: Final = ContextVar("call_ends", default=math.inf)


@contextmanager
def ending(ends: float) -> Iterator[None]:
    """Have bodies that are read inside be read until ``ends`` only, by ``time.monotonic()``: by the sync clients."""
    token = call_ends.set(ends)
    try:
        yield
    finally:
        call_ends.reset(token)


def _is_surely_within(size: float, headers: Any) -> bool:
    """Tell whether a body with these headers is no larger than a size, whatever it holds."""
    if size == math.inf:
        return True
    length = headers.get("content-length", "")
    share = _SMALLEST.get(headers["content-encoding"], 0) if "content-encoding" in headers else 1
    return length.isdecimal() and int(length) <= size * share


def raise_unreadable(error: BaseException, response: Any) -> NoReturn:
    """Raise what the SDK raises where a body cannot be read."""
    try:
        if isinstance(error, Exception) and not isinstance(error, openai.APIError):
            if sdk.is_named(error, sdk.TIMEOUT):
                raise openai.APITimeoutError(request=response.request) from error
            if sdk.is_named(error, *sdk.TRANSPORT_ERRORS):
                raise openai.APIConnectionError(request=response.request) from error
        raise error
    finally:
        del error  # a frame that holds the error it raises would keep both alive


def read(response: Any, size: float) -> Any:
    """Read at most so many bytes of a response; return the response that holds them, another one if they were counted.

    Raises :class:`AnswerTooLargeError` where there are more.
    """
    try:
        if (ends := call_ends.get()) == math.inf and (response.is_closed or _is_surely_within(size, response.headers)):
            response.read()
            return response
        with in_time(response, limits := Limits(size, ends)):
            return with_content(response, b"".join(_counted(response, limits)))
    except BaseException as error:  # noqa: BLE001 - raised again
        response.close()
        raise_unreadable(error, response)


async def in_time_async(attempt: Awaitable[_T], seconds: float, client: Any) -> _T:
    """Return what an attempt of an async client gives; end it after so many seconds, whatever it waits for."""
    with anyio.move_on_after(seconds):
        return await attempt
    raise openai.APITimeoutError(request=sdk.bare_request(client))


async def read_async(response: Any, size: float) -> Any:
    """Do the same for the async client, of which whole calls are ended in time."""
    try:
        if response.is_closed or _is_surely_within(size, response.headers):
            await response.aread()
            return response
        return with_content(response, b"".join([piece async for piece in _counted_async(response, Limits(size))]))
    except BaseException as error:  # noqa: BLE001 - raised again
        with anyio.CancelScope(shield=True):
            await response.aclose()
        raise_unreadable(error, response)


@contextmanager
def in_time(response: Any, limits: Limits) -> Iterator[None]:
    """End what reads from a response when its call ends."""
    if limits.ends == math.inf:
        yield
        return
    try:
        with shut_down_after(limits.ends - time.monotonic(), response):
            yield
    except Exception:
        limits.check(0, response)
        raise
    limits.check(0, response)


def _counted(response: Any, limits: Limits) -> Iterator[bytes]:
    _check_length(response, limits)
    size = 0
    for piece in opened(response):
        size += len(piece)
        limits.check(size, response)
        yield piece


async def _counted_async(response: Any, limits: Limits) -> AsyncIterator[bytes]:
    _check_length(response, limits)
    size = 0
    async for piece in opened_async(response):
        size += len(piece)
        limits.check(size, response)
        yield piece


def _check_length(response: Any, limits: Limits) -> None:
    """Raise where the length alone is too large."""
    length = response.headers.get("content-length", "")
    limits.check(int(length) if length.isdecimal() else 0, response)


def with_content(response: Any, content: bytes) -> Any:
    """Return a response that holds a decoded body, and all else that another one says."""
    # As bytes, as the HTTP library reads headers that are no ASCII, and refuses to write them.
    headers = [each for each in response.headers.raw if each[0].lower() not in _OF_THE_TRANSPORT]
    same = {name: getattr(response, name) for name in ("request", "extensions", "history", "default_encoding")}
    made = library_of(response).Response(response.status_code, headers=headers, content=content, **same)
    with suppress(RuntimeError):  # how long it took is not known of one that came from no network
        made.elapsed = response.elapsed
    return with_readable_text(made)


_OF_THE_TRANSPORT: Final = (b"content-encoding", b"content-length", b"transfer-encoding")


def opened(response: Any) -> Iterator[bytes]:
    """Return the decoded pieces of a body, none of them much larger than what came over the network."""
    encodings = _encodings(response)
    pieces = response.iter_raw() if encodings else response.iter_bytes()
    for encoding in encodings:
        pieces = undone(response, encoding, _cut(pieces, _PIECES[encoding])).iter_bytes()
    return pieces  # type: ignore[no-any-return]


def opened_async(response: Any) -> AsyncIterator[bytes]:
    """Do the same for the async client."""
    encodings = _encodings(response)
    pieces = response.aiter_raw() if encodings else response.aiter_bytes()
    for encoding in encodings:
        pieces = undone(response, encoding, _cut_async(pieces, _PIECES[encoding])).aiter_bytes()
    return pieces  # type: ignore[no-any-return]


def _encodings(response: Any) -> list[str]:
    """Return what to undo, in this order, where the HTTP library opens pieces whole: httpx does, httpx2 does not."""
    given = response.headers.get("content-encoding")
    if given is None or _library_name(response) != "httpx":
        return []
    names = [name.strip().lower() for name in reversed(given.split(","))]
    return [name for name in names if name in _PIECES]


def undone(response: Any, encoding: str, pieces: Any) -> Any:
    """Return a response that decodes pieces."""
    library = library_of(response)
    stream = _stream_class(library)(pieces)
    return library.Response(200, headers={"content-encoding": encoding}, stream=stream, request=response.request)


class _PieceStream:
    """Pieces of a body as a stream of an HTTP library."""

    def __init__(self, pieces: Any) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self.pieces)


@cache
def _stream_class(library: Any) -> Any:
    return type("PieceStream", (_PieceStream, library.SyncByteStream, library.AsyncByteStream), {})


def library_of(response: Any) -> Any:
    """Return the HTTP library of a response."""
    return import_module(_library_name(response))


def _library_name(response: Any) -> str:
    """Return the name of a response's HTTP library, from which a program may have derived a class of its own."""
    kind = next(each for each in type(response).__mro__ if each.__name__ == "Response")
    return kind.__module__.partition(".")[0]


def _cut(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), size):
            yield piece[start : start + size]


async def _cut_async(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    async for piece in pieces:
        for start in range(0, len(piece), size):
            yield piece[start : start + size]
