"""Streams that give a whole answer or raise an SDK error: never half an answer silently, never a foreign exception.

:mod:`novita_openai.client.events` says which events are a whole answer. Where they are not, an error is raised, with
the text so far in ``.partial_text``: the status error for the word that the service sent, else ``APIConnectionError``
(``APITimeoutError`` after a silence), or ``UnreadableEventError`` for an event that nobody could use. The first event
is read before ``create`` returns, so that a failure up to then is retried like that of any other call; where only
comments come, ``create`` returns after the request's read timeout. From then on nothing is sent again, unless the
client resumes streams: then the text of a further request follows (:mod:`novita_openai.client.resumption`).

A :class:`GuardedStream` stands around the stream that the SDK has built, which may be of a class that a tracer has
derived from the SDK's: bytes -> events (here) -> chunks (the SDK's stream) -> the end of the answer (here).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

import openai

from novita_openai import sdk
from novita_openai.client.answers import status_error
from novita_openai.client.draining import drain, drain_async
from novita_openai.client.events import BrokenStream, ErrorEvent, EventReader, FirstBytes, UnreadableEvent
from novita_openai.errors import UnreadableEventError

if TYPE_CHECKING:
    from novita_openai.client.resumption import Resumption

__all__ = ["AsyncGuardedStream", "GuardedStream"]

_T = TypeVar("_T")


class _Guard:
    """What the two streams share: where the answer stands, and what becomes of a failure."""

    response: Any
    is_chat: bool
    resume: Any
    last: Mapping[str, Any]
    """The event of the chunk that is given out."""

    def __init__(
        self,
        source: Any,
        asked: Callable[[], int],
        resumption: Resumption | None = None,
        part_of: Resumption | None = None,
        resume: Callable[[Exception], Any] | None = None,
    ) -> None:
        super().__init__(source)  # type: ignore[call-arg]  # the SDK's stream stands behind this class
        self.reader = EventReader(is_chat=self.is_chat, asked=asked)
        self.resumption, self.part_of, self.resume = resumption, part_of, resume
        self.ahead: list[sdk.Event] = []

    def read(self, event: Any) -> sdk.Event | None:
        """Return an event for the SDK; None where it has no content."""
        value = self.reader.read(event.event, event.data)
        if value is None:
            return None
        self.last = value
        return sdk.Event(event.data, value)

    def noted(self, chunk: Any) -> Any:
        """Note what a chunk of a further request adds, and return it."""
        self.last = chunk.to_dict(mode="python")
        for choice in chunk.choices:
            text = choice.delta.content if self.is_chat else choice.text
            self.reader.progress.see(choice.index, text, choice.finish_reason)
        return chunk

    def can_ignore(self, error: Exception) -> bool:
        """Tell whether what failed comes after a whole answer, of which no further request brings the usage."""
        resumption = self.resumption or self.part_of
        owes_usage = resumption is not None and resumption.owes_usage and resumption.can_go_on()
        return self.reader.can_ignore(error) and not owes_usage

    def survive(self, error: Exception) -> Exception:
        """Make an error the SDK's, with the text so far; return it where the stream can be resumed, else raise it."""
        failure = _translate(error, self.response)
        failure.partial_text = self.reader.progress.text  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        if failure is not error:
            failure.__cause__ = error
        try:
            if self.resumption is not None and self.resumption.can_go_on():
                return failure
            raise failure
        finally:
            del failure, error  # a frame that holds the error it raises would keep both alive

    def first_bytes(self) -> FirstBytes:
        """Return what decides by the first bytes whether an event stream has come."""
        return FirstBytes(self.response.headers.get("content-type"))

    def deadline(self) -> float:
        """Return the time until which ``create`` waits for the first event while comments come."""
        timeout = self.response.request.extensions.get("timeout", {}).get("read")
        return math.inf if timeout is None else time.monotonic() + timeout


def _broken(response: Any, what: str) -> openai.APIConnectionError:
    return openai.APIConnectionError(message=f"The stream is broken: {what}.", request=response.request)


def _translate(error: Exception, response: Any) -> openai.APIError:
    if isinstance(error, openai.APIError):
        return error
    if isinstance(error, ErrorEvent):
        return status_error(response, error.body) or _broken(response, f"the service says: {_message_in(error.body)}")
    if isinstance(error, UnreadableEvent):
        return UnreadableEventError(response, error.value, message=str(error))
    if sdk.is_named(error, sdk.TIMEOUT):
        return openai.APITimeoutError(request=response.request)
    return _broken(response, _what_broke(error))


def _what_broke(error: Exception) -> str:
    if isinstance(error, BrokenStream):
        return str(error)
    if sdk.is_named(error, *sdk.TRANSPORT_ERRORS):
        return "the connection was cut"
    said = f": {error.doc.strip()[:_LONGEST_QUOTE]!r}" if isinstance(error, json.JSONDecodeError) else ""
    return f"an event cannot be read ({type(error).__name__}){said}"


_LONGEST_QUOTE: Final = 200


def _message_in(body: Any) -> object:
    """Return what an error object says."""
    inner = body.get("error") or body.get("detail") or body
    return inner.get("message") or inner if isinstance(inner, dict) else inner


class GuardedStream(_Guard, sdk.Stream[_T]):
    """The SDK's stream; it gives a whole answer or raises an SDK error."""

    def __init__(self, source: Any, *given: Any) -> None:
        super().__init__(source, *given)
        self.unread = self.events()
        self.feed(filter(None, chain(self.ahead, self.unread)))

    def events(self) -> Iterator[sdk.Event | None]:
        """Yield the events, and None where something came that is no event yet."""
        chunks = self.response.iter_bytes()
        try:
            first = self.first_bytes()
            for chunk in chunks:
                if first.feed(chunk):
                    break
                yield None
            parts = chain((first.data,), chunks) if first.is_stream else iter((first.document(b"".join(chunks)),))
            for event in self.decoder.iter_bytes(parts):
                yield self.read(event)
                if self.reader.is_done:
                    break
        except Exception as error:
            if not self.can_ignore(error):
                raise
        drain(self.response, chunks)

    def start(self) -> None:
        """Read the first event, which the loop gets first."""
        deadline = self.deadline()
        try:
            for event in self.unread:
                if event is not None:
                    self.ahead.append(event)
                if event is not None or time.monotonic() > deadline:
                    return
            self.reader.progress.end()
        except Exception as error:  # noqa: BLE001 - raised again as the SDK's
            self.response.close()
            self.survive(error)

    def chunks(self) -> Iterator[_T]:
        """Yield the chunks; raise where the stream ends before the answer does."""
        chunks, resumption = iter(self.source), self.resumption
        while True:
            try:
                for chunk in chunks:
                    if resumption is not None:
                        resumption.see(self.last)
                    yield chunk
                self.reader.progress.end()
            except Exception as error:  # noqa: BLE001 - raised again as the SDK's
                chunks = self._go_on(resumption, self.survive(error))
            else:
                return
            finally:
                self.response.close()

    def _go_on(self, resumption: Any, failure: Exception) -> Iterator[_T]:
        """Yield what a further request adds."""
        yield from map(self.noted, resumption.end())
        if resumption.needs_request():
            rest = self.resume(failure)
            resumption.begin()
            self.response = rest.response  # which closing the stream closes from now on
            for chunk in rest:
                yield from map(self.noted, resumption.take(chunk))
                if resumption.is_stopped:
                    return


class AsyncGuardedStream(_Guard, sdk.AsyncStream[_T]):
    """The async twin of :class:`GuardedStream`."""

    def __init__(self, source: Any, *given: Any) -> None:
        super().__init__(source, *given)
        self.unread = self.events()
        self.feed(self._given())

    async def _given(self) -> AsyncIterator[sdk.Event]:
        for event in self.ahead:
            yield event
        async for each in self.unread:
            if each is not None:
                yield each

    async def events(self) -> AsyncIterator[sdk.Event | None]:
        """Yield the events, and None where something came that is no event yet."""
        chunks = self.response.aiter_bytes()
        try:
            first = self.first_bytes()
            async for chunk in chunks:
                if first.feed(chunk):
                    break
                yield None
            parts = _chained(first.data, chunks)
            if not first.is_stream:
                parts = _chained(first.document(b"".join([chunk async for chunk in chunks])), chunks)
            async for event in self.decoder.aiter_bytes(parts):
                yield self.read(event)
                if self.reader.is_done:
                    break
        except Exception as error:
            if not self.can_ignore(error):
                raise
        await drain_async(self.response, chunks)

    async def start(self) -> None:
        """Read the first event, which the loop gets first."""
        deadline = self.deadline()
        try:
            async for event in self.unread:
                if event is not None:
                    self.ahead.append(event)
                if event is not None or time.monotonic() > deadline:
                    return
            self.reader.progress.end()
        except Exception as error:  # noqa: BLE001 - raised again as the SDK's
            await self.response.aclose()
            self.survive(error)

    async def chunks(self) -> AsyncIterator[_T]:
        """Yield the chunks; raise where the stream ends before the answer does."""
        chunks, resumption = aiter(self.source), self.resumption
        while True:
            try:
                async for chunk in chunks:
                    if resumption is not None:
                        resumption.see(self.last)
                    yield chunk
                self.reader.progress.end()
            except Exception as error:  # noqa: BLE001 - raised again as the SDK's
                chunks = self._go_on(resumption, self.survive(error))
            else:
                return
            finally:
                await self.response.aclose()

    async def _go_on(self, resumption: Any, failure: Exception) -> AsyncIterator[_T]:
        """Yield what a further request adds."""
        for chunk in resumption.end():
            yield self.noted(chunk)
        if resumption.needs_request():
            rest = await self.resume(failure)
            resumption.begin()
            self.response = rest.response
            async for given in rest:
                for chunk in resumption.take(given):
                    yield self.noted(chunk)
                if resumption.is_stopped:
                    return


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
