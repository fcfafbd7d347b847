"""Streams that give a whole answer or raise an SDK error: never half an answer silently, never a foreign exception.

:mod:`novita_openai.client.events` says which events are a whole answer. Where they are not, an error is raised, with
the text so far in ``.partial_text``: the status error for the word that the service sent, else ``APIConnectionError``
(``APITimeoutError`` after a silence), or ``UnreadableEventError`` for an event that nobody could use. The first event
is read before ``create`` returns, so that a failure up to then is retried like that of any other call; where only
comments come, ``create`` returns after the request's read timeout. From then on nothing is sent again, unless the
client resumes streams: then the text of a further request follows (:mod:`novita_openai.client.resumption`).

A :class:`GuardedStream` stands around the stream that the SDK has built, which may be of a class that a tracer has
derived from the SDK's: bytes -> events (here) -> chunks (the SDK's stream) -> the end of the answer (here). Of other
streams, such as those of ``client.responses``, only the size of each event is bounded.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cached_property, partial
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import openai

from novita_openai import sdk
from novita_openai.client.bodies import EventBound, Limits, in_time, opened, opened_async
from novita_openai.client.draining import drain, drain_async
from novita_openai.client.events import BrokenStream, ErrorEvent, EventReader, UnreadableEvent
from novita_openai.client.first_bytes import FirstBytes
from novita_openai.client.status_errors import status_error
from novita_openai.error_replies import said_in
from novita_openai.errors import UnreadableEventError

if TYPE_CHECKING:
    from novita_openai.client.resumption import Resumption

__all__ = ["AsyncGuardedStream", "GuardedStream", "bounded", "bounded_async"]

_T = TypeVar("_T")

_END: Final = b"\n\n"
"""What some servers leave out after the last event, without which the SDK would drop it."""


class _Guard:
    """What the two streams share: where the answer stands, and what becomes of a failure."""

    response: Any
    is_chat: bool
    resume: Any
    resumption: Any
    rest: Any
    """What is still to be given out, None at the end."""

    _further: Callable[[Exception], Any]

    def __init__(  # noqa: PLR0913, PLR0917 - what it needs of its call
        self,
        source: Any,
        asked: Callable[[], int],
        limits: Limits,
        resumption: Resumption | None = None,
        part_of: Resumption | None = None,
        resume: Callable[[Exception], Any] | None = None,
    ) -> None:
        super().__init__(source)  # type: ignore[call-arg]  # the SDK's stream stands behind this class
        self.reader = EventReader(is_chat=self.is_chat, asked=asked)
        self.first = FirstBytes(self.response.headers.get("content-type"))
        self.rest, self.limits, self.bound = source, limits, EventBound(limits, self.response)
        self.resumption, self.part_of, self.resume = resumption, part_of, resume
        self.ahead: list[sdk.Event] = []

    def read(self, event: Any) -> sdk.Event | None:
        """Return an event for the SDK; None where it has no content."""
        value = self.reader.read(event.event, event.data)
        if value is None:
            return None
        self.bound.held = 0
        if self.resumption is not None:
            self.resumption.see(value)
        return sdk.Event(event.data, value)

    def noted(self, chunk: Any) -> Any:
        """Note what a chunk of a further request adds, and return it."""
        self.resumption.see(chunk.to_dict(mode="python"))
        for choice in chunk.choices:
            text = choice.delta.content if self.is_chat else choice.text
            self.reader.progress.see(choice.index, text, choice.finish_reason)
        return chunk

    def can_ignore(self, error: Exception) -> bool:
        """Tell whether what failed comes after a whole answer, of which no further request brings the usage."""
        resumption = self.resumption or self.part_of
        owes_usage = resumption is not None and resumption.owes_usage and resumption.can_go_on()
        return self.reader.can_ignore(error) and not owes_usage

    def survive(self, error: BaseException) -> Exception:
        """Make an error the SDK's, with the text so far; return it where the stream can be resumed, else raise it."""
        if not isinstance(error, Exception):
            raise error  # what cancels or ends the program
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

    def is_undecided(self, piece: bytes) -> bool:
        """Tell whether the bytes so far do not suffice to tell a stream from a document."""
        return not self.first.feed(piece)

    def go_on(self, error: Exception) -> None:
        """Go on after an error with what a further request adds, or end; raise it where neither can be."""
        try:
            self.rest = None if self.can_ignore(error) else self._further(self.survive(error))
        finally:
            del error  # as in survive()

    def end(self) -> None:
        """Raise where the end of the stream is not the end of the answer."""
        self.reader.progress.end()
        self.rest = None

    def joined(self, further: Any) -> Any:
        """Return the stream of a further request, which closing this one closes from now on."""
        self.resumption.begin()
        self.response = further.response
        return further

    def has_begun(self, event: sdk.Event | None) -> bool:
        """Tell whether ``create`` can return: with an event, which is kept, or after its time where none has come."""
        if event is not None:
            self.ahead.append(event)
            return True
        self.limits.check(0, self.response)
        return time.monotonic() > self._patience

    @cached_property
    def _patience(self) -> float:
        """Return the time until which ``create`` waits for the first event while comments come."""
        timeout = self.response.request.extensions.get("timeout", {}).get("read")
        return math.inf if timeout is None else time.monotonic() + timeout


def _broken(response: Any, what: str) -> openai.APIConnectionError:
    return openai.APIConnectionError(message=f"The stream is broken: {what}.", request=response.request)


def _translate(error: Exception, response: Any) -> openai.APIError:
    if isinstance(error, openai.APIError):
        return error
    if isinstance(error, ErrorEvent):
        said = said_in(error.body) or error.body.get("error") or error.body
        return status_error(response, error.body) or _broken(response, f"the service says: {said}")
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


class GuardedStream(_Guard, sdk.Stream[_T]):
    """The SDK's stream; it gives a whole answer or raises an SDK error."""

    def __init__(self, source: Any, *given: Any) -> None:
        super().__init__(source, *given)
        self.pieces, self.unread = opened(self.response), self.events()
        sdk.feed(self.source, lambda _: filter(None, chain(self.ahead, self.unread)))

    def events(self) -> Iterator[sdk.Event | None]:
        """Yield the events, and None where something came that is no event yet."""
        pieces = map(self.bound.counted, self.pieces)
        for _ in takewhile(self.is_undecided, pieces):
            yield None
        for event in self.decoder.iter_bytes(self._parts(pieces)):
            yield self.read(event)
            if self.reader.is_done:
                break
        drain(self.response, self.pieces)

    def _parts(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        if not self.first.is_stream:
            return iter((self.first.document(b"".join(pieces)),))
        return chain((self.first.data,), pieces, (_END,))

    def start(self) -> None:
        """Read the first event, which the loop gets first."""
        try:
            with in_time(self.response, self.limits):
                if not any(map(self.has_begun, self.unread)):
                    self.reader.progress.end()
        except BaseException as error:  # noqa: BLE001 - raised again
            self.response.close()
            self.survive(error)

    def chunks(self) -> Iterator[_T]:
        """Yield the chunks; raise where the stream ends before the answer does."""
        while self.rest is not None:
            try:
                yield from self.rest
                self.end()
            except Exception as error:  # noqa: BLE001 - raised again as the SDK's
                self.go_on(error)
            finally:
                self.response.close()

    def _further(self, failure: Exception) -> Iterator[_T]:
        """Yield what a further request adds."""
        yield from map(self.noted, self.resumption.end())
        if self.resumption.needs_request():
            for chunk in self.joined(self.resume(failure)):
                yield from map(self.noted, self.resumption.take(chunk))
                if self.resumption.is_stopped:
                    return


class AsyncGuardedStream(_Guard, sdk.AsyncStream[_T]):
    """The async twin of :class:`GuardedStream`."""

    def __init__(self, source: Any, *given: Any) -> None:
        super().__init__(source, *given)
        self.pieces, self.unread = opened_async(self.response), self.events()
        sdk.feed(self.source, lambda _: self._given())

    async def _given(self) -> AsyncIterator[sdk.Event]:
        for event in self.ahead:
            yield event
        async for each in self.unread:
            if each is not None:
                yield each

    async def events(self) -> AsyncIterator[sdk.Event | None]:
        """Yield the events, and None where something came that is no event yet."""
        async for piece in self.pieces:
            if not self.is_undecided(self.bound.counted(piece)):
                break
            yield None
        async for event in self.decoder.aiter_bytes(self._parts()):
            yield self.read(event)
            if self.reader.is_done:
                break
        await drain_async(self.response, self.pieces)

    async def _parts(self) -> AsyncIterator[bytes]:
        if not self.first.is_stream:
            yield self.first.document(b"".join([self.bound.counted(piece) async for piece in self.pieces]))
        else:
            yield self.first.data
            async for piece in self.pieces:
                yield self.bound.counted(piece)
            yield _END

    async def start(self) -> None:
        """Read the first event, which the loop gets first."""
        try:
            async for event in self.unread:
                if self.has_begun(event):
                    return
            self.reader.progress.end()
        except BaseException as error:  # noqa: BLE001 - raised again
            with anyio.CancelScope(shield=True):
                await self.response.aclose()
            self.survive(error)

    async def chunks(self) -> AsyncIterator[_T]:
        """Yield the chunks; raise where the stream ends before the answer does."""
        while self.rest is not None:
            try:
                async for chunk in self.rest:
                    yield chunk
                self.end()
            except Exception as error:  # noqa: BLE001 - raised again as the SDK's
                self.go_on(error)
            finally:
                await self.response.aclose()

    async def _further(self, failure: Exception) -> AsyncIterator[_T]:
        """Yield what a further request adds."""
        for chunk in self.resumption.end():
            yield self.noted(chunk)
        if self.resumption.needs_request():
            async for given in self.joined(await self.resume(failure)):
                for chunk in self.resumption.take(given):
                    yield self.noted(chunk)
                if self.resumption.is_stopped:
                    return


def bounded(stream: Any, limits: Limits) -> Any:
    """Return a stream of the SDK, of which each event is bounded in size."""
    sdk.feed(stream, partial(_bounded_events, EventBound(limits, stream.response)))
    return stream


def _bounded_events(bound: EventBound, decoder: Any) -> Iterator[Any]:
    try:
        yield from map(bound.passed, decoder.iter_bytes(map(bound.counted, opened(bound.response))))
    except Exception:
        bound.response.close()  # not every release of the SDK does that
        raise


def bounded_async(stream: Any, limits: Limits) -> Any:
    """Do the same for the async client."""
    sdk.feed(stream, partial(_bounded_events_async, EventBound(limits, stream.response)))
    return stream


async def _bounded_events_async(bound: EventBound, decoder: Any) -> AsyncIterator[Any]:
    try:
        async for event in decoder.aiter_bytes(bound.counted(piece) async for piece in opened_async(bound.response)):
            yield bound.passed(event)
    except Exception:
        await bound.response.aclose()
        raise
