"""Streams that give a whole answer or raise an SDK error: never half an answer silently, never a foreign exception.

A stream is complete when every choice in it has a finish reason; ``[DONE]`` alone does not complete it. If it ends
otherwise, an error is raised, with the text so far in ``.partial_text``: the status error for the word that the service
sent, else ``APIConnectionError`` (``APITimeoutError`` after a silence). The first chunk is read before ``create``
returns, so that a failure up to then is retried like that of any other call. After it nothing is sent again, unless the
client resumes streams: then the text of a further request follows (:mod:`novita_openai.client.resumption`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, TypeVar, cast

import openai

from novita_openai import sdk
from novita_openai.client.answers import status_error
from novita_openai.client.resumption import RESUMPTION, Resumption

__all__ = ["AsyncGuardedStream", "GuardedStream"]

_T = TypeVar("_T")

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class _Progress:
    """What a stream has shown so far: pure, fed chunk by chunk."""

    def __init__(self, kind: Any, response: Any) -> None:
        self.resumption: Any = response.extensions.get(RESUMPTION)
        is_chat = sdk.is_chat_chunk(kind)
        self.text_of = _text_of_chat if is_chat else _text_of_completion
        self.is_sound = _is_sound_in_chat if is_chat else _is_sound_in_completion
        self.texts: list[str] = []
        self.unfinished: dict[int, bool] = {}

    def see(self, chunk: Any, response: Any) -> None:
        """Note what a chunk adds; raise where the event is not a chunk."""
        choices = getattr(chunk, "choices", None)
        if not isinstance(choices, list) or not all(map(_is_object, choices)):
            body = chunk.to_dict() if isinstance(chunk, openai.BaseModel) else chunk
            raise status_error(response, body) or _broken(response, "an event is not a part of an answer")
        for choice in choices:
            if not (type(choice.index) is int and _is_text(choice.finish_reason) and self.is_sound(choice)):
                raise _broken(response, "a choice has missing or wrong fields")
            if choice.index == 0 and (text := self.text_of(choice)):
                self.texts.append(text)
            self.unfinished[choice.index] = self.unfinished.get(choice.index, True) and not choice.finish_reason
        if self.resumption is not None:
            self.resumption.see(chunk)

    def end(self, response: Any) -> None:
        """Raise where the end of the events is not the end of the answer."""
        if not self.unfinished:
            raise _broken(response, "it ended before the answer began")
        if any(self.unfinished.values()):
            raise _broken(response, "it ended without a finish_reason")

    def survive(self, error: Exception, response: Any) -> Exception:
        """Make an error the SDK's, with the text so far; return it where the stream can be resumed, else raise it."""
        failure = _translate(error, response)
        failure.partial_text = "".join(self.texts)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        if failure is not error:
            failure.__cause__ = error
        try:
            if self.resumption is not None and self.resumption.can_go_on():
                return failure
            raise failure
        finally:
            del failure, error  # a frame that holds the error it raises would keep both alive


def _text_of_chat(choice: Any) -> Any:
    return choice.delta.content


def _text_of_completion(choice: Any) -> Any:
    return choice.text


def _is_sound_in_chat(choice: Any) -> bool:
    delta = choice.delta
    return _is_object(delta) and _is_text(delta.content) and (delta.tool_calls is None or _are_calls(delta.tool_calls))


def _are_calls(calls: Any) -> bool:
    return isinstance(calls, list) and all(_is_object(call) and type(call.index) is int for call in calls)


def _is_sound_in_completion(choice: Any) -> bool:
    return isinstance(choice.text, str) or (choice.text is None and getattr(choice, "delta", None) is None)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_object(choice: object) -> bool:
    return isinstance(choice, openai.BaseModel)


def _broken(response: Any, what: str) -> openai.APIConnectionError:
    return openai.APIConnectionError(message=f"The stream is broken: {what}.", request=response.request)


def _refuse_other_media(response: Any, content: bytes) -> None:
    """Raise the error that a body names instead of streaming events; where it names none, say what came."""
    media_type = response.headers.get("content-type", "no content type")
    error = status_error(response, _json(response)) if content else None
    raise error or _broken(response, f"{len(content)} bytes of {media_type} came instead of it")


def _json(response: Any) -> object:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _is_event_stream(response: Any) -> bool:
    return "text/event-stream" in response.headers.get("content-type", "text/event-stream").lower()


def _speaks(event: Any) -> bool:
    """Tell whether an event has content. Pings and empty events have none, and the SDK would fail on them."""
    return event.event != "ping" and bool(event.data.strip())


def _is_last(event: Any) -> bool:
    return bool(event.data.startswith("[DONE]"))


def _translate(error: Exception, response: Any) -> openai.APIError:
    if isinstance(error, (openai.APIStatusError, openai.APIConnectionError)):
        return error
    if isinstance(error, openai.APIError):  # how the SDK reports an event with an error object
        return status_error(response, {"error": error.body}) or _broken(response, f"the service says: {error.message}")
    if sdk.is_named(error, sdk.TIMEOUT):
        return openai.APITimeoutError(request=response.request)
    if sdk.is_named(error, *sdk.TRANSPORT_ERRORS):
        return _broken(response, "the connection was cut")
    return _broken(response, f"an event cannot be read ({type(error).__name__})")


class GuardedStream(sdk.Stream[_T], openai.Stream[_T]):
    """The SDK's stream; it gives a whole answer or raises an SDK error."""

    def chunks(self) -> Iterator[_T]:
        """Yield the chunks; raise where the stream ends before the answer does."""
        progress, chunks = _Progress(self.kind, self.response), None
        while True:
            try:
                for chunk in self._begin() if chunks is None else chunks:
                    progress.see(chunk, self.response)
                    yield chunk
                progress.end(self.response)
            except Exception as error:  # noqa: BLE001 - raised again as the SDK's
                chunks = self._go_on(progress.resumption, progress.survive(error, self.response))
            else:
                return
            finally:
                self.response.close()

    def _begin(self) -> Iterator[_T]:
        response = cast("Any", self.response)
        if not _is_event_stream(response):
            _refuse_other_media(response, response.read())
        chunks_of_bytes = response.iter_bytes
        response.iter_bytes = lambda: _without_mark(chunks_of_bytes())
        return super().chunks()

    def _go_on(self, resumption: Resumption, failure: Exception) -> Iterator[_T]:
        """Yield what a further request adds."""
        yield from resumption.end()
        if resumption.needs_request():
            rest = resumption.send(failure)
            resumption.begin()
            # Closing the broken response, as a context manager around it does, must close the new one.
            self.response.close = rest.response.close  # type: ignore[method-assign]
            self.response = rest.response
            for chunk in rest:
                yield from resumption.take(chunk)
                if resumption.is_stopped:
                    return

    def events(self) -> Iterator[sdk.Event]:
        """Yield the events that the SDK reads: those with content, up to the end."""
        for event in super().events():
            if _speaks(event):
                yield event
            if _is_last(event):
                return

    def start(self) -> None:
        """Read the first chunk, and put it back for the loop."""
        self.put_back(next(self))


class AsyncGuardedStream(sdk.AsyncStream[_T], openai.AsyncStream[_T]):
    """The async twin of :class:`GuardedStream`."""

    async def chunks(self) -> AsyncIterator[_T]:
        """Yield the chunks; raise where the stream ends before the answer does."""
        progress, chunks = _Progress(self.kind, self.response), None
        while True:
            try:
                async for chunk in await self._begin() if chunks is None else chunks:
                    progress.see(chunk, self.response)
                    yield chunk
                progress.end(self.response)
            except Exception as error:  # noqa: BLE001 - raised again as the SDK's
                chunks = self._go_on(progress.resumption, progress.survive(error, self.response))
            else:
                return
            finally:
                await self.response.aclose()

    async def _begin(self) -> AsyncIterator[_T]:
        response = cast("Any", self.response)
        if not _is_event_stream(response):
            _refuse_other_media(response, await response.aread())
        chunks_of_bytes = response.aiter_bytes
        response.aiter_bytes = lambda: _without_mark_async(chunks_of_bytes())
        return super().chunks()

    async def _go_on(self, resumption: Resumption, failure: Exception) -> AsyncIterator[_T]:
        """Yield what a further request adds."""
        for chunk in resumption.end():
            yield chunk
        if resumption.needs_request():
            rest = await resumption.send(failure)
            resumption.begin()
            self.response.aclose = rest.response.aclose  # type: ignore[method-assign]
            self.response = rest.response
            async for given in rest:
                for chunk in resumption.take(given):
                    yield chunk
                if resumption.is_stopped:
                    return

    async def events(self) -> AsyncIterator[sdk.Event]:
        """Yield the events that the SDK reads: those with content, up to the end."""
        async for event in super().events():
            if _speaks(event):
                yield event
            if _is_last(event):
                return

    async def start(self) -> None:
        """Read the first chunk, and put it back for the loop."""
        self.put_back(await anext(self))


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Remove a byte order mark: the SDK silently drops the first event after one."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(_BYTE_ORDER_MARK):
            break
    yield head.removeprefix(_BYTE_ORDER_MARK)
    yield from chunks


async def _without_mark_async(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= len(_BYTE_ORDER_MARK):
            break
    yield head.removeprefix(_BYTE_ORDER_MARK)
    async for chunk in chunks:
        yield chunk
